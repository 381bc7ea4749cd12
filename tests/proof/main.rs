//! The proof that a handover survives anything: the real daemon over the simulated world (`handoverd::adapters::sim`),
//! with every invariant of design section 5 checked after every event.

// Every function here is part of a test; clippy knows only those marked #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cancelling;
mod clean;
mod faults;
mod generic;
mod kinds;
mod late;
mod moments;
mod mutations;
mod product;
mod recovery;
mod restored;
mod runs;
mod walks;

/// Each case is a world and a daemon of its own: much of the time goes into getting and giving back their memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
