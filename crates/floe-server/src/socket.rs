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

/// Room for a read. Small requests share a buffer.
const READ_ROOM: usize = 32 * 1024;

/// Room for the first read of an encrypted connection, whose buffer must exist before readiness is known.
const IDLE_READ_ROOM: usize = 512;

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
    /// Waits until there are bytes to read, where the transport tells.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.readable().await,
            Self::Encrypted(_) | Self::Custom(_) => Ok(()),
        }
    }

    /// Returns the free space that a buffer of `received` bytes should have before a read: in proportion to what was
    /// received, so that a length that a client merely claims allocates nothing.
    pub(crate) fn room(&self, received: usize) -> usize {
        match self {
            Self::Encrypted(_) | Self::Custom(_) if received == 0 => IDLE_READ_ROOM,
            _ => received.saturating_mul(3).max(READ_ROOM),
        }
    }

    /// Appends bytes to the free space of `received` and returns their number; 0 is the end. `None` if there are none after
    /// all: a plain socket may have no bytes although it was readable. Other transports wait for bytes.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn read(&mut self, received: &mut BytesMut) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(socket) => match socket.try_read_buf(received) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                outcome => outcome.map(Some),
            },
            Self::Encrypted(socket) => socket.read_buf(received).await.map(Some),
            Self::Custom(socket) => socket.read_buf(received).await.map(Some),
        }
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
