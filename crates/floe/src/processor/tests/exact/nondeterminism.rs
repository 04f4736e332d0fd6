//! Handlers that make other records than the process before made of the same input.

use super::*;

/// A world with one partition in and out, in which a process has written the records of all input, and has died before its
/// commit.
pub(super) async fn written(values: &[&str]) -> World {
    let engine = FakeEngine::with_topic("orders", 1);
    let observer = Client::from_engine(Arc::new(engine.clone()));
    observer.admin().create_topic(TopicSpec::new("invoices")).await.unwrap();
    let producer = observer.producer("orders").start().await.unwrap();
    producer.send_all(values.iter().map(|value| (*value).to_owned())).await.unwrap();
    let world = World { engine, observer };
    let (client, layer) = world.process(None);
    let running = start(uncommitted(&client).map(double));
    while world.engine.batches("invoices", 0).iter().map(|batch| batch.header().offset_span()).sum::<u32>()
        < 2 * values.len() as u32
    {
        sleep(Duration::from_millis(10)).await;
    }
    running.task.abort();
    layer.kill();
    world
}

/// A processor that commits seldom.
pub(super) fn uncommitted(client: &Client) -> ProcessorBuilder {
    let membership = Membership::new().session(Duration::from_secs(60));
    exact(client).shared_as(membership).commit_interval(Duration::from_secs(50))
}

/// Makes two records of each.
pub(super) async fn double(message: Message) -> Result<Vec<Record>, Failure> {
    Ok([1, 2].map(|index| Record::keyed("k", format!("{}/{index}", text(&message)).into())).into())
}

/// Goes on with another handler, and returns the error with which it stops.
async fn error_of<F, Fut>(world: &World, handler: F) -> Error
where
    F: Fn(Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<Record>, Failure>> + Send + 'static,
{
    let (client, _) = world.process(None);
    let before = world.engine.batches("invoices", 0).len();
    let task = uncommitted(&client).map(handler).run(std::future::pending());
    let error = tokio::time::timeout(PATIENCE, task).await.expect("the processor goes on").unwrap_err();
    assert_eq!(world.engine.batches("invoices", 0).len(), before, "nothing is written");
    error
}

#[tokio::test(start_paused = true)]
async fn a_difference_names_its_place() {
    let world = written(&["a", "b", "c"]).await;
    let changed = |message: Message| async move {
        let mut made = double(message.clone()).await?;
        if message.offset == 1 {
            made[1].value = "other".into();
        }
        Ok(made)
    };
    let error = error_of(&world, changed).await;
    assert_eq!((error.kind(), error.partition()), (ErrorKind::Nondeterministic, Some(0)));
    let says = error.to_string();
    for part in ["record at offset 1 ", "offset 3 of invoices/0", "the value differs", "orders"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    // The handler of before goes on where it stopped.
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(double));
    while !world
        .observer
        .groups()
        .describe(GROUP)
        .await
        .unwrap()
        .partitions
        .iter()
        .any(|one| one.next == Some(3))
    {
        sleep(Duration::from_millis(10)).await;
    }
    let report = running.stop().await.unwrap();
    assert_eq!(
        (report.handled, report.produced),
        (2, 0),
        "all records were there, and those of the first are committed"
    );
    assert_eq!(values(&world.observer, "invoices").await, ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2"]);
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_difference_is_found() {
    type Change = fn(&mut Vec<Record>);
    let cases: [(&str, Change); 4] = [
        ("the key differs", |made| made[0].key = Some("other".into())),
        ("the headers differ", |made| made[0].headers.push(("note".to_owned(), "x".into()))),
        ("no record any more", |made| drop(made.pop())),
        ("the value differs", |made| made.insert(0, Record::keyed("k", "more".into()))),
    ];
    for (says, change) in cases {
        let world = written(&["a"]).await;
        let handler = move |message: Message| async move {
            let mut made = double(message).await?;
            change(&mut made);
            Ok(made)
        };
        let error = error_of(&world, handler).await;
        assert_eq!(error.kind(), ErrorKind::Nondeterministic);
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_in_place_of_a_record_is_found() {
    let world = written(&["a"]).await;
    let error = error_of(&world, async |_: Message| Err(Failure::permanent("no"))).await;
    assert_eq!(error.kind(), ErrorKind::Nondeterministic);
    assert!(error.to_string().contains("no record any more"), "{error}");
    assert!(read(&world.observer, "orders-dead").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn traces_and_times_are_no_difference() {
    let world = written(&["a"]).await;
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(async |message: Message| {
        let made = double(message).await?;
        Ok::<_, Failure>(
            made.into_iter().map(|one| one.header("traceparent", "00-1").timestamp(5)).collect::<Vec<_>>(),
        )
    }));
    sleep(Duration::from_secs(90)).await;
    let report = running.stop().await.unwrap();
    assert_eq!((report.handled, report.produced), (1, 0));
}
