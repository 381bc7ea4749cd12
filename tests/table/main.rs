//! The service table on SQLite: its contract (`handoverd::ports::Table`), and what its file survives.

// Every function here is part of a test; clippy knows only those marked #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batches;
mod contract;
mod duties;
mod file;
mod handovers;
mod maintenance;
mod older;
mod records;
mod secrets;
mod standbys;
