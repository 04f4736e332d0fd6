//! A producer that sends at a steady rate through all faults.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use floe::{Client, Error, ErrorKind, Record, producer::Delivery};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::rng::Rng;

const TICK: Duration = Duration::from_millis(50);

/// Records in flight; a producer waits for the oldest one above it.
const OPEN: usize = 5000;

/// Time limit of a delivery.
const DELIVERY: Duration = Duration::from_secs(30);

/// Time limit of anything that has to end after a delivery.
const END: Duration = Duration::from_secs(90);

/// Steps of a producer's clock, in seconds.
const STEPS: [i64; 5] = [0, 0, -3600, -3 * 86_400, 2 * 86_400];

#[derive(Debug)]
pub(crate) struct Producing {
    pub(crate) name: String,
    pub(crate) topic: String,
    /// Records of each tick, in thousandths.
    pub(crate) rate: u64,
    pub(crate) until: Instant,
    pub(crate) rng: Rng,
}

impl Producing {
    /// Sends until its time has come, and waits for all outcomes. The history has them.
    pub(crate) async fn run(mut self, client: Client) -> Result<(), String> {
        let producer = loop {
            match client.producer(&*self.topic).timeout(DELIVERY).start().await {
                Ok(producer) => break producer,
                Err(error) if error.is_retriable() && Instant::now() < self.until => {
                    sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(format!("producer {} cannot start: {error:?}", self.name)),
            }
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = VecDeque::new();
        let (mut number, mut due, mut step) = (0_u64, 0, 0);
        while Instant::now() < self.until {
            ticks.tick().await;
            if self.rng.within(0..=400) == 0 {
                step = self.rng.pick(&STEPS);
            }
            due += self.rate;
            while due >= 1000 {
                due -= 1000;
                number += 1;
                let record = self.record(number, step);
                match timeout(END, producer.enqueue(record)).await {
                    Ok(Ok(delivery)) => open.push_back(delivery),
                    Ok(Err(error)) => self.explained(&error)?,
                    Err(_) => return Err(format!("producer {} hangs in a full queue", self.name)),
                }
            }
            while open.len() > OPEN {
                self.settle(open.pop_front()).await?;
            }
        }
        while !open.is_empty() {
            self.settle(open.pop_front()).await?;
        }
        let closed = timeout(END, producer.close_within(DELIVERY)).await;
        let closed = closed.map_err(|_| format!("closing producer {} hangs", self.name))?;
        closed.map(drop).map_err(|error| error.to_string())
    }

    /// Makes a record that no other one equals, with the time of a clock that steps.
    fn record(&mut self, number: u64, step: i64) -> Record<String> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let filling = usize::try_from(self.rng.within(0..=300)).unwrap();
        let value = format!("{}.{number}.{}", self.name, "x".repeat(filling));
        let key = format!("key {}", self.rng.within(0..=40));
        Record::keyed(key, value).timestamp(i64::try_from(now).unwrap() + step * 1000)
    }

    async fn settle(&self, delivery: Option<Delivery>) -> Result<(), String> {
        let Some(delivery) = delivery else { return Ok(()) };
        match timeout(END, delivery).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => self.explained(&error),
            Err(_) => Err(format!("producer {}: a delivery has no outcome", self.name)),
        }
    }

    /// Fails for errors that no fault explains.
    fn explained(&self, error: &Error) -> Result<(), String> {
        if error.is_retriable() || error.kind() == ErrorKind::StorageError {
            return Ok(());
        }
        Err(format!("producer {}: {error:?}", self.name))
    }
}
