//! The ports' implementations: libvirt, the guest agent, DNS and SQLite.

pub mod clock;
pub mod dns;
pub mod guest_agent;
pub mod libvirt;
pub mod logind;
pub mod sim;
pub mod spool;
pub mod sqlite;
