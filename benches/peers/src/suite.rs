//! The measurements and their order.

use std::process::{Command, Stdio};

use floe::{Client, TopicSpec, topic::TopicPartition};

use crate::{
    Outcome,
    figures::Figures,
    floe_side,
    job::{BenchmarkJob, Codec, Side, Work},
    table, usage,
};

/// Reply size with which the official client reads fastest. It loses the end of every reply cut at the limit, so larger
/// replies also lose less.
const LARGE_REPLIES: i32 = 64_000_000;

#[derive(Debug)]
pub(crate) struct Settings {
    sc: String,
    rounds: usize,
    only: Vec<String>,
    records: [(usize, u64); 2],
    codecs: Vec<Codec>,
    batches: Vec<Option<usize>>,
    servers: Vec<u32>,
    data_server: Option<String>,
}

impl Settings {
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut settings = Self {
            sc: String::new(),
            rounds: 3,
            only: ["produce", "consume", "latency", "stall"].map(String::from).to_vec(),
            records: [(100, 1_000_000), (1000, 300_000)],
            codecs: vec![Codec::None, Codec::Lz4, Codec::Zstd],
            batches: vec![None, Some(1_000_000)],
            servers: Vec::new(),
            data_server: None,
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(format!("{:?} has no value", pair[0]).into()) };
            let list = || value.split(',').filter(|part| !part.is_empty());
            match name.as_str() {
                "--sc" => settings.sc.clone_from(value),
                "--rounds" => settings.rounds = value.parse()?,
                "--only" => settings.only = list().map(String::from).collect(),
                "--records-of-100" => settings.records[0].1 = value.parse()?,
                "--records-of-1000" => settings.records[1].1 = value.parse()?,
                "--codecs" => settings.codecs = list().map(Codec::parse).collect::<Outcome<_>>()?,
                "--batches" => {
                    settings.batches = list()
                        .map(|batch| match batch {
                            "default" => Ok(None),
                            "1MB" => Ok(Some(1_000_000)),
                            other => other.parse().map(Some),
                        })
                        .collect::<Result<_, _>>()?;
                }
                "--servers" => settings.servers = list().map(str::parse).collect::<Result<_, _>>()?,
                "--data-server" => settings.data_server = Some(value.clone()),
                other => return Err(format!("unknown option {other:?}").into()),
            }
        }
        if settings.sc.is_empty() || settings.rounds == 0 {
            return Err("--sc and at least one round are needed".into());
        }
        Ok(settings)
    }

    fn wants(&self, what: &str) -> bool {
        self.only.iter().any(|only| only == what)
    }

    fn reads(&self) -> bool {
        self.wants("consume") || self.wants("consume-tuned")
    }
}

/// Runs one measurement in a child process, with the processor time of the servers meanwhile.
fn measure(settings: &Settings, side: Side, topic: &str, records: u64, work: Work) -> Outcome<table::Sample> {
    let job = BenchmarkJob {
        sc: settings.sc.clone(),
        data_server: settings.data_server.clone(),
        topic: topic.to_owned(),
        records,
        work,
    };
    let before = usage::cpu_of(&settings.servers);
    let output = Command::new(std::env::current_exe()?)
        .args(["child", &side.to_string(), &serde_json::to_string(&job)?])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Figures =
        serde_json::from_str(text.trim()).map_err(|problem| format!("{side} reports {text:?}: {problem}"))?;
    Ok(table::Sample { figures, server_cpu: usage::cpu_of(&settings.servers) - before })
}

struct Topics {
    client: Client,
    made: usize,
}

impl Topics {
    async fn create(&mut self) -> Outcome<String> {
        self.made += 1;
        let name = format!("peers-{}-{}", std::process::id(), self.made);
        self.client.admin().create_topic(TopicSpec::new(name.as_str())).await?;
        Ok(name)
    }

    /// Returns the number of records in the only partition of a topic.
    async fn stored(&self, name: &str) -> Outcome<u64> {
        let marks =
            self.client.admin().watermarks(TopicPartition { topic: name.into(), partition: 0 }).await?;
        Ok((marks.high - marks.start).try_into()?)
    }

    async fn delete(&self, name: String) -> Outcome<()> {
        Ok(self.client.admin().delete_topic(name).await?)
    }
}

