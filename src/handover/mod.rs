//! One service going from its source guest to its target guest: goals that are looked at, not commands that
//! are believed (design section 4).
//!
//! - [`goals`]: which goals a handover has, in what order, and what holds after each: the table of the protocol
//! - [`machine`]: states, events and the one transition function
//! - [`record`]: the durable record of a handover
//! - [`verdict`]: pure judgements over what a look saw
//! - [`world`], [`run`]: the ports and limits; one handover under way
//! - [`mod@look`], [`mod@act`], [`naming`]: what each goal reads, and what it does; to the name, in a file of its own
//! - [`driver`]: runs one handover: look, act, look again, journal

pub mod act;
pub mod driver;
pub mod goals;
pub mod look;
pub mod machine;
pub mod naming;
pub mod record;
pub mod run;
pub mod verdict;
pub mod world;
