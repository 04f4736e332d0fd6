//! Watches: all objects first, then changes.

use std::collections::BTreeSet;

use fluvio::metadata::{
    customspu::{CustomSpuKey, CustomSpuSpec},
    partition::PartitionSpec,
    smartmodule::{SmartModuleSpec, SmartModuleWasm},
    spu::SpuSpec,
    topic::{AddPartition, TopicSpec, UpdateTopicAction},
};
use fluvio_controlplane_metadata::message::MsgType;
use futures_util::StreamExt as _;

use crate::support::{Cluster, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_come_and_go() {
    let cluster = Cluster::start().await;
    let mut watch = within(cluster.admin.watch::<TopicSpec>()).await.unwrap();
    let first = within(watch.next()).await.unwrap().unwrap().inner();
    let names: Vec<_> = first.all.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["consumer-offset"], "never empty: official clients would wait for a minute");
    cluster.topic("seen", 2).await;
    let came = within(watch.next()).await.unwrap().unwrap().inner();
    let names: Vec<_> = came.changes.iter().map(|change| change.content.name.as_str()).collect();
    assert_eq!(names, ["seen"]);
    within(cluster.admin.delete::<TopicSpec>("seen".to_owned())).await.unwrap();
    let went = within(watch.next()).await.unwrap().unwrap().inner();
    assert_eq!(went.changes.len(), 1);
    assert!(went.changes[0].header == MsgType::DELETE && went.changes[0].content.name == "seen");
    assert!(went.epoch > came.epoch && came.epoch > first.epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_come_and_go() {
    let cluster = Cluster::start().await;
    cluster.topic("seen", 1).await;
    let mut watch = within(cluster.admin.watch::<PartitionSpec>()).await.unwrap();
    let first = within(watch.next()).await.unwrap().unwrap().inner();
    let names: BTreeSet<_> = first.all.iter().map(|partition| partition.name.as_str()).collect();
    assert!(names.contains("seen-0"), "{names:?}");
    assert!(first.all.iter().all(|partition| partition.status.is_online()));
    let more = UpdateTopicAction::AddPartition(AddPartition { count: 2 });
    within(cluster.admin.update::<TopicSpec>("seen".to_owned(), more)).await.unwrap();
    // Changes may arrive one by one.
    let mut came = BTreeSet::new();
    while came.len() < 2 {
        let update = within(watch.next()).await.unwrap().unwrap().inner();
        for change in update.changes {
            assert!(change.header == MsgType::UPDATE);
            came.insert(change.content.name);
        }
    }
    assert_eq!(came, ["seen-1", "seen-2"].map(str::to_owned).into());
    within(cluster.admin.delete::<TopicSpec>("seen".to_owned())).await.unwrap();
    let mut went = BTreeSet::new();
    while went.len() < 3 {
        let update = within(watch.next()).await.unwrap().unwrap().inner();
        let deleted = update.changes.into_iter().filter(|change| change.header == MsgType::DELETE);
        went.extend(deleted.map(|change| change.content.name));
    }
    assert_eq!(went, ["seen-0", "seen-1", "seen-2"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_servers_that_come_and_go() {
    let cluster = Cluster::start().await;
    let mut watch = within(cluster.admin.watch::<SpuSpec>()).await.unwrap();
    let first = within(watch.next()).await.unwrap().unwrap().inner();
    assert_eq!((first.all.len(), first.all[0].spec.id), (1, 5001));
    assert!(first.all[0].status.is_online());
    let custom = CustomSpuSpec { id: 7001, ..CustomSpuSpec::default() };
    within(cluster.admin.create("mine".to_owned(), false, custom)).await.unwrap();
    let came = within(watch.next()).await.unwrap().unwrap().inner();
    assert_eq!((came.changes.len(), came.changes[0].content.spec.id), (1, 7001));
    assert!(came.changes[0].header == MsgType::UPDATE);
    within(cluster.admin.delete::<CustomSpuSpec>(CustomSpuKey::Id(7001))).await.unwrap();
    let went = within(watch.next()).await.unwrap().unwrap().inner();
    assert_eq!((went.changes.len(), went.changes[0].content.spec.id), (1, 7001));
    assert!(went.changes[0].header == MsgType::DELETE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smartmodules_that_come_and_go() {
    let cluster = Cluster::start().await;
    let mut watch = within(cluster.admin.watch::<SmartModuleSpec>()).await.unwrap();
    assert!(within(watch.next()).await.unwrap().unwrap().inner().all.is_empty());
    let wasm = SmartModuleWasm::from_compressed_gzip(vec![0x1f, 0x8b, 1, 2, 3]);
    let spec = SmartModuleSpec { wasm, ..SmartModuleSpec::default() };
    within(cluster.admin.create("upper".to_owned(), false, spec)).await.unwrap();
    let came = within(watch.next()).await.unwrap().unwrap().inner();
    assert_eq!((came.changes.len(), came.changes[0].content.name.as_str()), (1, "upper"));
    within(cluster.admin.delete::<SmartModuleSpec>("upper".to_owned())).await.unwrap();
    let went = within(watch.next()).await.unwrap().unwrap().inner();
    assert!(went.changes[0].header == MsgType::DELETE && went.changes[0].content.name == "upper");
}
