//! End-to-end tests on the lab's real libvirt, QEMU guests, BIND, bus and table.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test is to say where"
)]

mod agreement;
mod auditing;
mod balancing;
mod batches;
mod booting;
mod bundles;
mod cancelling;
mod daemon;
mod environment;
mod evacuation;
mod faults;
mod grants;
mod jobs;
mod kills;
mod lab;
mod ledger;
mod load;
mod migrating;
mod moments;
mod moving;
mod names;
mod preflight;
mod refusals;
mod settings;
mod standbys;
mod states;
mod stuck;
mod systemds;
mod under_load;
mod undoing;
mod upgrading;
mod volumes;
mod ways;
mod whole_guests;
mod witness;
