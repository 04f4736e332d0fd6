//! Counts the words of a text with a processor, and checks that nothing was left out, repeated or given up.
//!
//! `cargo run --release -p floe --example word_count`
//!
//! Each line is a record, with its first word as the key. `FLOE_TEXT` names a file to read in place of this program's
//! source, `FLOE_RECORDS` how many records to make of it; a shorter text is taken again from its beginning.

use floe::{
    Client, Record, TopicSpec,
    consumer::StartAt,
    payload::{Json, Text},
    processor::{DeadLetters, Failure},
};

/// Records sent with one call.
const CHUNK: usize = 10_000;

/// Sends the lines, runs the processor until everything is handled, and compares what came out with what went in.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::env::var("FLOE_TEXT") {
        Ok(path) => String::from_utf8_lossy(&std::fs::read(path)?).into_owned(),
        Err(_) => include_str!("word_count.rs").to_owned(),
    };
    let records = std::env::var("FLOE_RECORDS").map_or(Ok(2000), |count| count.parse())?;
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url).await?;
    // Topics of this run alone, so that what is in them is what was sent.
    let run = std::process::id();
    let [lines, counts, dead] = ["lines", "word-counts", "lines-dead"].map(|name| format!("{name}-{run}"));
    for topic in [&lines, &counts] {
        client.admin().create_topic(TopicSpec::new(topic.as_str()).partitions(4)).await?;
    }

    let producer = client.producer(lines.as_str()).text().start().await?;
    let mut words = 0;
    let mut source = text.lines().cycle().take(records).peekable();
    while source.peek().is_some() {
        let chunk = source.by_ref().take(CHUNK).map(|line| {
            words += line.split_whitespace().count();
            let key = line.split_whitespace().next().unwrap_or_default();
            Record::keyed(key.to_owned(), line.to_owned())
        });
        producer.enqueue_all(chunk).await?.await?;
    }

    let report = client
        .processor(lines.as_str(), counts.as_str())
        .payloads(Text, Json::<usize>::new())
        .concurrency(8)
        .dead_letters(DeadLetters::Topic(dead.as_str().into()))
        .stop_at_end()
        .map(async |line| {
            let count = line.value.split_whitespace().count();
            Ok::<_, Failure>(Record { key: line.key, ..Record::new(count) })
        })
        .run(std::future::pending())
        .await?;

    let made = client.consumer(counts.as_str()).json::<usize>().from(StartAt::Beginning).stop_at_end();
    let mut made = made.start().await?;
    let (mut came, mut counted) = (0, 0);
    while let Some(count) = made.try_next().await? {
        came += 1;
        counted += count.value;
    }
    let letters = client.consumer(dead.as_str()).from(StartAt::Beginning).stop_at_end().start().await?;
    let buried = letters.lag().await?;
    println!(
        "{records} lines, {words} words; {} handled, {came} counts, {counted} words, {buried} dead letters",
        report.handled
    );
    let expected = (records as u64, records, words, 0);
    if (report.handled, came, counted, buried) != expected || !report.left.is_empty() {
        return Err("what came out is not what went in".into());
    }
    client.close().await?;
    Ok(())
}
