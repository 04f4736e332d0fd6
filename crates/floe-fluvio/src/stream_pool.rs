//! Stream pool: connections for streams, shared by the readers of one data server.
//!
//! The first few readers have a connection each, so that their slices arrive in parallel; further readers share, so that a
//! consumer of thousands of partitions does not open thousands of connections. An idle reader does not block the others: a
//! server sends one slice of a stream and waits for the acknowledgement, so at most one slice of it is buffered.
//!
//! A stream ends only with its connection. When a reader ends, the server keeps its stream, which may push one more slice.
//! The pool adds no reader to a connection with many such orphaned streams, and closes a connection with no other ones.

use std::sync::Arc;

use floe_core::Result;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

use super::server::Server;
use crate::mux::Mux;

/// Connections to one data server that are opened before readers share them.
const UNSHARED: usize = 4;

/// Orphaned streams on a connection from which on it takes no new reader.
const MAX_ORPHANED: usize = 16;

type Opening = Shared<BoxFuture<'static, Result<Arc<Mux>>>>;

/// All connections for streams to one data server.
#[derive(Debug, Default)]
pub(super) struct StreamPool(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    open: Vec<Connection>,
    next_number: u64,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    opening: Opening,
    /// Number of readers on the connection.
    readers: usize,
    /// Number of streams whose readers have ended.
    orphaned: usize,
}

impl Connection {
    fn takes_more(&self) -> bool {
        // A connection that is still being opened counts as sound.
        let sound = self.opening.peek().is_none_or(|opened| match opened {
            Ok(mux) => mux.cause().is_none(),
            Err(_) => false,
        });
        sound && self.orphaned < MAX_ORPHANED
    }
}

impl StreamPool {
    /// Returns a connection for one stream.
    ///
    /// # Errors
    /// As [`Server::open_without_handshake`]; all readers that wait for the same connection get the same error.
    ///
    /// # Cancel safety
    /// Dropping the future takes the reader off the connection.
    pub(super) async fn join(
        self: &Arc<Self>,
        server: &Arc<Server>,
        frame_limit: usize,
    ) -> Result<PooledStream> {
        let chosen = self.choose(server, frame_limit);
        self.open(chosen).await
    }

    /// Returns a new connection that no other stream uses: the stream is the first one on it. Otherwise as
    /// [`StreamPool::join`].
    pub(super) async fn alone(
        self: &Arc<Self>,
        server: &Arc<Server>,
        frame_limit: usize,
    ) -> Result<PooledStream> {
        let chosen = self.0.lock().connect(server, frame_limit, MAX_ORPHANED);
        self.open(chosen).await
    }

    async fn open(self: &Arc<Self>, (number, opening): (u64, Opening)) -> Result<PooledStream> {
        let connection_use = ConnectionUse { pool: Arc::clone(self), number };
        let mux = opening.await?;
        Ok(PooledStream { mux, _connection_use: connection_use })
    }

    fn choose(&self, server: &Arc<Server>, frame_limit: usize) -> (u64, Opening) {
        let mut connections = self.0.lock();
        let open = &mut connections.open;
        let unshared = open.iter().filter(|connection| connection.takes_more()).count() < UNSHARED;
        let emptiest = open
            .iter_mut()
            .filter(|connection| connection.takes_more())
            .min_by_key(|connection| connection.readers);
        if let Some(connection) = emptiest.filter(|_| !unshared) {
            connection.readers += 1;
            return (connection.number, connection.opening.clone());
        }
        connections.connect(server, frame_limit, 0)
    }
}

impl Connections {
    /// Opens a connection with one reader.
    fn connect(&mut self, server: &Arc<Server>, frame_limit: usize, orphaned: usize) -> (u64, Opening) {
        let server = Arc::clone(server);
        let opening: Opening =
            async move { server.open_without_handshake(frame_limit).await.map(Arc::new) }.boxed().shared();
        let number = self.next_number;
        self.next_number += 1;
        self.open.push(Connection { number, opening: opening.clone(), readers: 1, orphaned });
        (number, opening)
    }
}

/// A connection for one stream, until it is dropped.
#[derive(Debug)]
pub(super) struct PooledStream {
    pub(super) mux: Arc<Mux>,
    _connection_use: ConnectionUse,
}

#[derive(Debug)]
struct ConnectionUse {
    pool: Arc<StreamPool>,
    number: u64,
}

impl Drop for ConnectionUse {
    fn drop(&mut self) {
        let mut connections = self.pool.0.lock();
        let open = &mut connections.open;
        let at = open.iter().position(|connection| connection.number == self.number);
        floe_core::invariant!(at.is_some(), "a connection with readers left the pool");
        let Some(at) = at else { return };
        let Some(connection) = open.get_mut(at) else { return };
        connection.readers -= 1;
        connection.orphaned += 1;
        if connection.readers == 0 {
            open.swap_remove(at);
        }
    }
}
