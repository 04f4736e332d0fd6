//! `floe quickstart`: a tour in a temporary store.

use floe::{Client, Record, TopicSpec, consumer::StartAt};
use serde_json::json;

use super::{
    bench::{self, Load, Measurement},
    embedded_url, with_client,
};
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    interrupt::Interrupt,
    output::{amount, print_document, stdout},
};

/// Records of the benchmark: enough to pass the warm-up, few enough for a second or two.
const RECORDS: u64 = 200_000;

const NEXT: &str = "\
Next steps:
  floe topic create orders --partitions 3       create a topic in ./floe-data
  echo 'one coffee' | floe produce orders       write one record per line
  floe consume orders -e                        read from the beginning, stop at the end
  floe consume orders -e --group billing        store offsets for a consumer group
  floe consume orders -e -o jsonl               print keys, headers, times and offsets
  floe bench --help                             measure this disk with other record sizes
  floe explain                                  list every error code
";

pub(crate) async fn run(global: &Global) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let directory =
        tempfile::tempdir().map_err(|error| Failure::io("cannot create a temporary directory", &error))?;
    let url = embedded_url(&directory.path().join("quickstart"));
    let quiet = global.output.is_json();
    let print = |text: &str| if quiet { Ok(()) } else { stdout::print(text.as_bytes()) };

    let measurement = with_client(&Global { url: url.clone(), ..global.clone() }, async |client| {
        print(&format!("A store in a temporary directory: {url}\n\n"))?;
        show_a_record(client, &print).await?;
        print("A short benchmark:\n")?;
        let load = Load::of_records(RECORDS);
        bench::measure(client, &load, &interrupt).await
    })
    .await?;
    measurement.check()?;
    finish(global, &measurement)?;
    directory.close().map_err(|error| Failure::io("cannot remove the temporary directory", &error))
}

/// Writes a record and reads it back.
async fn show_a_record(client: &Client, print: &impl Fn(&str) -> Outcome) -> Outcome {
    client.admin().create_topic(TopicSpec::new("greetings")).await?;
    print("  floe topic create greetings\n")?;

    let producer = client.producer("greetings").start().await?;
    let placed = producer.send(Record::keyed("ada", "hello, stream").header("origin", "quickstart")).await?;
    producer.close().await?.into_result(producer.topic())?;
    print(&format!(
        "  in:  key=ada value=\"hello, stream\" -> acknowledged, partition {}, offset {}\n",
        placed.partition,
        placed.offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string())
    ))?;

    let mut consumer = client.consumer("greetings").from(StartAt::Beginning).stop_at_end().start().await?;
    let read = consumer.try_next().await?;
    consumer.close().await?;
    let Some(message) = read else { return Err(Failure::loss("the record that was written is missing")) };
    print(&format!(
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
        "{indented}  (a record is acknowledged when the operating system has it, and survives a crash of the program;\n   \
         `floe topic create --durability always` syncs it first, so that it also survives a power failure)\n\n{NEXT}"
    );
    print_document(global.output, &json!({ "bench": measurement.to_json() }), &text)
}
