//! Compares the log with plain vectored writes and reads of the same prepared batches, as ratios within one run. Then
//! measures 1,000 partitions: memory, and the time to open them.
//!
//! `cargo bench -p floe-log`; `FLOE_BENCH_MIB` sets the bytes per measurement (512), `FLOE_BENCH_OPEN_MIB` those of
//! the opening (5,120).

use std::{
    fs::{File, OpenOptions},
    io::{IoSlice, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use floe_log::{Durability, Store, StoreConfig, TopicConfig};
use floe_wire::batch::EncodedBatch;

const ROUNDS: usize = 5;
const READ: usize = 1 << 20;

fn batch(size: usize, seed: u64) -> EncodedBatch {
    let mut state = seed | 1;
    let mut bytes = vec![0_u8; size];
    for byte in bytes.iter_mut().skip(57) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    bytes[8..12].copy_from_slice(&(size as i32 - 12).to_be_bytes());
    bytes[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&99_i32.to_be_bytes());
    bytes[43..57].fill(0xff);
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    EncodedBatch::parse(Bytes::from(bytes)).expect("a valid batch")
}

/// Cost of one measurement.
#[derive(Clone, Copy)]
struct Cost {
    mib_per_second: f64,
    /// Processor time of this thread; comparable even when other programs keep the machine busy. 0 off Linux.
    cpu_per_gib: f64,
}

struct Watch {
    started: Instant,
    cpu: f64,
}

impl Watch {
    fn start() -> Self {
        Self { started: Instant::now(), cpu: thread_cpu_seconds() }
    }

    fn stop(&self, bytes: usize) -> Cost {
        let mib = bytes as f64 / (1 << 20) as f64;
        Cost {
            mib_per_second: mib / self.started.elapsed().as_secs_f64(),
            cpu_per_gib: (thread_cpu_seconds() - self.cpu) / mib * 1024.0,
        }
    }
}

fn thread_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn raw_write(path: &Path, batches: &[EncodedBatch], total: usize) -> Cost {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a file");
    let watch = Watch::start();
    let mut position = 0;
    for batch in batches.iter().cycle() {
        if position >= total {
            break;
        }
        let (prefix, rest) = (batch.prefix(), batch.rest());
        let slices = [IoSlice::new(&prefix), IoSlice::new(&rest)];
        let written = file.write_vectored(&slices).expect("written");
        assert_eq!(written, batch.len());
        position += written;
    }
    watch.stop(position)
}

/// Reads the file and verifies the checksum of every batch, as the log's reader and its consumer do.
fn raw_read(path: &Path) -> Cost {
    let mut file = File::open(path).expect("the file");
    let watch = Watch::start();
    let (mut position, mut buffer) = (0_u64, vec![0_u8; READ]);
    loop {
        file.seek(SeekFrom::Start(position)).expect("a position");
        let read = file.read(&mut buffer).expect("read");
        let mut used = 0;
        while read - used >= 57 {
            let length = i32::from_be_bytes(buffer[used + 8..used + 12].try_into().expect("four bytes"));
            let end = used + 12 + length as usize;
            if end > read {
                break;
            }
            let stored = u32::from_be_bytes(buffer[used + 17..used + 21].try_into().expect("four bytes"));
            assert_eq!(stored, crc32c::crc32c(&buffer[used + 21..end]));
            used = end;
        }
        if used == 0 {
            break;
        }
        position += used as u64;
    }
    watch.stop(position as usize)
}

fn log_write(store: &Arc<Store>, topic: &str, batches: &[EncodedBatch], total: usize) -> Cost {
    let partition = store.partition(topic, 0).expect("the partition");
    let watch = Watch::start();
    let mut position = 0;
    for batch in batches.iter().cycle() {
        if position >= total {
            break;
        }
        position += batch.len();
        partition.submit(batch.clone(), |result| {
            result.expect("appended");
        });
    }
    watch.stop(position)
}

fn log_read(store: &Arc<Store>, topic: &str) -> Cost {
    let partition = store.partition(topic, 0).expect("the partition");
    let mut reader = partition.reader(0).expect("a reader").verify(true);
    let watch = Watch::start();
    let mut bytes = 0;
    loop {
        let chunk = reader.next_chunk(READ).expect("a chunk");
        if chunk.batches.is_empty() {
            break;
        }
        bytes += chunk.batches.iter().map(EncodedBatch::len).sum::<usize>();
    }
    watch.stop(bytes)
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |pick: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost { mib_per_second: middle(|c| c.mib_per_second), cpu_per_gib: middle(|c| c.cpu_per_gib) }
}

fn compare(operation: &str, log: Cost, raw: Cost) {
    println!(
        "  {operation}: {:>5.0} of {:>5.0} MiB/s = {:.2}; processor time {:.2} s/GiB against {:.2}",
        log.mib_per_second,
        raw.mib_per_second,
        log.mib_per_second / raw.mib_per_second,
        log.cpu_per_gib,
        raw.cpu_per_gib,
    );
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default) << 20
}

fn one_partition(total: usize) {
    // Odd sizes, like real batches: with whole pages the plain file, which has no header, would be page-aligned.
    for size in [1_051, 16_411, 262_171] {
        let batches: Vec<_> = (0..64).map(|seed| batch(size, seed)).collect();
        let (mut raw, mut log) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for round in 0..2 * ROUNDS {
            // Alternates, because the second measurement of a pair competes with the writeback of the first.
            let directory = tempfile::tempdir().expect("a directory");
            if round % 2 == 0 {
                let file = directory.path().join("raw");
                raw.0.push(raw_write(&file, &batches, total));
                raw.1.push(raw_read(&file));
                continue;
            }
            let store = Store::open(StoreConfig::at(directory.path().join("log"))).expect("a store");
            store.create_topic("t", TopicConfig::new().durability(Durability::Os)).expect("a topic");
            log.0.push(log_write(&store, "t", &batches, total));
            log.1.push(log_read(&store, "t"));
            store.delete_topic("t").expect("deleted");
        }
        println!("batches of {} KiB, log compared with plain calls", size >> 10);
        compare("append                  ", median(&log.0), median(&raw.0));
        compare("read, checksums verified", median(&log.1), median(&raw.1));
    }
}

fn thousand_partitions(total: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let config = || StoreConfig::at(directory.path());
    let store = Store::open(config()).expect("a store");
    let started = Instant::now();
    store.create_topic("t", TopicConfig::new().partitions(1_000)).expect("a topic");
    println!("1,000 partitions created in {:.3} s", started.elapsed().as_secs_f64());
    let batches: Vec<_> = (0..64).map(|seed| batch(16 << 10, seed)).collect();
    let partitions: Vec<_> =
        (0..1_000).map(|number| store.partition("t", number).expect("a partition")).collect();
    let watch = Watch::start();
    let mut written = 0;
    for (partition, batch) in partitions.iter().cycle().zip(batches.iter().cycle()) {
        if written >= total {
            break;
        }
        written += batch.len();
        partition.submit(batch.clone(), |result| {
            result.expect("appended");
        });
    }
    println!(
        "{} MiB in 1,000 partitions of {} KiB batches: {:.0} MiB/s, resident {:.0} MiB",
        written >> 20,
        batches[0].len() >> 10,
        watch.stop(written).mib_per_second,
        resident_mib(),
    );
    let open_all = |situation: &str| {
        let started = Instant::now();
        let store = Store::open(config()).expect("a store");
        let opened = started.elapsed();
        for number in 0..1_000 {
            let partition = store.partition("t", number).expect("a partition");
            assert!(partition.bounds().end > 0);
        }
        println!(
            "opened {situation}: {:.3} s, with all partitions {:.3} s, resident {:.0} MiB",
            opened.as_secs_f64(),
            started.elapsed().as_secs_f64(),
            resident_mib(),
        );
        store
    };
    drop(partitions);
    let started = Instant::now();
    store.close().expect("closed");
    println!("synced and closed in {:.3} s", started.elapsed().as_secs_f64());
    drop(store);
    // Dropping without a close makes the next open recover.
    drop(open_all("after a close"));
    open_all("after a crash that followed a checkpoint").delete_topic("t").expect("deleted");
}

fn main() {
    // `cargo test --benches` runs this as well; small sizes are enough there.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (total, open) = if is_bench {
        (setting("FLOE_BENCH_MIB", 512), setting("FLOE_BENCH_OPEN_MIB", 5_120))
    } else {
        (4 << 20, 20 << 20)
    };
    one_partition(total);
    thousand_partitions(open);
}
