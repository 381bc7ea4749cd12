//! Pure decisions: where a disk goes, whether a guest will do.

pub mod classify;
pub mod disk_slot;
pub mod preflight;
