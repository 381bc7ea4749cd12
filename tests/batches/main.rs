//! Whole guests, moved by the real daemon over the simulated world (`handoverd::adapters::sim`), whose invariants are
//! checked after every event.

// Every function here is part of a test; clippy knows only those marked #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_names;
mod balance;
mod faults;
mod labels;
mod loads;
mod maintenance;
mod moves;
mod names;
mod plans;
mod refusals;
mod stage;
