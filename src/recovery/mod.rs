//! Rebuilding a lost service table from what is left: libvirt's definitions and pools, the zones, and the guests.
//!
//! ```text
//! gather (ports) -> Evidence -> rebuild (pure) -> Rebuilt { rows, what was found, what is uncertain, what is left out }
//!                                                    |
//!                                      adapters/sqlite/anew.rs: a new table, only where none is whole
//! ```
//!
//! Nothing is guessed that could be wrong in a way that does harm: a service of which two guests have a disk, whose zone
//! names another guest, or whose config and secrets cannot be read back is **left out** and said to be. What is taken
//! although it cannot be proved is said to be **uncertain**. Jobs, journals and duties are gone; the next audit finds what a
//! duty would have cleaned up.

pub mod describe;
pub mod evidence;
pub mod gather;
pub mod rebuild;
