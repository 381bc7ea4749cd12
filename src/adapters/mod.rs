//! The ports' implementations: libvirt, the guest agent, DNS and SQLite.

pub mod guest_agent;
