//! Measures the checker: generates the history of `COUNT` calls of a correct log into a pipe or a file, or checks one.
//!
//! ```sh
//! cargo run --release -p floe-check --example judge generate 10000000 > history.jsonl
//! cargo run --release -p floe-check --example judge check history.jsonl
//! ```

use std::{
    collections::VecDeque,
    env,
    fs::File,
    io::{self, BufReader, BufWriter, Write as _},
    time::Instant,
};

use floe_check::{Call, CheckOptions, Checker, HistoryEvent, Phase, event::HEADER};

const PARTITIONS: u64 = 8;
const IN_FLIGHT: usize = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["generate", count] => Ok(generate(count.parse()?)?),
        ["check", path] => check(path),
        _ => Err("usage: judge generate COUNT | judge check FILE".into()),
    }
}

fn on<'a>(phase: Phase, call: Call, process: &'a str, number: u64) -> HistoryEvent<'a> {
    let mut event = HistoryEvent::new(phase, call, process);
    event.topic = Some("orders".into());
    event.partition = u32::try_from(number % PARTITIONS).ok();
    event
}

/// Writes sends, and polls of one reader, each a call; a commit after every hundredth.
fn generate(count: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    writeln!(out, "{HEADER}")?;
    let mut in_flight = VecDeque::new();
    for number in 0..count / 2 {
        let mut send = on(Phase::Invoke, Call::Send, "producer", number);
        send.id = Some(number);
        send.digest = Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        writeln!(out, "{}", send.to_line())?;
        in_flight.push_back(number);
        if in_flight.len() == IN_FLIGHT {
            answer(&mut out, &mut in_flight)?;
        }
    }
    while !in_flight.is_empty() {
        answer(&mut out, &mut in_flight)?;
    }
    out.flush()
}

fn answer(out: &mut impl io::Write, in_flight: &mut VecDeque<u64>) -> io::Result<()> {
    let Some(number) = in_flight.pop_front() else { return Ok(()) };
    let offset = i64::try_from(number / PARTITIONS).ok();
    let mut ok = HistoryEvent::new(Phase::Ok, Call::Send, "producer");
    (ok.id, ok.offset) = (Some(number), offset);
    writeln!(out, "{}", ok.to_line())?;
    let mut poll = on(Phase::Ok, Call::Poll, "reader", number);
    (poll.group, poll.offset) = (Some("billing".into()), offset);
    poll.digest = Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    writeln!(out, "{}", poll.to_line())?;
    let mut handle = on(Phase::Ok, Call::Handle, "reader", number);
    (handle.group, handle.offset) = (Some("billing".into()), offset);
    writeln!(out, "{}", handle.to_line())?;
    if number % 800 < PARTITIONS {
        let mut commit = on(Phase::Invoke, Call::Commit, "reader", number);
        (commit.group, commit.offset) = (Some("billing".into()), offset.map(|offset| offset + 1));
        writeln!(out, "{}", commit.to_line())?;
    }
    Ok(())
}

fn check(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let mut checker = Checker::new(CheckOptions { drained: true, ..CheckOptions::default() });
    checker.read(BufReader::with_capacity(1 << 20, File::open(path)?))?;
    let read = began.elapsed();
    let verdict = checker.finish()?;
    println!("{} events, clean: {}", verdict.events, verdict.is_clean());
    println!("read in {read:.1?}, judged in {:.1?}", began.elapsed().saturating_sub(read));
    Ok(())
}
