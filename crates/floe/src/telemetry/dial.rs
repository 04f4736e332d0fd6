//! Metrics of connections: open connections, attempts, and time to connect.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use opentelemetry::KeyValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{Telemetry, names::attribute};
use crate::{
    Result,
    net::{Dial, Endpoint, Stream},
};

impl Telemetry {
    /// Wraps a dialler so that its connections are measured.
    pub(crate) fn dial(&self, inner: impl Dial) -> Arc<dyn Dial> {
        if self.inner.instruments.is_none() {
            return Arc::new(inner);
        }
        Arc::new(MeasuredDial { telemetry: self.clone(), inner })
    }
}

#[derive(Debug)]
struct MeasuredDial<D> {
    telemetry: Telemetry,
    inner: D,
}

impl<D: Dial> Dial for MeasuredDial<D> {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let mut attempt =
                ConnectAttempt { telemetry: &self.telemetry, to, began: Instant::now(), ended: false };
            let dialled = self.inner.dial(to).await;
            attempt.ended = true;
            match dialled {
                Ok(stream) => {
                    attempt.record(None);
                    let open = OpenConnection {
                        telemetry: self.telemetry.clone(),
                        attributes: attempt.attributes(),
                    };
                    open.count(1);
                    let measured: Box<dyn Stream> = Box::new(MeasuredStream { stream, _open: open });
                    Ok(measured)
                }
                Err(error) => {
                    attempt.record(Some(error.kind().as_str()));
                    Err(error)
                }
            }
        })
    }
}

/// An attempt to connect. Dropped before its end, it counts as a timeout, because callers drop it at their deadline.
struct ConnectAttempt<'a> {
    telemetry: &'a Telemetry,
    to: &'a Endpoint,
    began: Instant,
    ended: bool,
}

impl ConnectAttempt<'_> {
    fn attributes(&self) -> Vec<KeyValue> {
        vec![
            KeyValue::new(attribute::SYSTEM, self.telemetry.inner.system),
            KeyValue::new(attribute::SERVER_ADDRESS, Arc::clone(&self.to.host)),
            KeyValue::new(attribute::SERVER_PORT, i64::from(self.to.port)),
        ]
    }

    fn record(&self, error: Option<&'static str>) {
        let Some(instruments) = &self.telemetry.inner.instruments else { return };
        let mut attributes = self.attributes();
        attributes.extend(error.map(|error| KeyValue::new(attribute::ERROR_TYPE, error)));
        instruments.connection_attempts.add(1, &attributes);
        instruments.connection_time.record(self.began.elapsed().as_secs_f64(), &attributes);
    }
}

impl Drop for ConnectAttempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.record(Some(crate::ErrorKind::ConnectionTimeout.as_str()));
        }
    }
}

/// Counts a connection while it is open.
struct OpenConnection {
    telemetry: Telemetry,
    attributes: Vec<KeyValue>,
}

impl OpenConnection {
    fn count(&self, change: i64) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            instruments.connections.add(change, &self.attributes);
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.count(-1);
    }
}

struct MeasuredStream {
    stream: Box<dyn Stream>,
    _open: OpenConnection,
}

impl AsyncRead for MeasuredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for MeasuredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
