//! Connections for streams, shared by the readers of one data server.
//!
//! The first few readers have a connection each, so that their slices come side by side; further ones share, so that a
//! consumer of thousands of partitions does not take thousands of connections. Sharing holds nobody up: a server sends
//! one slice of a stream and waits until it is told to go on, so the slices of a reader that nobody pulls stay few.
//!
//! A stream ends only with its connection. What a reader leaves behind when it ends is a stream that the server keeps and
//! that may push one more slice. A connection that carries many of those takes no new reader, and one that carries nothing
//! else is closed.

use std::sync::Arc;

use floe_core::Result;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

use super::server::Server;
use crate::mux::Mux;

/// Connections to one data server before readers share them.
const APART: usize = 4;

/// Streams left behind on a connection at which it takes no new ones.
const LEFT_BEHIND: usize = 16;

type Opening = Shared<BoxFuture<'static, Result<Arc<Mux>>>>;

/// All connections for streams to one data server.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    open: Vec<Connection>,
    next_number: u64,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    opening: Opening,
    /// Readers that use it.
    readers: usize,
    /// Streams of readers that have ended.
    left_behind: usize,
}

impl Connection {
    fn takes_more(&self) -> bool {
        // One that is still being opened may work.
        let sound = self.opening.peek().is_none_or(|opened| match opened {
            Ok(mux) => mux.cause().is_none(),
            Err(_) => false,
        });
        sound && self.left_behind < LEFT_BEHIND
    }
}

impl Streams {
    /// A connection for one stream.
    ///
    /// # Errors
    /// As [`Server::open_plain`]; those who wait for the same connection get the same error.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place back.
    pub(super) async fn join(self: &Arc<Self>, server: &Arc<Server>, frame_limit: usize) -> Result<Seat> {
        let chosen = self.choose(server, frame_limit);
        self.sit(chosen).await
    }

    /// As [`Streams::join`], on a connection that carries nothing else: the stream is the first one on it.
    pub(super) async fn alone(self: &Arc<Self>, server: &Arc<Server>, frame_limit: usize) -> Result<Seat> {
        let chosen = self.0.lock().connect(server, frame_limit, LEFT_BEHIND);
        self.sit(chosen).await
    }

    async fn sit(self: &Arc<Self>, (number, opening): (u64, Opening)) -> Result<Seat> {
        let place = Place { streams: Arc::clone(self), number };
        let mux = opening.await?;
        Ok(Seat { mux, _place: place })
    }

    fn choose(&self, server: &Arc<Server>, frame_limit: usize) -> (u64, Opening) {
        let mut connections = self.0.lock();
        let open = &mut connections.open;
        let apart = open.iter().filter(|connection| connection.takes_more()).count() < APART;
        let emptiest = open
            .iter_mut()
            .filter(|connection| connection.takes_more())
            .min_by_key(|connection| connection.readers);
        if let Some(connection) = emptiest.filter(|_| !apart) {
            connection.readers += 1;
            return (connection.number, connection.opening.clone());
        }
        connections.connect(server, frame_limit, 0)
    }
}

impl Connections {
    /// A new connection, with one reader.
    fn connect(&mut self, server: &Arc<Server>, frame_limit: usize, left_behind: usize) -> (u64, Opening) {
        let server = Arc::clone(server);
        let opening: Opening =
            async move { server.open_plain(frame_limit).await.map(Arc::new) }.boxed().shared();
        let number = self.next_number;
        self.next_number += 1;
        self.open.push(Connection { number, opening: opening.clone(), readers: 1, left_behind });
        (number, opening)
    }
}

/// A place on a connection, for one stream.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) mux: Arc<Mux>,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    streams: Arc<Streams>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.streams.0.lock();
        let open = &mut connections.open;
        let Some(at) = open.iter().position(|connection| connection.number == self.number) else { return };
        let Some(connection) = open.get_mut(at) else { return };
        connection.readers -= 1;
        connection.left_behind += 1;
        if connection.readers == 0 {
            open.swap_remove(at);
        }
    }
}
