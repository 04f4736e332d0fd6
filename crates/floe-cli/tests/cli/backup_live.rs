//! `floe backup` of a store that another process has open: here this process, which writes to it all the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use floe::{
    Client, Durability, TopicSpec,
    consumer::StartAt,
    topic::{Topic, TopicPartition},
};

use crate::support::Dir;

/// Backups of one run.
const BACKUPS: usize = 4;

fn at(topic: &str) -> TopicPartition {
    Topic::from(topic).partition(0)
}

/// What the writer knows about its store.
#[derive(Default)]
struct Progress {
    stops: AtomicBool,
    /// Records of `t` and of `safe` that are acknowledged.
    acknowledged: AtomicI64,
    /// Start of `short`, before which records were removed.
    trimmed: AtomicI64,
    /// Offset that the group has committed.
    committed: AtomicI64,
}

/// Appends to several topics, removes old records of one, commits offsets, and creates and deletes a topic.
async fn write(client: Client, progress: Arc<Progress>) {
    let mut producers = Vec::new();
    for topic in ["t", "safe", "short"] {
        producers.push(client.producer(topic).start().await.unwrap());
    }
    let admin = client.admin();
    for number in 0_i64.. {
        if progress.stops.load(Ordering::SeqCst) {
            break;
        }
        for producer in &producers {
            producer.send(format!("record {number} with some more text")).await.unwrap();
        }
        progress.acknowledged.store(number + 1, Ordering::SeqCst);
        match number % 50 {
            10 => {
                admin.trim(at("short"), number).await.unwrap();
                progress.trimmed.store(number, Ordering::SeqCst);
            }
            20 => {
                admin.set_committed_offset("g", at("t"), number).await.unwrap();
                progress.committed.store(number, Ordering::SeqCst);
            }
            30 => {
                admin.create_topic(TopicSpec::new("brief")).await.unwrap();
                client.producer("brief").start().await.unwrap().send("one").await.unwrap();
            }
            40 => admin.delete_topic("brief").await.unwrap(),
            _ => {}
        }
    }
    for producer in producers {
        assert!(producer.close().await.unwrap().undelivered.is_empty());
    }
}

/// Returns the records of a topic, and the offset of the first one.
async fn read(client: &Client, topic: &str) -> (i64, Vec<String>) {
    let consumer = client.consumer(topic).from(StartAt::Beginning).stop_at_end();
    let mut consumer = consumer.start().await.unwrap();
    let (mut first, mut values) = (None, Vec::new());
    while let Some(message) = consumer.try_next().await.unwrap() {
        first.get_or_insert(message.offset);
        values.push(String::from_utf8(message.value.to_vec()).unwrap());
    }
    consumer.close().await.unwrap();
    (first.unwrap_or(0), values)
}

fn numbered(offsets: std::ops::Range<i64>) -> Vec<String> {
    offsets.map(|number| format!("record {number} with some more text")).collect()
}

async fn run(links: bool) {
    let dir = Arc::new(Dir::new());
    let client =
        Client::connect(&format!("embedded:{}", dir.path().join("floe-data").display())).await.unwrap();
    for (topic, durability) in
        [("t", Durability::Os), ("safe", Durability::Always), ("short", Durability::Os)]
    {
        let spec = TopicSpec::new(topic).durability(durability).segment_bytes(4096);
        client.admin().create_topic(spec).await.unwrap();
    }
    let progress = Arc::new(Progress::default());
    let writer = tokio::spawn(write(client.clone(), Arc::clone(&progress)));
    for number in 0..BACKUPS {
        let (dir, progress) = (Arc::clone(&dir), Arc::clone(&progress));
        let known = || {
            [&progress.acknowledged, &progress.committed, &progress.trimmed]
                .map(|known| known.load(Ordering::SeqCst))
        };
        // A store that has grown.
        let enough = 200 * (number as i64 + 1);
        let is_there = async {
            while known()[0] < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), is_there).await.expect("the writer makes progress");
        let [acknowledged, committed, trimmed] = known();
        let name = format!("saved-{number}");
        let args = ["backup", &name, "-o", "json"].into_iter().chain((!links).then_some("--copy"));
        let args: Vec<String> = args.map(str::to_owned).collect();
        let run = tokio::task::spawn_blocking({
            let dir = Arc::clone(&dir);
            move || dir.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let run = run.await.unwrap();
        assert_eq!(run.code, Some(0), "{}\n{}", run.stderr, dir.run(&["check", &name]).text());
        let told = run.json();
        assert_eq!((&told["whole"], &told["in_use"]), (&true.into(), &true.into()), "{told}");
        if links && cfg!(unix) {
            assert!(told["linked_files"].as_u64().unwrap() > 3, "{told}");
        }
        dir.run(&["check", &name]).ok();

        let again = format!("again-{number}");
        dir.run(&["restore", &name, "--url", &format!("embedded:{again}")]).ok();
        let saved = Client::connect(&format!("embedded:{}", dir.path().join(again).display())).await.unwrap();
        for topic in ["t", "safe"] {
            let (first, values) = read(&saved, topic).await;
            let count = values.len() as i64;
            assert!(
                first == 0 && count >= acknowledged,
                "{topic}: {count} of {acknowledged} from {first} on"
            );
            assert_eq!(values, numbered(0..count), "{topic}");
        }
        let (first, values) = read(&saved, "short").await;
        assert!(first >= trimmed, "{first}, and records before {trimmed} were removed");
        assert_eq!(values, numbered(first..first + values.len() as i64));
        let offsets = saved.admin().committed_offsets(Some("g")).await.unwrap();
        assert!(offsets.first().map_or(0, |stored| stored.next) >= committed, "{offsets:?}");
        // It is a store like any other.
        saved.producer("t").start().await.unwrap().send("one more").await.unwrap();
        saved.close().await.unwrap();
    }
    progress.stops.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    client.close().await.unwrap();
    dir.run(&["check"]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_backed_up_while_it_is_written() {
    run(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_copied_while_it_is_written() {
    run(false).await;
}
