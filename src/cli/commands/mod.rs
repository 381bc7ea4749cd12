//! The commands, one file each.

pub mod audit;
pub mod bundle;
pub mod completions;
pub mod deploy;
pub mod freeze;
pub mod guests;
pub mod jobs;
pub mod maintenance;
pub mod man;
pub mod metrics;
pub mod moves;
pub mod plan;
pub mod rebalance;
pub mod recover_table;
pub mod remove;
pub mod services;
pub mod start;
pub mod stop;
pub mod upgrade;
pub mod watch;
pub mod what_if;
pub mod why;