pub(crate) async fn run(settings: &Settings) -> Outcome<()> {
    let mut topics = Topics { client: floe_side::connect(&settings.sc).await?, made: 0 };
    println!("{} rounds, the clients take turns; medians\n", settings.rounds);
    if settings.wants("produce") || settings.reads() {
        for (size, records) in settings.records {
            for batch in &settings.batches {
                for codec in &settings.codecs {
                    cell(settings, &mut topics, (size, records), (*batch, *codec)).await?;
                }
            }
        }
    }
    if settings.wants("latency") {
        latency(settings, &mut topics).await?;
    }
    if settings.wants("stall") {
        stall(settings, &mut topics).await?;
    }
    topics.client.close().await?;
    Ok(())
}

/// Measures writing and reading with one record size, batch size and codec.
async fn cell(
    settings: &Settings,
    topics: &mut Topics,
    (size, records): (usize, u64),
    (batch, codec): (Option<usize>, Codec),
) -> Outcome<()> {
    let bare = settings.data_server.is_some();
    let mut written = table::Rows::new(&["official", "floe", "bare", "encoding only"]);
    let mut read =
        table::Rows::new(&["official", "official, 64 MB", "floe", "floe, batches", "bare", "bare, 64 MB"]);
    for round in 0..settings.rounds {
        let mut of_official = None;
        let writers: &[Side] = match (settings.wants("produce"), bare) {
            (false, _) => &[Side::Official],
            (true, false) => &[Side::Official, Side::Floe],
            (true, true) => &[Side::Official, Side::Floe, Side::Bare],
        };
        for turn in 0..writers.len() {
            let row = (turn + round) % writers.len();
            let side = writers[row];
            let topic = topics.create().await?;
            let mut sample = measure(settings, side, &topic, records, Work::Produce { size, batch, codec })?;
            let stored = topics.stored(&topic).await?;
            sample.figures.lost = records.saturating_sub(stored);
            sample.figures.duplicates = stored.saturating_sub(records);
            written.add(row, sample);
            if side == Side::Official && settings.reads() {
                of_official = Some(topic);
            } else {
                topics.delete(topic).await?;
            }
        }
        if bare && settings.wants("produce") {
            written.add(3, measure(settings, Side::Bare, "", records, Work::Encode { size, batch, codec })?);
        }
        // Every reader reads the records of the official client.
        let Some(topic) = of_official else { continue };
        let readers = if bare { 6 } else { 4 };
        for turn in 0..readers {
            let row = (turn + round) % readers;
            if row == 0 && !settings.wants("consume") {
                continue;
            }
            let (side, max_bytes, by_batch) = match row {
                0 => (Side::Official, None, false),
                1 => (Side::Official, Some(LARGE_REPLIES), false),
                2 => (Side::Floe, None, false),
                3 => (Side::Floe, None, true),
                4 => (Side::Bare, None, false),
                _ => (Side::Bare, Some(LARGE_REPLIES), false),
            };
            read.add(row, measure(settings, side, &topic, records, Work::Consume { max_bytes, by_batch })?);
        }
        topics.delete(topic).await?;
    }
    let batch = batch.map_or("default batches".to_owned(), |bytes| format!("batches of {bytes} B"));
    let what = format!("{records} records of {size} B, {batch}, codec {codec}");
    if settings.wants("produce") {
        written.print(&format!("produce, {what}"));
    }
    if settings.reads() {
        read.print(&format!("consume, {what}"));
    }
    Ok(())
}

async fn latency(settings: &Settings, topics: &mut Topics) -> Outcome<()> {
    let mut rows = table::Rows::new(&["official", "floe"]);
    for round in 0..settings.rounds {
        for turn in 0..2 {
            let row = (turn + round) % 2;
            let topic = topics.create().await?;
            rows.add(row, measure(settings, Side::BOTH[row], &topic, 5000, Work::Latency { size: 100 })?);
            topics.delete(topic).await?;
        }
    }
    rows.print_latency("send to acknowledgement, 5000 single records of 100 B, one after the other");
    Ok(())
}

/// Measures the memory of a consumer that stalls with a backlog of 1 GB.
async fn stall(settings: &Settings, topics: &mut Topics) -> Outcome<()> {
    const RECORDS: u64 = 1_000_000;
    let mut rows = table::Rows::new(&["official", "floe"]);
    let topic = topics.create().await?;
    let fill = Work::Produce { size: 1000, batch: Some(1_000_000), codec: Codec::None };
    measure(settings, Side::Floe, &topic, RECORDS, fill)?;
    for side in Side::BOTH {
        let row = if side == Side::Official { 0 } else { 1 };
        for seconds in [2, 10] {
            rows.add(row, measure(settings, side, &topic, RECORDS, Work::Stall { seconds })?);
        }
    }
    topics.delete(topic).await?;
    rows.print_memory(
        "memory growth of a consumer that stalls with a backlog of 1 GB, after 2 s and after 10 s",
    );
    Ok(())
}
