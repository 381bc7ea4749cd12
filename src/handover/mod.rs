//! One service going from its source guest to its target guest: goals that are looked at, not commands that
//! are believed (design section 4).
//!
//! - [`goals`]: which goals a handover has, in what order, and what holds after each: the table of the protocol
//! - [`machine`]: states, events and the one transition function
//! - [`record`]: the durable record of a handover
//! - [`verdict`]: pure judgements over what a look saw
//! - [`driver`]: runs one handover: look, act, look again, journal

pub mod goals;
pub mod machine;
pub mod record;
