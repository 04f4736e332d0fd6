//! The server by raw frames: no client is involved.

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
