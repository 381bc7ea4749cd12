//! End-to-end tests on the lab's real libvirt, QEMU guests, BIND, bus and table.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test is to say where"
)]

mod lab;
mod moving;
mod preflight;
mod refusals;
mod undoing;
mod witness;
