//! Starts the clients of a run: producers, consumers, members of shared groups, processors, an outbox.

use floe::{Client, TopicSpec, engine::Engine as _, simulation::Process};
use futures_util::FutureExt as _;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{GROUP, Members, PostingTask, Producers, ReaderTask, Run, SILENCE};
use crate::{
    consume::{Goal, Grouped, Reading},
    kind::Kind,
    mishaps::Mishaps,
    outbox::Posting,
    power::CoordinationWay,
    processors::{Guarantee, Workers},
    produce::Producing,
    share::{SECOND_TOPIC, SharedRecords, Sharing},
    swarm::MishapKinds,
};

impl Run {
    pub(super) fn start_producers(&mut self, client: &Client) -> Producers {
        let mut producers = JoinSet::new();
        for (number, plan) in self.plan.producers.clone().into_iter().enumerate() {
            // Drawn for all of them: one that is left out shifts no draws of others.
            let rng = self.rng.fork();
            if plan.records == 0 {
                continue;
            }
            let producing = Producing {
                number,
                topic: self.kind.topic(),
                partitions: self.plan.partitions,
                plan,
                rng,
                trace: self.trace.clone(),
            };
            let client = client.clone();
            producers.spawn(async move { (number, producing.run(client).await) });
        }
        producers
    }

    /// Starts the reader, and the group where the kind has one.
    pub(super) fn start_consumers(
        &mut self,
        client: &Client,
        goal: watch::Receiver<Goal>,
    ) -> (ReaderTask, Option<ReaderTask>) {
        let reader = Reading {
            topic: self.kind.topic(),
            goal: goal.clone(),
            trace: self.trace.clone(),
            silence: (self.kind == Kind::Walrus).then_some(SILENCE),
        };
        let is_lossy = self.is_lossy();
        let reader = if is_lossy {
            reader.when_known(client.clone()).boxed()
        } else {
            reader.run(client.clone()).boxed()
        };
        let reader = tokio::spawn(reader);
        let grouped = (self.kind == Kind::Fluvio || self.kind == Kind::Disk && !is_lossy).then(|| {
            let grouped = Grouped {
                topic: self.kind.topic(),
                group: GROUP,
                plan: self.plan.group.clone(),
                goal,
                handled: self.handled.clone(),
                rng: self.rng.fork(),
                trace: self.trace.clone(),
            };
            tokio::spawn(grouped.run(client.clone()))
        });
        (reader, grouped)
    }

    /// Starts the members of the shared group, each with a client of its own.
    pub(super) async fn start_members(
        &mut self,
        (goal, quiet): (&watch::Receiver<Goal>, &watch::Receiver<bool>),
    ) -> Result<(Members, SharedRecords), String> {
        let (mut members, shared) = (Members::new(), SharedRecords::default());
        if self.kind != Kind::Groups {
            return Ok((members, shared));
        }
        let second = TopicSpec::new(SECOND_TOPIC).partitions(self.plan.partitions);
        self.store.create_topic(second).await.map_err(|error| error.to_string())?;
        for number in 0..usize::try_from(self.plan.members).unwrap_or(1) {
            let are_long = self.simulation.misdeed.needs_absence();
            let (mishaps, client, woken) = self.start_process(number, quiet, are_long).await?;
            let sharing = Sharing {
                number,
                woken,
                way: mishaps.way.clone(),
                misdeed: self.simulation.misdeed,
                referee: self.referee.clone(),
                topic: self.kind.topic(),
                group: GROUP,
                goal: goal.clone(),
                shared: shared.clone(),
                handled: self.handled.clone(),
                recorder: self.history.recorder(),
                faults: self.simulation.faults,
                lives: 0,
                rng: self.rng.fork(),
                trace: self.trace.clone(),
            };
            members.push((tokio::spawn(mishaps.process.run(sharing.run(client.clone()))), client));
            if mishaps.kinds != MishapKinds::NONE {
                tokio::spawn(mishaps.run());
            }
        }
        Ok((members, shared))
    }

    /// Starts the processors, each with a client of its own.
    pub(super) async fn start_workers(&mut self, quiet: &watch::Receiver<bool>) -> Result<Workers, String> {
        let (guarantee, most) = match self.kind {
            Kind::ExactlyOnce if self.simulation.seed % 3 == 2 => (Guarantee::Recorded, 3),
            Kind::ExactlyOnce => (Guarantee::ExactlyOnce, 3),
            Kind::Applications => (Guarantee::AtLeastOnce, 1),
            _ => return Ok(Workers::new(Guarantee::AtLeastOnce)),
        };
        let mut workers = Workers::new(guarantee);
        for number in 0..usize::try_from(self.rng.within(1..=most)).unwrap_or(1) {
            let (mishaps, client, _) = self.start_process(number, quiet, false).await?;
            let parts = (mishaps.way.clone(), self.handled.clone(), self.rng.fork(), self.trace.clone());
            let worker = workers.worker(number, (self.kind.topic(), GROUP), self.simulation.faults, parts);
            workers.add(tokio::spawn(mishaps.process.run(worker.run(client.clone()))), client);
            if mishaps.kinds != MishapKinds::NONE {
                tokio::spawn(mishaps.run());
            }
        }
        Ok(workers)
    }

    /// Starts the outbox with a client of its own, where the kind has one.
    pub(super) async fn start_outbox(
        &mut self,
        quiet: &watch::Receiver<bool>,
    ) -> Result<Option<PostingTask>, String> {
        if self.kind != Kind::Applications {
            return Ok(None);
        }
        let (mishaps, client, _) = self.start_process(0, quiet, false).await?;
        let posting = Posting::new(self.rng.fork(), self.simulation.faults, &self.trace);
        let task = tokio::spawn(mishaps.process.run(posting.run(client.clone())));
        if mishaps.kinds != MishapKinds::NONE {
            tokio::spawn(mishaps.run());
        }
        Ok(Some((task, client)))
    }

    /// Starts a process with a client and a clock of its own. Returns what may happen to it, and the receiver of its wake-ups.
    async fn start_process(
        &mut self,
        number: usize,
        quiet: &watch::Receiver<bool>,
        are_long: bool,
    ) -> Result<(Mishaps, Client, watch::Receiver<Option<Instant>>), String> {
        // Wrong by up to 5 %, and by hours.
        let process = Process::new(0.95 + self.rng.within(0..=1_000) as f64 / 10_000.0);
        let client = process.run(self.connect()).await?;
        let (wakes, woken) = watch::channel(None);
        let mishaps = Mishaps {
            member: number,
            process,
            wakes,
            way: CoordinationWay::default(),
            quiet: quiet.clone(),
            kinds: self.plan.mishaps,
            are_long,
            rng: self.rng.fork(),
            trace: self.trace.clone(),
        };
        Ok((mishaps, client, woken))
    }
}
