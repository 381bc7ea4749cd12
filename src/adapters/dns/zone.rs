//! A zone as it is configured: who serves it, and how it is asked.

use std::net::SocketAddr;

use super::key::TsigKey;
use crate::model::name::DnsName;

/// A zone, its servers, and the key that may change it.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The zone's origin.
    pub name: DnsName,
    /// Where its primary listens on TCP.
    pub server: SocketAddr,
    /// The key that signs every message to the primary; without it nothing is signed and answers are believed as they
    /// come.
    pub key: Option<TsigKey>,
    /// Its other authoritative servers. Empty: those of its NS records, each on the primary's port.
    pub secondaries: Vec<SocketAddr>,
    /// The view of the servers that the key selects. With one, questions to the other servers are signed too, for
    /// without the key they would answer from another view.
    pub view: Option<String>,
}

impl Zone {
    /// A zone without a view, whose other servers are those of its NS records.
    pub fn new(name: DnsName, server: SocketAddr, key: Option<TsigKey>) -> Self {
        Self {
            name,
            server,
            key,
            secondaries: Vec::new(),
            view: None,
        }
    }

    /// The same zone at another of its servers: signed only where the key selects the view.
    pub(super) fn at(&self, server: SocketAddr) -> Self {
        Self {
            server,
            key: self.key.clone().filter(|_| self.view.is_some()),
            ..self.clone()
        }
    }

    /// Its name and view, for messages.
    pub(super) fn title(&self) -> String {
        match &self.view {
            Some(view) => format!("{} (view {view})", self.name),
            None => self.name.to_string(),
        }
    }
}
