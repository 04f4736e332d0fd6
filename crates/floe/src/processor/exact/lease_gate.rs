//! Appends of a task happen only while the member can prove that it lives.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::{
    Effect, Error, ErrorKind, Result,
    consumer::{TaskLease, group::MemberHandle},
    layer::{Layer, Operation, OperationKind},
};

/// How often the gate looks whether heartbeats come back again.
const LOOK: Duration = Duration::from_millis(20);

/// Layer around the appends of a task. An append waits while no heartbeat of the member comes back, and ends with the lease.
#[derive(Debug)]
pub(super) struct LeaseGate {
    pub(super) member: MemberHandle,
    pub(super) lease: TaskLease,
}

impl LeaseGate {
    fn fenced(&self, effect: Effect) -> Error {
        let message = format!("another member may have the input partition {} now", self.lease.partition());
        Error::new(ErrorKind::Fenced, message).with_effect(effect)
    }
}

impl Layer for LeaseGate {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind != OperationKind::Append {
            return attempt().await;
        }
        while self.member.time_left().is_none() {
            if self.lease.is_lost() {
                break;
            }
            sleep(LOOK).await;
        }
        if self.lease.is_lost() {
            return Err(self.fenced(Effect::None));
        }
        let mut call = attempt();
        loop {
            let Some(left) = self.member.time_left() else {
                let message = "no heartbeat of the member came back while the append was under way";
                return Err(Error::new(ErrorKind::RequestTimeout, message).with_effect(Effect::Unknown));
            };
            tokio::select! {
                biased;
                outcome = &mut call => return outcome,
                () = self.lease.lost() => return Err(self.fenced(Effect::Unknown)),
                // Heartbeats move the end of the time on.
                () = sleep(left) => {}
            }
        }
    }
}
