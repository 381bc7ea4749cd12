//! End-to-end tests on the lab's real libvirt, QEMU guests, BIND, bus and table.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test is to say where"
)]

mod booting;
mod bundles;
mod cancelling;
mod daemon;
mod environment;
mod faults;
mod grants;
mod jobs;
mod lab;
mod moving;
mod names;
mod preflight;
mod refusals;
mod states;
mod systemds;
mod undoing;
mod upgrading;
mod volumes;

mod witness;
