//! handoverd moves services between libvirt virtual machines without their users noticing.
//!
//! Functional core, imperative shell: [`model`], [`plan`], [`handover`] and [`watch`] decide over values; everything
//! that touches the world is behind [`ports`] and implemented in [`adapters`].

pub mod adapters;
pub mod assembly;
pub mod audit;
pub mod bundle;
pub mod bus;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod handover;
pub mod model;
pub mod plan;
pub mod ports;
pub mod recovery;
pub mod requests;
pub mod watch;
