//! Connections: how they are opened, used, shared and chosen.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `dial` | [`Dial`]: opens a connection to a host and port; [`TcpDial`] does it over TCP |
//! | `lockstep` | one connection whose answers come in the order of the requests, pipelined |
//! | `mux` | one connection to a Fluvio server, shared by requests told apart by number |
//! | `pool` | the connections to one node: least, most, idle time, health |
//! | `state` | whether a node is up, and when to try it again |
//! | `tls` | TLS: whom to trust, and who we are |
//! | `buffers` | memory to receive frames in, used again |
//! | `balance` | which node to ask |
//!
//! Only dialling is public: whoever needs a proxy, a tunnel or a scripted peer implements [`Dial`].

pub(crate) mod balance;
mod buffers;
mod dial;
pub(crate) mod lockstep;
pub(crate) mod mux;
pub(crate) mod pool;
pub(crate) mod state;
pub(crate) mod tls;

pub use dial::{Dial, Endpoint, Stream, TcpDial};
pub(crate) use dial::{broken, dial_within};
