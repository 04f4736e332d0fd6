//! Check and repair of a store that no process has open.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use floe_core::Result;
pub use floe_log::{
    CheckReport, CheckedPartition, CheckedSegment, RepairAction, Repaired, SetAsideLog, StoreProblem,
};
use floe_log::{LogError, Store, StoreConfig};

use super::on_a_thread;

/// Log that was taken back from `lost+found`, or was not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Adopted {
    /// Logs of one topic.
    pub logs: Vec<SetAsideLog>,
    /// Name of the topic that has them now, or the reason why none has.
    pub topic: Result<String>,
}

/// Checks the store in a directory: reads every byte and writes none. Works on a directory that cannot be written, and on a
/// full disk. A namespace is a directory below that of its store.
///
/// # Errors
/// [`ErrorKind::StoreInUse`](floe_core::ErrorKind::StoreInUse) if a process has the store open: its health tells what it
/// found. [`ErrorKind::StorageError`](floe_core::ErrorKind::StorageError), also if there is no store.
///
/// # Cancel safety
/// Dropping the future leaves the check running on its thread.
pub async fn check(directory: impl AsRef<Path>) -> Result<CheckReport> {
    let config = StoreConfig::at(directory);
    on_a_thread(move || floe_log::check(&config)).await
}

/// Repairs the store in a directory: does what [`check`] lists, and keeps in `lost+found` all bytes that it takes out of use.
/// Changes nothing if the store is whole.
///
/// # Errors
/// As [`check`]; a full disk is [`ErrorKind::StorageError`](floe_core::ErrorKind::StorageError), and a later repair
/// continues.
///
/// # Cancel safety
/// Dropping the future leaves the repair running on its thread.
pub async fn repair(directory: impl AsRef<Path>) -> Result<Repaired> {
    let config = StoreConfig::at(directory);
    on_a_thread(move || floe_log::repair(&config)).await
}

/// Takes the logs in `lost+found` back into the catalog: as the topic that they belonged to, or, if there is another topic of
/// this name, as `NAME-recovered`. Logs that do not tell their topic become `recovered-ID`.
///
/// # Errors
/// As [`repair`]. Logs that cannot be taken back are part of the result.
///
/// # Cancel safety
/// As [`repair`].
pub async fn adopt(directory: impl AsRef<Path>) -> Result<Vec<Adopted>> {
    let config = StoreConfig::at(directory);
    on_a_thread(move || {
        let store = Store::open(config)?;
        let adopted = adopt_all(&store);
        store.close()?;
        adopted
    })
    .await
}

fn adopt_all(store: &Arc<Store>) -> Result<Vec<Adopted>, LogError> {
    let mut topics: BTreeMap<(u64, String), Vec<SetAsideLog>> = BTreeMap::new();
    for log in store.set_aside_logs()? {
        let topic = match &log.topic {
            Some((id, name, _)) => (*id, name.clone()),
            None => (0, format!("recovered-{}", log.log_id)),
        };
        topics.entry(topic).or_default().push(log);
    }
    let adopted = topics.into_iter().map(|((_, name), logs)| {
        let topic = match store.adopt(&name, &logs) {
            Err(LogError::TopicExists { .. }) => {
                let other = format!("{name}-recovered");
                store.adopt(&other, &logs).map(|()| other)
            }
            outcome => outcome.map(|()| name),
        };
        Adopted { logs, topic: topic.map_err(super::log_error) }
    });
    Ok(adopted.collect())
}

#[cfg(test)]
mod tests {
    use floe_log::TopicConfig;
    use floe_wire::batch::{BatchBuilder, FinishOptions};

    use super::*;

    #[tokio::test]
    async fn logs_that_an_older_catalog_does_not_know_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let with = |topic: &str| {
            let store = Store::open(StoreConfig::at(path)).unwrap();
            store.create_topic(topic, TopicConfig::new().partitions(2)).unwrap();
            for partition in 0..2 {
                let mut builder = BatchBuilder::new(256);
                builder.append(0, None, b"value", &[]).unwrap();
                let batch = builder.finish(FinishOptions::default()).unwrap();
                store.partition(topic, partition).unwrap().submit(batch, |appended| {
                    appended.unwrap();
                });
            }
            store.close().unwrap();
        };
        with("old");
        std::fs::copy(path.join("meta.redb"), path.join("backup")).unwrap();
        with("new");
        std::fs::rename(path.join("backup"), path.join("meta.redb")).unwrap();
        assert!(!check(path).await.unwrap().is_whole());
        repair(path).await.unwrap();
        let adopted = adopt(path).await.unwrap();
        let [one] = adopted.as_slice() else { panic!("{adopted:?}") };
        assert_eq!((one.topic.as_deref().unwrap(), one.logs.len()), ("new", 2));
        let store = Store::open(StoreConfig::at(path)).unwrap();
        let topics: Vec<_> = store.topics().into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        assert_eq!(topics, [("new".to_owned(), 2), ("old".to_owned(), 2)]);
        store.close().unwrap();
        assert!(adopt(path).await.unwrap().is_empty());
    }
}
