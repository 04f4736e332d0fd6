//! A processor that is dropped in the middle of its work again and again, and writes each record once all the same.
//!
//! `cargo run -p floe --example exactly_once`
//!
//! Each transfer between two accounts becomes two entries in a ledger. The program fails unless every entry is there once,
//! and all entries together make zero.

use std::{collections::BTreeMap, time::Duration};

use floe::{
    Client, Record, TopicSpec,
    consumer::{Consumer, StartAt},
    payload::Json,
    processor::{Failure, Processor},
};
use serde::{Deserialize, Serialize};

const TRANSFERS: u32 = 1000;
const ACCOUNTS: u32 = 7;
/// Drops of the processor.
const DROPS: u32 = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Transfer {
    number: u32,
    from: u32,
    to: u32,
    amount: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LedgerEntry {
    transfer: u32,
    account: u32,
    amount: i64,
}

/// Makes the same entries of a transfer each time: it uses nothing but the transfer.
fn entries(transfer: &Transfer) -> Vec<Record<LedgerEntry>> {
    let Transfer { number, from, to, amount } = *transfer;
    [(from, -amount), (to, amount)]
        .map(|(account, amount)| {
            Record::keyed(format!("account {account}"), LedgerEntry { transfer: number, account, amount })
        })
        .into()
}

fn processor(client: &Client, transfers: &str, ledger: &str) -> Processor {
    client
        .processor(transfers, ledger)
        .exactly_once()
        .json::<Transfer, LedgerEntry>()
        .concurrency(8)
        .map(async |transfer| Ok::<_, Failure>(entries(&transfer.value)))
}

/// Sends the transfers, runs processors until the ledger is complete, and checks it.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url).await?;
    // Topics of this run alone.
    let run = std::process::id();
    let [transfers, ledger] = ["transfers", "ledger"].map(|name| format!("{name}-{run}"));
    for topic in [&transfers, &ledger] {
        client.admin().create_topic(TopicSpec::new(topic.as_str()).partitions(2)).await?;
    }
    let producer = client.producer(transfers.as_str()).json::<Transfer>().start().await?;
    let mut reader =
        client.consumer(ledger.as_str()).json::<LedgerEntry>().from(StartAt::Beginning).start().await?;
    let mut found = Vec::new();
    for round in 0..DROPS {
        let part = (TRANSFERS * round / DROPS)..(TRANSFERS * (round + 1) / DROPS);
        let enough = 2 * part.end as usize - 50;
        let sent = part.map(|number| {
            let (from, to) = (number % ACCOUNTS, (number + 1 + number % 3) % ACCOUNTS);
            Transfer { number, from, to, amount: i64::from(number % 100) }
        });
        producer.send_all(sent).await?;
        tokio::select! {
            report = processor(&client, &transfers, &ledger).run(std::future::pending()) => drop(report?),
            // Dropped as it stands: records are in its hands, and entries under way.
            outcome = take(&mut reader, &mut found, enough) => outcome?,
        }
    }
    let running = processor(&client, &transfers, &ledger).start().await?;
    take(&mut reader, &mut found, 2 * TRANSFERS as usize).await?;
    let report = running.stop().await?;
    println!("the last processor handled {} transfers and wrote {} entries", report.handled, report.produced);

    let late = tokio::time::timeout(Duration::from_millis(500), reader.try_next()).await;
    assert!(late.is_err(), "an entry too many: {late:?}");
    let mut places: Vec<_> = found.iter().map(|entry| (entry.transfer, entry.account)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), found.len(), "an entry came twice");
    let mut balances: BTreeMap<u32, i64> = BTreeMap::new();
    for entry in &found {
        *balances.entry(entry.account).or_default() += entry.amount;
    }
    assert_eq!(balances.values().sum::<i64>(), 0, "{balances:?}");
    println!("{} entries, each once, after {DROPS} drops: {balances:?}", found.len());
    client.close().await?;
    Ok(())
}

/// Reads entries until there are so many.
async fn take(
    reader: &mut Consumer<Json<LedgerEntry>>,
    found: &mut Vec<LedgerEntry>,
    enough: usize,
) -> floe::Result<()> {
    while found.len() < enough {
        match reader.try_next().await? {
            Some(message) => found.push(message.value),
            None => break,
        }
    }
    Ok(())
}
