//! The server by raw frames: no client is involved.

mod access;
mod audit;
mod conditional;
mod controller;
mod data;
mod hostile;
mod hosts;
mod http;
mod modules;
mod offsets;
mod peer;
mod reloads;
mod streams;
mod tls;
mod walrus;
