//! A stalled consumer buffers no more than its prefetch limit, however long the topic is.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use floe::{
    Client, TopicSpec,
    consumer::StartAt,
    engine::FluvioEngine,
    net::{Dial, Endpoint, Stream, TcpDial},
};
use floe_server::testkit::TestServer;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFETCH: usize = 1024 * 1024;
const FETCH: usize = 64 * 1024;
const BACKLOG: usize = 16 * 1024 * 1024;
const VALUE: usize = 1000;

/// Counts the bytes that all its connections received.
#[derive(Debug, Default, Clone)]
struct Counting(Arc<AtomicUsize>);

impl Dial for Counting {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, floe::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpDial::default().dial(to).await?;
            Ok(Box::new(Counted { stream, received: Arc::clone(&self.0) }) as Box<dyn Stream>)
        })
    }
}

struct Counted {
    stream: Box<dyn Stream>,
    received: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.received.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        outcome
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn stalled_consumer_stops_at_its_prefetch_limit() {
    let server = TestServer::start().await.unwrap();
    server.client().admin().create_topic(TopicSpec::new("backlog")).await.unwrap();
    let producer = server.client().producer("backlog").batch_size(FETCH / 4).start().await.unwrap();
    let records = BACKLOG / VALUE;
    producer.enqueue_all(vec![[7; VALUE].as_slice(); records]).await.unwrap().await.unwrap();

    let url = format!("fluvio://{}", server.fluvio_address());
    let counting = Counting::default();
    let engine = FluvioEngine::connect_over(&url, Arc::new(counting.clone())).await.unwrap();
    let client = Client::from_engine(Arc::new(engine));
    let builder = client.consumer("backlog").from(StartAt::Beginning);
    let mut stalled = builder.prefetch_bytes(PREFETCH).fetch_bytes(FETCH).start().await.unwrap();
    stalled.try_next().await.unwrap().unwrap();

    // In the time in which another consumer reads the whole topic, an unbounded reader would do the same.
    let other = Client::connect(&url).await.unwrap();
    let builder = other.consumer("backlog").from(StartAt::Beginning).fetch_bytes(FETCH).stop_at_end();
    let mut whole = builder.start().await.unwrap();
    let mut read = 0;
    while let Some(batch) = whole.next_batch().await.unwrap() {
        read += batch.len();
    }
    assert_eq!(read, records);

    // The prefetched bytes, one slice received, one in flight, and metadata.
    let received = counting.0.load(Ordering::Relaxed);
    let bound = PREFETCH + 3 * FETCH;
    assert!(received <= bound, "{received} bytes were received, {bound} expected at most");

    // The stalled consumer resumes without a gap.
    let mut rest = 1;
    while rest < records {
        stalled.try_next().await.unwrap().unwrap();
        rest += 1;
    }
    assert!(counting.0.load(Ordering::Relaxed) > BACKLOG);
}
