//! From what is seen of guests to what is to be done about them. Pure: signs, times and circumstances come in as values.
//!
//! ```text
//!   libvirt's events ---> inbox --+
//!   re-listing, pings ------------+--> cause: what does it mean? --> guest_watch: one machine for each guest
//!   hook's spool files -> spool --+                                        |
//!                                                                          v
//!                               evacuate, cancel, destroy, leftovers <-- blast: are too many dying?
//! ```
//! [`census::Census`] holds them all together; maintenance is remembered beside it.

pub mod blast;
pub mod cause;
pub mod census;
pub mod guest_watch;
pub mod inbox;
pub mod maintenance;
pub mod roll;
pub mod spool;
