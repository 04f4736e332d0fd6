//! Judges arbitrary bytes as a history. An event that is read is written and read again as the same.

#![no_main]

use floe_check::{CheckOptions, Checker, HistoryEvent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(event) = str::from_utf8(line).ok().and_then(|line| HistoryEvent::parse(line).ok()) {
            let line = event.to_line();
            assert_eq!(HistoryEvent::parse(&line).as_ref(), Ok(&event));
        }
    }
    for header in [&b""[..], b"{\"history\":1}\n"] {
        let mut checker =
            Checker::new(CheckOptions { drained: header.is_empty(), ..CheckOptions::default() });
        if checker.read(&[header, data].concat()[..]).is_ok() {
            checker.finish().expect("memory takes it");
        }
    }
});
