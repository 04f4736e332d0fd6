//! A client connection, plain or encrypted, split in two halves.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use floe::net::Stream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::server::TlsStream;

/// Bytes reserved before a read. Small requests share a buffer, large ones grow by doubling.
const READ_RESERVE: usize = 32 * 1024;

/// Bytes reserved for an idle encrypted connection, whose buffer must exist before readiness is known.
const IDLE_READ_RESERVE: usize = 512;

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
    /// A transport other than TCP.
    Custom(Box<dyn Stream>),
}

impl Socket {
    pub(crate) fn into_split(self) -> (SocketReader, SocketWriter) {
        match self {
            Self::Plain(socket) => {
                let (reading, writing) = socket.into_split();
                (SocketReader::Plain(reading), SocketWriter::Plain(writing))
            }
            Self::Encrypted(socket) => {
                let (reading, writing) = tokio::io::split(socket);
                (SocketReader::Encrypted(reading), SocketWriter::Encrypted(writing))
            }
            Self::Custom(socket) => {
                let (reading, writing) = tokio::io::split(socket);
                (SocketReader::Custom(reading), SocketWriter::Custom(writing))
            }
        }
    }
}

/// Reading half.
#[derive(Debug)]
pub(crate) enum SocketReader {
    Plain(OwnedReadHalf),
    Encrypted(ReadHalf<Box<TlsStream<TcpStream>>>),
    Custom(ReadHalf<Box<dyn Stream>>),
}

impl SocketReader {
    /// Waits for bytes and appends them to `received`; 0 is the end. An idle plain connection holds no memory.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn read(&mut self, received: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => loop {
                socket.readable().await?;
                reserve_for_read(received, READ_RESERVE);
                match socket.try_read_buf(received) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    outcome => return outcome,
                }
            },
            Self::Encrypted(socket) => {
                reserve_for_read(
                    received,
                    if received.is_empty() { IDLE_READ_RESERVE } else { READ_RESERVE },
                );
                socket.read_buf(received).await
            }
            Self::Custom(socket) => {
                reserve_for_read(
                    received,
                    if received.is_empty() { IDLE_READ_RESERVE } else { READ_RESERVE },
                );
                socket.read_buf(received).await
            }
        }
    }
}

/// Grows the buffer in proportion to the received bytes: a length that a client merely claims allocates nothing.
fn reserve_for_read(received: &mut BytesMut, least: usize) {
    let room = received.len().max(least);
    if received.capacity() - received.len() < least / 8 {
        received.reserve(room);
    }
}

/// Writing half.
#[derive(Debug)]
pub(crate) enum SocketWriter {
    Plain(OwnedWriteHalf),
    Encrypted(WriteHalf<Box<TlsStream<TcpStream>>>),
    Custom(WriteHalf<Box<dyn Stream>>),
}

impl AsyncWrite for SocketWriter {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Encrypted(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Custom(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Encrypted(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Custom(socket) => Pin::new(socket).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Encrypted(socket) => socket.is_write_vectored(),
            Self::Custom(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Encrypted(socket) => Pin::new(socket).poll_flush(context),
            Self::Custom(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Encrypted(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Custom(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
