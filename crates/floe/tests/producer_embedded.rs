//! The producer on a log on disk: acknowledged records are there, in order, after a close.

use std::time::Duration;

use floe::{
    Client, Codec, ErrorKind, Record, TopicPartition, TopicSpec,
    consumer::FetchLimit,
    producer::{AppendCondition, CloseReport, DeliveryMode, FencingToken, FixedPartition, Producer},
};

async fn connect(path: &std::path::Path) -> Client {
    Client::connect(&format!("embedded:{}", path.display())).await.unwrap()
}

async fn values(client: &Client, partition: u32) -> Vec<String> {
    let at = TopicPartition { topic: "orders".into(), partition };
    let mut values = Vec::new();
    loop {
        let limit = FetchLimit::default();
        let more = client.fetch(at.clone(), values.len() as i64, limit).await.unwrap();
        if more.is_empty() {
            return values;
        }
        values.extend(more.iter().map(|message| String::from_utf8(message.value.to_vec()).unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_many_codecs_nothing_lost() {
    let folder = tempfile::tempdir().unwrap();
    let client = connect(folder.path()).await;
    client.admin().create_topic(TopicSpec::new("orders").partitions(5)).await.unwrap();
    let mut tasks = Vec::new();
    for (partition, codec) in (0..).zip(Codec::ALL) {
        let producer = client
            .producer("orders")
            .compression(codec)
            .compression_threshold(0)
            .batch_size(4096)
            .buffer_memory(100_000)
            .linger(Duration::from_millis(1))
            .start()
            .await
            .unwrap();
        tasks.push(tokio::spawn(async move { fill(&producer, partition).await }));
    }
    for task in tasks {
        let report = task.await.unwrap();
        assert_eq!((report.delivered, report.undelivered.len()), (1000, 0));
    }
    client.close().await.unwrap();

    let reopened = connect(folder.path()).await;
    let expected: Vec<_> = (0..1000).map(|n| format!("record {n}")).collect();
    for partition in 0..5 {
        assert_eq!(values(&reopened, partition).await, expected);
    }
    reopened.close().await.unwrap();
}

async fn fill(producer: &Producer, partition: u32) -> CloseReport {
    for n in 0..1000 {
        let record = Record::new(format!("record {n}")).partition(partition);
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close().await.unwrap()
}

#[tokio::test]
async fn closing_the_client_delivers_what_is_buffered_and_ends_its_producers() {
    let folder = tempfile::tempdir().unwrap();
    let client = connect(folder.path()).await;
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let orders = client.producer("orders").linger(Duration::from_secs(3600)).start().await.unwrap();
    let delivery = orders.enqueue("one").await.unwrap();
    client.close().await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(0));
    assert_eq!(orders.send("two").await.unwrap_err().kind(), ErrorKind::Closed);
    drop((orders, client));

    let reopened = connect(folder.path()).await;
    assert_eq!(values(&reopened, 0).await, ["one"]);
}

#[tokio::test]
async fn an_unknown_topic_is_refused_at_the_start() {
    let client = Client::connect("memory:").await.unwrap();
    let error = client.producer("orders").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
    assert!(error.to_string().contains("orders"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_in_flight_keep_their_order_while_the_partition_is_being_opened() {
    let folder = tempfile::tempdir().unwrap();
    let client = connect(folder.path()).await;
    client.admin().create_topic(TopicSpec::new("orders").partitions(40)).await.unwrap();
    client.close().await.unwrap();
    // After a clean close the first append opens the partition, which takes a while.
    let client = connect(folder.path()).await;
    let expected: Vec<_> = (0..8).map(|n| format!("record {n}")).collect();
    let mut tasks = Vec::new();
    for partition in 0..40 {
        let producer = client
            .producer("orders")
            .delivery(DeliveryMode::AtMostOnce)
            .max_in_flight(8)
            .batch_size(1)
            .partitioner(FixedPartition(partition))
            .start()
            .await
            .unwrap();
        let records = expected.clone();
        tasks.push(tokio::spawn(async move { producer.send_all(records).await.unwrap() }));
    }
    for (partition, task) in (0..).zip(tasks) {
        let placed = task.await.unwrap();
        let offsets: Vec<_> = placed.iter().filter_map(|placed| placed.offset).collect();
        assert_eq!(offsets, (0..8).collect::<Vec<_>>(), "partition {partition}");
        assert_eq!(values(&client, partition).await, expected, "partition {partition}");
    }
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn conditional_batch_is_refused_before_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let client = connect(folder.path()).await;
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").max_request_size(1_000).start().await.unwrap();
    let send = async |partition, records: Vec<Record<String>>| {
        let sent = producer.send_batch(partition, records, AppendCondition::EndsAt(0)).await;
        sent.map_err(|error| error.kind())
    };
    let large = || Record::new("x".repeat(600));
    assert_eq!(send(0, vec![]).await, Err(ErrorKind::InvalidCommand));
    assert_eq!(send(0, vec![Record::new("x".to_owned()).partition(1)]).await, Err(ErrorKind::InvalidCommand));
    assert_eq!(send(0, vec![large(), large()]).await, Err(ErrorKind::RecordTooLarge), "two batches");
    assert_eq!(send(1, vec![large()]).await, Err(ErrorKind::PartitionNotFound));
    client.admin().add_partitions("orders", 2).await.unwrap();
    // The number of partitions is refreshed once a second at most.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(send(1, vec![large()]).await, Ok(0), "a partition that is new");
    assert_eq!(send(0, vec![large()]).await, Ok(0));
    assert_eq!((producer.stats().records, producer.stats().failed), (2, 0));
    producer.close().await.unwrap().into_result(&"orders".into()).unwrap();
    assert_eq!(send(0, vec![large()]).await, Err(ErrorKind::Closed));
    client.close().await.unwrap();
}

#[tokio::test]
async fn token_holds_after_the_store_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let under = |epoch| AppendCondition::Token(FencingToken::new("writer of orders", epoch));
    let client = connect(folder.path()).await;
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").json::<u32>().start().await.unwrap();
    assert_eq!(producer.send_batch(0, [7, 8], under(4)).await.unwrap(), 0);
    client.close().await.unwrap();

    let client = connect(folder.path()).await;
    let producer = client.producer("orders").json::<u32>().start().await.unwrap();
    let old = producer.send_batch(0, [9], under(3)).await.unwrap_err();
    assert_eq!((old.kind(), old.is_retriable()), (ErrorKind::Fenced, false));
    assert_eq!(producer.send_batch(0, [9], under(4)).await.unwrap(), 2, "the same holder goes on");
    assert_eq!(values(&client, 0).await, ["7", "8", "9"]);
    client.close().await.unwrap();
}
