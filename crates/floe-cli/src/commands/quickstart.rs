//! `floe quickstart`: everything once, in a store that is gone afterwards.

use std::time::Duration;

use floe::{Client, Codec, Record, TopicSpec, consumer::StartAt};
use serde_json::json;

use super::{
    bench::{self, Load, Measurement},
    with_client,
};
use crate::{
    global::Global,
    exit::{Failure, Outcome},
    interrupt::Interrupt,
    output::{amount, print_document, stdout},
};

/// Enough to be past warming up, little enough to be done in a second or two.
const RECORDS: u64 = 200_000;

const NEXT: &str = "\
What next:
  floe topic create orders --partitions 3       a topic in ./floe-data
  echo 'one coffee' | floe produce orders       each line is a record
  floe consume orders -e                        read from the beginning, stop at the end
  floe consume orders -e --group billing        remember how far; run it twice
  floe consume orders -e -o jsonl               with keys, headers, times and offsets
  floe bench --help                             measure your own disk and record size
  floe explain                                  every error code and what to do about it
";

pub(crate) async fn run(global: &Global) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let folder =
        tempfile::tempdir().map_err(|error| Failure::io("cannot create a temporary folder", &error))?;
    // A folder may have any name, a URL may not.
    let path = folder.path().to_string_lossy().replace('%', "%25").replace('?', "%3F");
    let url = format!("embedded:{path}/quickstart");
    let quiet = global.output.is_json();
    let tell = |text: &str| if quiet { Ok(()) } else { stdout::print(text.as_bytes()) };

    let measurement = with_client(&Global { url: url.clone(), ..global.clone() }, async |client| {
        tell(&format!("A store in a temporary folder: {url}\n\n"))?;
        show_a_record(client, &tell).await?;
        tell("A short measurement:\n")?;
        let load = Load {
            records: RECORDS,
            size: 100,
            partitions: 1,
            compression: Codec::None,
            batch_size: 64 * 1024,
            linger: Duration::ZERO,
        };
        bench::measure(client, &load, &interrupt).await
    })
    .await?;
    measurement.check()?;
    finish(global, &measurement)?;
    folder.close().map_err(|error| Failure::io("cannot remove the temporary folder", &error))
}

/// Writes a record and reads it back.
async fn show_a_record(client: &Client, tell: &impl Fn(&str) -> Outcome) -> Outcome {
    client.admin().create_topic(TopicSpec::new("greetings")).await?;
    tell("  floe topic create greetings\n")?;

    let producer = client.producer("greetings").start().await?;
    let placed = producer.send(Record::keyed("ada", "hello, stream").header("origin", "quickstart")).await?;
    producer.close().await?.into_result(producer.topic())?;
    tell(&format!(
        "  in:  key=ada value=\"hello, stream\" -> acknowledged, partition {}, offset {}\n",
        placed.partition,
        placed.offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string())
    ))?;

    let mut consumer = client.consumer("greetings").from(StartAt::Beginning).stop_at_end().start().await?;
    let read = consumer.try_next().await?;
    consumer.close().await?;
    let Some(message) = read else { return Err(Failure::loss("the record that was written is not there")) };
    tell(&format!(
        "  out: partition {}, offset {}, {}, key={} value={:?} origin={}\n\n",
        message.partition,
        message.offset,
        amount::time(message.timestamp),
        String::from_utf8_lossy(message.key.as_deref().unwrap_or_default()),
        String::from_utf8_lossy(&message.value),
        String::from_utf8_lossy(message.headers.get("origin").unwrap_or_default()),
    ))
}

fn finish(global: &Global, measurement: &Measurement) -> Outcome {
    let indented: String = measurement.to_text().lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "{indented}  (acknowledged when the operating system has the records: they survive a crash of the program;\n   \
         --durability always on `floe topic create` also survives a power failure, at the price of a sync)\n\n{NEXT}"
    );
    print_document(global.output, &json!({ "bench": measurement.to_json() }), &text)
}
