//! Guests that die, in simulation: their services go elsewhere by themselves, and what is not dead is left alone.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test is to say where"
)]

mod causes;
mod daemons;
mod freezing;
mod homes;
mod hung;
#[allow(dead_code, reason = "shared with the tests of batches, which use all of it")]
#[path = "../batches/stage.rs"]
mod stage;
mod standbys;
mod targets;
mod ward;
