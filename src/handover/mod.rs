//! One service going from its source guest to its target guest: goals that are looked at, not commands that
//! are believed (design section 4).
//!
//! - [`goals`]: which goals a handover has, in what order, and what holds after each: the table of the protocol
//! - [`machine`]: states, events and the one transition function
//! - [`protocol`]: its rules by name, for tests that take one away
//! - [`record`]: the durable record of a handover
//! - [`verdict`]: pure judgements over what a look saw
//! - [`world`], [`run`]: the ports and limits; one handover under way
//! - [`mod@look`], [`mod@act`]: what each goal reads, and what it does; with files of their own for [`naming`] (the
//!   name), [`licence`] (taking and giving back what a copy runs by), [`mod@grant`] (its file) and [`volume`] (the data)
//! - [`before`]: how a service was before, and how an undo puts one back that was down against its will
//! - [`drain`], [`lower`], [`spread`]: how long an old copy serves, how that is made shorter, and whether every server of a zone gives what is new
//! - [`lead`]: how a dead source's clients are led to the target before the service is there
//! - [`driver`]: runs one handover: look, act, look again, journal

pub mod act;
mod before;
mod drain;
pub mod driver;
pub mod goals;
pub mod grant;
mod lead;
mod licence;
pub mod look;
mod lower;
pub mod machine;
pub mod naming;
mod observe;
pub mod protocol;
pub mod record;
pub mod run;
mod spread;
mod standby;
pub mod verdict;
mod volume;
pub mod world;
