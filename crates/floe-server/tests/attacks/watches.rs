//! Watches over many partitions that are not read.

use floe_wire::fluvio::{PartitionSpec, TopicSpec, WatchReply, WatchRequest, frame::decode_reply};

use crate::{
    peer::{Peer, topic},
    server::Attacked,
};

/// Returns the names of the objects that a watch reports until `done`.
async fn partitions(peer: &mut Peer, mut done: impl FnMut(&WatchReply<PartitionSpec>) -> bool) {
    loop {
        let (_, body) = peer.frame().await.expect("the watch goes on");
        let reply = decode_reply::<WatchRequest<PartitionSpec>>(body, 19).unwrap();
        if done(&reply) {
            return;
        }
    }
}

#[tokio::test]
async fn unread_watches_share_their_objects() {
    let attacked = Attacked::start(|_| {}).await;
    topic(&attacked.server, "wide", 2000).await;
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut peer = Peer::controller(&attacked.server).await;
        for _ in 0..60 {
            peer.send(&WatchRequest::<PartitionSpec>::default()).await;
        }
        deaf.push(peer);
    }
    attacked.is_well().await;
    // A change reaches a client that reads, while others do not.
    let mut reading = Peer::controller(&attacked.server).await;
    reading.send(&WatchRequest::<PartitionSpec>::default()).await;
    partitions(&mut reading, |reply| reply.all.len() > 2000).await;
    topic(&attacked.server, "later", 3).await;
    let mut names = Vec::new();
    partitions(&mut reading, |reply| {
        names.extend(reply.changes.iter().map(|change| change.object.name.clone()));
        names.len() >= 3
    })
    .await;
    assert_eq!(names, ["later-0", "later-1", "later-2"], "only what has changed");
    attacked.is_well().await;
    // A client that begins to read late gets all objects, then all changes.
    let mut late = deaf.pop().unwrap();
    let mut found = 0;
    partitions(&mut late, |reply| {
        found += reply.all.len() + reply.changes.len();
        found >= 2005
    })
    .await;
    drop((deaf, late, reading));
    attacked.is_empty().await;
}

#[tokio::test]
async fn added_partitions_are_the_only_change() {
    let attacked = Attacked::start(|_| {}).await;
    topic(&attacked.server, "grows", 5).await;
    let mut peer = Peer::controller(&attacked.server).await;
    peer.send(&WatchRequest::<PartitionSpec>::default()).await;
    partitions(&mut peer, |reply| reply.all.len() >= 7).await;
    attacked.server.client().admin().add_partitions("grows", 7).await.unwrap();
    let mut names = Vec::new();
    partitions(&mut peer, |reply| {
        names.extend(reply.changes.iter().map(|change| change.object.name.clone()));
        names.len() >= 2
    })
    .await;
    assert_eq!(names, ["grows-5", "grows-6"]);
    peer.send(&WatchRequest::<TopicSpec>::default()).await;
}
