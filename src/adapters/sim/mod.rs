//! A deterministic world for the daemon: every port of it, with its own clock.
//!
//! - [`world`]: what is true: hosts, guests, disks, zone, tables; plain state, in [`part`]s that clones share
//! - [`grants`]: the files by which guests have bundles; [`gauges`]: how loaded guests are
//! - [`inside`]: systemd's rules and the guest steps; [`look`]: what libvirt tells; [`zone`], [`table`]
//! - [`happening`]: what happens without the daemon's doing
//! - `events`: what hosts tell of it; the [`crate::ports::Watching`] and [`crate::ports::Spool`] ports
//! - [`call`]: the one point through which every call goes, and what may happen to it there
//! - [`ports`], [`table_port`]: the traits of [`crate::ports`] over a world
//! - [`executor`], [`daemon`]: virtual time, and a whole daemon that is killed and started again
//! - [`check`]: the invariants of design section 5
//! - [`cast`]: worlds to begin with; [`scenario`]: those that files describe
//! - [`words`]: what happens, as people say it; [`story`]: what happened, told to them
//! - [`pace`]: a world that goes on in real time, for `handoverd --sim`
//!
//! The same world and the same [`call::Director`] give the same run, to the last call.

mod batches;
pub mod call;
pub mod cast;
pub mod check;
pub mod daemon;
mod events;
pub mod executor;
pub mod gauges;
mod grants;
pub mod happening;
mod inside;
mod look;
mod method;
pub mod pace;
pub mod part;
pub mod ports;
pub mod scenario;
mod standbys;
pub mod story;
pub mod table;
mod table_port;
pub mod words;
pub mod world;
pub mod zone;
