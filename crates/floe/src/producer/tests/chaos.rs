//! No loss, no duplicates and the order kept under random faults of an engine that keeps its contract.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{lost, refused, values};
use crate::{
    Client, Record, Result,
    fake_engine::FakeEngine,
    layer::{Layer, Operation},
};

/// A deterministic random number generator.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// One connection: it handles requests in the order in which they were sent, until it breaks.
#[derive(Debug, Default)]
struct Connection {
    turn: tokio::sync::Mutex<()>,
    broken: AtomicBool,
}

/// A server that is slow, refuses requests, and loses connections before and after it has stored a batch. Each partition
/// has one connection.
#[derive(Debug)]
struct Chaos {
    dice: Mutex<Dice>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

impl Chaos {
    fn roll(&self, bound: u64) -> u64 {
        self.dice.lock().below(bound)
    }

    fn connection(&self, partition: usize) -> Arc<Connection> {
        let mut connections = self.connections.lock();
        if connections[partition].broken.load(Ordering::Relaxed) {
            connections[partition] = Arc::default();
        }
        Arc::clone(&connections[partition])
    }

    async fn pause(&self) {
        let millis = self.roll(4);
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    async fn append<'a, T: Send>(
        &self,
        partition: usize,
        attempt: impl Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let connection = self.connection(partition);
        let turn = connection.turn.lock().await;
        if connection.broken.load(Ordering::Relaxed) {
            return Err(lost());
        }
        self.pause().await;
        let fault = self.roll(12);
        match fault {
            // The request or its response is lost.
            0 | 1 => {
                if fault == 1 {
                    attempt().await?;
                }
                connection.broken.store(true, Ordering::Relaxed);
                return Err(lost());
            }
            2 => {
                connection.broken.store(true, Ordering::Relaxed);
                return Err(refused());
            }
            _ => {}
        }
        let answer = attempt().await;
        // The connection handles other requests while the response travels; if it breaks, the response is lost.
        drop(turn);
        self.pause().await;
        if connection.broken.load(Ordering::Relaxed) {
            return Err(lost());
        }
        answer
    }
}

impl Layer for Chaos {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        match (operation.kind.as_str(), operation.partition) {
            ("append", Some(partition)) => self.append(partition as usize, attempt).await,
            ("open" | "watermarks", _) if self.roll(4) == 0 => Err(lost()),
            _ => attempt().await,
        }
    }
}

async fn survive(seed: u64) {
    let mut dice = Dice(seed ^ 0x5EED);
    let partitions = 1 + dice.below(3) as u32;
    let engine = FakeEngine::with_topic("orders", partitions);
    let chaos = Chaos {
        dice: Mutex::new(Dice(seed)),
        connections: Mutex::new((0..partitions).map(|_| Arc::default()).collect()),
    };
    let client = Client::from_engine(chaos.layer(Arc::new(engine.clone())));
    // Another producer writes to the same partitions.
    let other = Client::from_engine(Arc::new(engine.clone())).producer("orders").start().await.unwrap();
    let orders = client
        .producer("orders")
        .batch_size(90 + dice.below(200) as usize)
        .max_in_flight(1 + dice.below(5) as usize)
        .buffer_memory(300 + dice.below(3000) as usize)
        .batch_queue(1 + dice.below(5) as usize)
        .linger(Duration::from_millis(dice.below(3)))
        .timeout(Duration::from_secs(3600))
        .start()
        .await
        .unwrap();
    let mut sent = vec![Vec::new(); partitions as usize];
    let mut deliveries = Vec::new();
    for n in 0..40 {
        let partition = dice.below(u64::from(partitions)) as u32;
        let value = format!("{n}");
        sent[partition as usize].push(value.clone());
        let delivery = orders.enqueue(Record::new(value.clone()).partition(partition)).await.unwrap();
        deliveries.push((partition, value, delivery));
        if dice.below(5) == 0 {
            other.send(Record::new("other").partition(partition)).await.unwrap();
        }
        if dice.below(6) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(5))).await;
        }
    }
    orders.flush().await.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
    for partition in 0..partitions {
        let mut stored = values(&engine, partition);
        stored.retain(|value| value != "other");
        assert_eq!(stored, sent[partition as usize], "seed {seed}, partition {partition}");
    }
    for (partition, value, delivery) in deliveries {
        let placed = delivery.await.unwrap();
        let stored = values(&engine, partition);
        assert_eq!(stored[placed.offset.unwrap() as usize], value, "seed {seed}: wrong offset");
    }
}

#[tokio::test(start_paused = true)]
async fn random_faults_cause_no_loss_duplicates_or_reordering() {
    for seed in 0..400 {
        survive(seed).await;
    }
}
