//! The server by raw frames: nothing here goes through a client.

mod controller;
mod data;
mod hostile;
mod http;
mod modules;
mod offsets;
mod peer;
mod streams;
mod tls;
mod walrus;
