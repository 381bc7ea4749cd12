//! The auditor: whether table, zone, libvirt and guests agree, and what is to be done where they do not (design section 5).
//!
//! ```text
//! gather  -> Picture -> judge -> [Finding]      pass 1: everything, without locks
//!                                   |
//!            for each service with a finding, under its lock:
//! gather  -> Picture -> judge -> [Finding] -> repair -> gather -> judge -> outcomes
//! ```
//!
//! - [`picture`], [`finding`]: what was seen, what is wrong, as values
//! - [`judge`], [`home`], [`disks`], [`naming`]: the pure judgement
//! - [`gather`]: looks through the ports, at many guests at once
//! - [`repair`]: one act for one finding; never a second code path: each is a look, an act, a look
//! - [`run`]: the whole of it
//!
//! Three kinds of findings differ in who does something about them. What design section 4 says happens **by itself**: a
//! service that is wanted running and is down since its guest booted is started, and what an operator did with
//! `systemctl` in the guest is adopted. What somebody may have meant so is done only **when told** (`--repair`). The rest is
//! an **operator's**. A service that a job has is judged only by what holds at every moment, and never repaired.
//!
//! How a stop is told from a reboot: a unit that was up since its guest booted, and is down now without having failed,
//! was stopped; one that was not up is down because of the boot. The guest tells: systemd's `ActiveEnterTimestamp` of
//! a unit that is linked to its disk (and so stays in memory), else a mark in `/run/handoverd`, which a boot empties and
//! every step that starts a service or sees it up writes. So neither a daemon that was away nor the table is needed.

pub mod disks;
pub mod finding;
pub mod gather;
pub mod grants;
pub mod home;
pub mod judge;
pub mod naming;
pub mod picture;
pub mod repair;
pub mod run;
mod standby;
