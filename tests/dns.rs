//! The DNS adapter against a real BIND: every test starts its own `named` on loopback and ends it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "dns/named.rs"]
mod named;
#[path = "dns/refusals.rs"]
mod refusals;
#[path = "dns/swaps.rs"]
mod swaps;
