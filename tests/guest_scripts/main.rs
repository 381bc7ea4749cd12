//! The scripts themselves, run by real shells in a scratch root with a stand-in for systemctl.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod asking;
mod data;
mod fake;
mod history;
mod steps;
