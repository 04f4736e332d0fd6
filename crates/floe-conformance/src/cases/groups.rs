//! Shared groups: members divide the partitions, take over from each other, and keep the positions.

use std::{collections::BTreeMap, time::Duration};

use floe::{
    Topic,
    consumer::{AckMode, Consumer, Membership, Message},
};
use tokio::time::timeout;

use crate::{
    Context, Outcome,
    context::{eventually, numbered},
    failure::{check, check_eq, check_refused},
};

/// Time in which a member that has records hands one out.
const TURN: Duration = Duration::from_millis(50);

/// How often each record was handed out, by partition and offset.
type Handled = BTreeMap<(u32, i64), u32>;

async fn join(c: &Context, topic: &Topic, group: &str) -> floe::Result<Consumer> {
    let consumer = c.client().consumer(topic).group(group).ack_mode(AckMode::Explicit);
    consumer.shared_as(Membership::new().session(Duration::from_secs(6))).start().await
}

/// Handles one record if the member has one.
async fn step(member: &mut Consumer, handled: &mut Handled) -> floe::Result<bool> {
    let Ok(next) = timeout(TURN, member.try_next()).await else { return Ok(false) };
    let Some(message) = next? else { return Ok(false) };
    *handled.entry((message.partition, message.offset)).or_default() += 1;
    Message::ack(&message);
    Ok(true)
}

/// Lets the members handle records until each of them has as many partitions as `shares` says.
async fn until_shared(
    c: &Context,
    group: &str,
    members: &mut [&mut Consumer],
    (shares, handled): (&[usize], &mut Handled),
) -> Outcome {
    for _ in 0..2000 {
        for member in members.iter_mut() {
            step(member, handled).await?;
        }
        let described = c.client().groups().describe(group).await?;
        let of =
            |id: &str| described.partitions.iter().filter(|one| one.member.as_deref() == Some(id)).count();
        let mut found: Vec<_> = described.members.iter().map(|member| of(&member.id)).collect();
        found.sort_unstable();
        if found == shares {
            return Ok(());
        }
    }
    check!(false, "the group never had the shares {shares:?}");
    Ok(())
}

/// Sends ten records to each of the partitions.
async fn ten_each(c: &Context, topic: &Topic, partitions: u32) -> floe::Result<()> {
    let records = (0..partitions).flat_map(|partition| {
        numbered("record", 0..10).into_iter().map(move |value| floe::Record::new(value).partition(partition))
    });
    let producer = c.client().producer(topic).start().await?;
    producer.send_all(records).await?;
    producer.close().await.map(drop)
}

pub(crate) async fn shared_members_divide_the_partitions(c: &Context) -> Outcome {
    let (topic, group) = (c.topic_with(4).await?, c.group());
    let (mut first, mut second) = (join(c, &topic, &group).await?, join(c, &topic, &group).await?);
    let mut none = Handled::new();
    until_shared(c, &group, &mut [&mut first, &mut second], (&[2, 2], &mut none)).await?;
    ten_each(c, &topic, 4).await?;
    let (mut by_first, mut by_second) = (Handled::new(), Handled::new());
    for _ in 0..2000 {
        step(&mut first, &mut by_first).await?;
        step(&mut second, &mut by_second).await?;
        if by_first.len() + by_second.len() == 40 {
            break;
        }
    }
    check_eq!((by_first.len(), by_second.len()), (20, 20), "records of each member");
    check!(by_first.values().chain(by_second.values()).all(|times| *times == 1), "a record came twice");
    check!(by_first.keys().all(|at| !by_second.contains_key(at)), "both members had a record");
    first.close().await?;
    second.close().await?;
    Ok(())
}

pub(crate) async fn shared_members_take_over_when_one_leaves(c: &Context) -> Outcome {
    let (topic, group) = (c.topic_with(2).await?, c.group());
    ten_each(c, &topic, 2).await?;
    let (mut first, mut second) = (join(c, &topic, &group).await?, join(c, &topic, &group).await?);
    let mut handled = Handled::new();
    until_shared(c, &group, &mut [&mut first, &mut second], (&[1, 1], &mut handled)).await?;
    first.close().await?;
    ten_each(c, &topic, 2).await?;
    for _ in 0..2000 {
        step(&mut second, &mut handled).await?;
        if handled.len() == 40 {
            break;
        }
    }
    check_eq!(handled.len(), 40, "records that were handled");
    check!(handled.values().all(|times| *times == 1), "a record came twice, and no member was killed");
    second.close().await?;
    Ok(())
}

