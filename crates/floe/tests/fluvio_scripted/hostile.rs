//! A server that answers more than it should: the client's memory stays bounded, and its calls end.

use floe::engine::Engine as _;
use floe_testkit::fluvio::{Cluster, Fault};
use floe_wire::fluvio::TopicSpec;

use super::connect;

const LIST: u16 = 1003;
const FETCH_OFFSETS: u16 = 1002;

/// Most memory that the process ever had, in bytes; `None` where the system does not tell.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? << 10)
}

/// The replies of this test would take gigabytes. Other tests of the process run beside it and take some.
fn has_grown_little(before: Option<usize>) {
    if let (Some(before), Some(now)) = (before, peak()) {
        assert!(now - before < 600 << 20, "{} MiB", (now - before) >> 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_millions_of_empty_objects_is_refused() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let before = peak();
    cluster.change(|state| state.faults.push_back((LIST, Fault::Crowded(3_000_000))));
    let error = engine.admin().list::<TopicSpec>(&[]).await.unwrap_err();
    assert!(format!("{error:?}").contains("elements"), "{error:?}");
    has_grown_little(before);
    assert_eq!(engine.admin().list::<TopicSpec>(&[]).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endless_reply_ends_with_its_frame() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let before = peak();
    for length in [(100 << 20) as u32, 1 << 30, u32::MAX] {
        cluster.change(|state| state.faults.push_back((FETCH_OFFSETS, Fault::Endless(length))));
        let error = engine.watermarks(super::at(0)).await.unwrap_err();
        assert!(error.is_retriable(), "{error}");
    }
    has_grown_little(before);
    engine.watermarks(super::at(0)).await.unwrap();
}
