//! Pure decisions: which guest, in what order, where a disk goes, whether a guest will do.

pub mod batch;
pub mod choice;
pub mod classify;
pub mod cluster;
pub mod damper;
pub mod decided;
pub mod disk_slot;
pub mod errand;
pub mod fit;
pub mod gauge;
mod group;
pub mod load;
pub mod placement;
pub mod preflight;
pub mod rebalance;
#[cfg(test)]
mod samples;
pub mod standby;
pub mod strategy;
pub mod what_if;