/// The owners of the partitions of a topic.
async fn owners(c: &Context, group: &str, topic: &Topic) -> floe::Result<Vec<Option<String>>> {
    let described = c.client().groups().describe(group).await?;
    Ok(described.partitions.into_iter().filter(|at| at.at.topic == *topic).map(|at| at.member).collect())
}

pub(crate) async fn shared_members_of_two_topics_keep_the_numbers_together(c: &Context) -> Outcome {
    let (one, other, group) = (c.topic_with(2).await?, c.topic_with(2).await?, c.group());
    ten_each(c, &one, 2).await?;
    ten_each(c, &other, 2).await?;
    let mut members = Vec::new();
    for _ in 0..2 {
        let first = join(c, &one, &group).await?;
        let second = c.client().consumer(&other).ack_mode(AckMode::Explicit).shared_with(&first);
        let second = second.start().await?;
        members.extend([first, second]);
    }
    let mut handled = [Handled::new(), Handled::new()];
    for turn in 0..2000 {
        for (at, member) in members.iter_mut().enumerate() {
            step(member, &mut handled[at % 2]).await?;
        }
        let found = (owners(c, &group, &one).await?, owners(c, &group, &other).await?);
        let is_shared = found.0.first() != found.0.last() && found.0 == found.1;
        if is_shared && handled.iter().all(|handled| handled.len() == 20) {
            break;
        }
        check!(turn < 1999, "the partitions of one number never came together: {found:?}");
    }
    // A close gives up one topic, whose records go on elsewhere, and the other goes on.
    members.remove(1).close().await?;
    ten_each(c, &one, 2).await?;
    ten_each(c, &other, 2).await?;
    for _ in 0..2000 {
        for (at, member) in members.iter_mut().enumerate() {
            step(member, &mut handled[at / 2]).await?;
        }
        if handled.iter().all(|handled| handled.len() == 40) {
            break;
        }
    }
    check_eq!((handled[0].len(), handled[1].len()), (40, 40), "records of both topics");
    let times = handled.iter().flat_map(Handled::values);
    check!(times.clone().all(|times| *times == 1), "a record came twice, and no member was killed");
    for member in members {
        member.close().await?;
    }
    Ok(())
}

pub(crate) async fn shared_positions_outlast_the_members(c: &Context) -> Outcome {
    let (topic, group) = (c.topic().await?, c.group());
    c.send(&topic, numbered("record", 0..10)).await?;
    let mut handled = Handled::new();
    let mut member = join(c, &topic, &group).await?;
    while handled.len() < 6 {
        step(&mut member, &mut handled).await?;
    }
    member.close().await?;
    let at = topic.partition(0);
    eventually(
        "the engine has the offset of the group",
        async || Ok(c.stored(&group, &at).await? == Some(6)),
    )
    .await?;
    let mut member = join(c, &topic, &group).await?;
    while handled.len() < 10 {
        step(&mut member, &mut handled).await?;
    }
    check!(handled.values().all(|times| *times == 1), "a record came twice");
    member.close().await?;
    Ok(())
}

pub(crate) async fn shared_groups_are_administered(c: &Context) -> Outcome {
    let (topic, group) = (c.topic().await?, c.group());
    c.send(&topic, numbered("record", 0..10)).await?;
    let groups = c.client().groups();
    check_refused!(groups.describe(group.as_str()).await, NotAMember, "describing no group");
    let mut member = join(c, &topic, &group).await?;
    let mut handled = Handled::new();
    while handled.len() < 10 {
        step(&mut member, &mut handled).await?;
    }
    member.commit().await?;
    let described = groups.describe(group.as_str()).await?;
    check_eq!(described.partitions.iter().map(|one| one.next).collect::<Vec<_>>(), [Some(10)], "positions");
    check_eq!(described.members.len(), 1, "members");
    let at = topic.partition(0);
    check_refused!(
        groups.reset(group.as_str(), at.clone(), 3, false).await,
        Fenced,
        "a reset under a member"
    );
    check_refused!(groups.delete(group.as_str()).await, Fenced, "deleting a group with a member");
    groups.reset(group.as_str(), at, 7, true).await?;
    while handled.values().sum::<u32>() < 13 {
        step(&mut member, &mut handled).await?;
    }
    check!(
        handled.iter().all(|((_, offset), times)| *times == if *offset >= 7 { 2 } else { 1 }),
        "{handled:?}"
    );
    member.close().await?;
    groups.delete(group.as_str()).await?;
    check_refused!(groups.describe(group.as_str()).await, NotAMember, "describing a deleted group");
    Ok(())
}
