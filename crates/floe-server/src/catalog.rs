//! Topic catalog: caches the engine's topics and follows its watch, so that requests resolve topics without an engine
//! call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use floe::{
    ErrorKind, Result, Topic,
    engine::SharedEngine,
    topic::{TopicEvent, TopicInfo},
};
use futures_util::StreamExt as _;
use parking_lot::RwLock;
use tokio::sync::watch;

/// Delay before a broken watch is opened again.
const WATCH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// One topic. A topic that is deleted and created again gets a new entry.
#[derive(Debug)]
pub(crate) struct TopicEntry {
    pub(crate) info: TopicInfo,
    deletion: watch::Sender<bool>,
}

impl TopicEntry {
    /// Subscribes to the deletion of the topic: the flag turns true.
    pub(crate) fn deletion(&self) -> watch::Receiver<bool> {
        self.deletion.subscribe()
    }
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Catalog {
    engine: SharedEngine,
    topics: RwLock<BTreeMap<String, Arc<TopicEntry>>>,
    epoch: watch::Sender<i64>,
}

impl Catalog {
    /// Loads the topics that the engine lists. With engines that cannot list, entries are added on first use.
    pub(crate) async fn load(engine: SharedEngine) -> Result<Self> {
        let catalog = Self { engine, topics: RwLock::default(), epoch: watch::Sender::new(1) };
        match catalog.engine.topics().await {
            Ok(topics) => topics.into_iter().for_each(|info| drop(catalog.insert(info))),
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        Ok(catalog)
    }

    /// Follows the engine's watch until the future is dropped.
    pub(crate) async fn follow(&self) {
        loop {
            match self.engine.watch().await {
                Ok(mut events) => {
                    self.remove_gone().await;
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(TopicEvent::Updated(info)) => drop(self.insert(info)),
                            Ok(TopicEvent::Deleted(name)) => self.refresh(&name).await,
                            Ok(_) => {}
                            Err(error) => {
                                tracing::warn!(%error, "topic watch failed, retrying");
                                break;
                            }
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => return,
                Err(error) => tracing::warn!(%error, "cannot watch the engine's topics, retrying"),
            }
            tokio::time::sleep(WATCH_RETRY_DELAY).await;
        }
    }

    /// Removes the topics that were deleted before the watch began, of which it does not tell.
    async fn remove_gone(&self) {
        let listed = match self.engine.topics().await {
            Ok(topics) => topics.into_iter().map(|info| info.name.to_string()).collect::<BTreeSet<_>>(),
            Err(error) => {
                tracing::warn!(%error, "the engine's topics cannot be listed");
                return;
            }
        };
        let known: Vec<_> = self.topics.read().keys().cloned().collect();
        for name in known.into_iter().filter(|name| !listed.contains(name)) {
            // It may have come since the list was made.
            self.refresh(&Topic::from(name)).await;
        }
    }

    /// Returns a topic by name. A miss asks the engine.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Arc<TopicEntry>>> {
        if let Some(known) = self.topics.read().get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        match self.engine.topic(Topic::from(name)).await {
            Ok(info) => Ok(Some(self.insert(info))),
            Err(error) if error.kind() == ErrorKind::TopicNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the topics, ordered by name.
    pub(crate) fn all(&self) -> Vec<Arc<TopicEntry>> {
        self.topics.read().values().cloned().collect()
    }

    /// Refreshes one topic after a change, so that the client that made it sees it at once.
    pub(crate) async fn refresh(&self, name: &Topic) {
        match self.engine.topic(name.clone()).await {
            Ok(info) => drop(self.insert(info)),
            Err(error) if error.kind() == ErrorKind::TopicNotFound => self.remove(name.as_str()),
            Err(error) => tracing::warn!(%error, topic = %name, "topic lookup failed"),
        }
    }

    /// Raises the epoch after a change to objects that are watched together with topics.
    pub(crate) fn notify_changed(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Subscribes to the epoch, which rises with every change.
    pub(crate) fn epoch(&self) -> watch::Receiver<i64> {
        self.epoch.subscribe()
    }

    fn insert(&self, info: TopicInfo) -> Arc<TopicEntry> {
        let mut topics = self.topics.write();
        let known = topics.get(info.name.as_str());
        let deletion = match known {
            Some(known) if known.info == info => return Arc::clone(known),
            // The topic was changed, not replaced: its streams go on.
            Some(known) if known.info.created_at == info.created_at => known.deletion.clone(),
            Some(other) => {
                other.deletion.send_replace(true);
                watch::Sender::new(false)
            }
            None => watch::Sender::new(false),
        };
        let entry = Arc::new(TopicEntry { deletion, info });
        topics.insert(entry.info.name.to_string(), Arc::clone(&entry));
        drop(topics);
        self.notify_changed();
        entry
    }

    fn remove(&self, name: &str) {
        let removed = self.topics.write().remove(name);
        if let Some(entry) = removed {
            entry.deletion.send_replace(true);
            self.notify_changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use floe::{Client, TopicSpec};

    use super::*;

    async fn catalog(topics: &[&str]) -> (Client, Arc<Catalog>) {
        let client = Client::connect("memory:").await.unwrap();
        for topic in topics {
            client.admin().create_topic(TopicSpec::new(*topic)).await.unwrap();
        }
        let catalog = Catalog::load(client.engine().clone()).await.unwrap();
        (client, Arc::new(catalog))
    }

    fn names(catalog: &Catalog) -> Vec<String> {
        catalog.all().iter().map(|entry| entry.info.name.to_string()).collect()
    }

    #[tokio::test]
    async fn external_changes_are_seen() {
        let (client, catalog) = catalog(&["a", "b"]).await;
        let following = tokio::spawn({
            let catalog = Arc::clone(&catalog);
            async move { catalog.follow().await }
        });
        assert_eq!(names(&catalog), ["a", "b"]);
        let mut deletion = catalog.find("a").await.unwrap().unwrap().deletion();
        let mut epoch = catalog.epoch();
        client.admin().delete_topic("a").await.unwrap();
        deletion.wait_for(|deleted| *deleted).await.unwrap();
        epoch.wait_for(|_| names(&catalog) == ["b"]).await.unwrap();
        client.admin().create_topic(TopicSpec::new("c")).await.unwrap();
        epoch.wait_for(|_| names(&catalog) == ["b", "c"]).await.unwrap();
        following.abort();
    }

    #[tokio::test]
    async fn a_deletion_before_the_watch_is_seen() {
        let (client, catalog) = catalog(&["a", "b"]).await;
        let mut deletion = catalog.find("a").await.unwrap().unwrap().deletion();
        client.admin().delete_topic("a").await.unwrap();
        let following = tokio::spawn({
            let catalog = Arc::clone(&catalog);
            async move { catalog.follow().await }
        });
        deletion.wait_for(|deleted| *deleted).await.unwrap();
        assert_eq!(names(&catalog), ["b"]);
        following.abort();
    }

    #[tokio::test]
    async fn unknown_topic_is_looked_up() {
        let (client, catalog) = catalog(&[]).await;
        assert!(catalog.find("late").await.unwrap().is_none());
        client.admin().create_topic(TopicSpec::new("late").partitions(3)).await.unwrap();
        assert_eq!(catalog.find("late").await.unwrap().unwrap().info.partitions, 3);
    }

    #[tokio::test]
    async fn recreated_topic_ends_old_subscriptions() {
        let (client, catalog) = catalog(&["a"]).await;
        let old = catalog.find("a").await.unwrap().unwrap();
        client.admin().delete_topic("a").await.unwrap();
        catalog.refresh(&"a".into()).await;
        assert!(*old.deletion().borrow());
        assert!(names(&catalog).is_empty());
        client.admin().create_topic(TopicSpec::new("a")).await.unwrap();
        catalog.refresh(&"a".into()).await;
        let new = catalog.find("a").await.unwrap().unwrap();
        assert!(!*new.deletion().borrow());
    }
}
