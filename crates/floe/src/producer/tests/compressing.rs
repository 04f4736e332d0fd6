//! Parallel compression on a runtime with several threads.

use std::{num::NonZero, thread::available_parallelism, time::Duration};

use tokio::time::timeout;

use super::{enqueue_all, lost, orders, over, refused, values};
use crate::{
    Codec, ErrorKind,
    engine::Capabilities,
    fake_engine::{FakeEngine, Fault},
    producer::parallel_encode,
};

/// Far longer than any test here takes: a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// Records of about 20 KB, so that each batch is worth another thread; some compress quickly, some not at all.
fn records(count: usize) -> Vec<String> {
    let mut noise = 7_u32;
    let mut text = |number: usize| {
        let tail: String = (0..20_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if number.is_multiple_of(3) { char::from(b'a' + (noise >> 24) as u8 % 26) } else { 'x' }
            })
            .collect();
        format!("{number} {tail}")
    };
    (0..count).map(&mut text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_compressed_in_parallel_are_sent_in_order() {
    let (engine, builder) = orders();
    let builder = builder.batch_size(16 * 1024).compression(Codec::Zstd).compression_level(9);
    let orders = builder.start().await.unwrap();
    let sent = records(60);
    let deliveries = enqueue_all(&orders, &sent).await;
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let placed = timeout(PATIENCE, delivery).await.unwrap().unwrap();
        assert_eq!(placed.offset, i64::try_from(number).ok());
    }
    assert_eq!(values(&engine, 0), sent);
    let batches = engine.batches("orders", 0);
    let numbers: Vec<_> = batches.iter().map(|batch| batch.header().producer.first_sequence).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "each batch holds one record");
    assert!(batches.iter().all(|batch| batch.header().attributes.codec() == Ok(Codec::Zstd)));
    orders.close().await.unwrap().into_result(orders.topic()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_append_keeps_the_order_of_batches_compressed_behind_it() {
    let (engine, builder) = orders();
    let orders = builder.batch_size(16 * 1024).compression(Codec::Lz4).start().await.unwrap();
    let sent = records(30);
    engine.fail_appends([Fault::Refuse(refused()), Fault::Refuse(refused()), Fault::LoseAnswer(lost())]);
    let deliveries = enqueue_all(&orders, &sent).await;
    for delivery in deliveries {
        timeout(PATIENCE, delivery).await.unwrap().unwrap();
    }
    assert_eq!(values(&engine, 0), sent);
}

/// With one processor there are no permits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_are_limited_and_released() {
    let processors = available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Handle::current();
    let small = parallel_encode::permit(&runtime, 1024);
    assert!(small.is_none(), "small batches are not worth it");
    if processors > 1 {
        // Other tests of this process take and release permits, too.
        let taken = timeout(PATIENCE, async {
            loop {
                match parallel_encode::permit(&runtime, 64 * 1024) {
                    Some(permit) => return permit,
                    None => tokio::task::yield_now().await,
                }
            }
        });
        drop(taken.await.unwrap());
    }
}

#[tokio::test]
async fn a_runtime_with_one_thread_gets_no_permit() {
    let runtime = tokio::runtime::Handle::current();
    assert!(parallel_encode::permit(&runtime, 64 * 1024).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_batch_size_of_the_engine_is_the_default() {
    for (own, expected) in [(None, 1), (Some(150), 3)] {
        let capabilities = Capabilities::FULL.with(|it| it.batch_bytes = 100_000);
        let (engine, builder) = over(FakeEngine::with_topic("orders", 1).with_capabilities(capabilities));
        let builder = builder.linger(Duration::from_secs(1));
        let builder = match own {
            Some(bytes) => builder.batch_size(bytes),
            None => builder,
        };
        let orders = builder.start().await.unwrap();
        for delivery in enqueue_all(&orders, &["x".repeat(120), "y".repeat(120), "z".repeat(120)]).await {
            delivery.await.unwrap();
        }
        assert_eq!(engine.batches("orders", 0).len(), expected);
    }
    let (_, builder) = orders();
    assert_eq!(builder.batch_size(0).start().await.unwrap_err().kind(), ErrorKind::InvalidConfig);
}
