//! The zones' primaries over TCP: names are read there and changed by DNS UPDATE (RFC 2136), signed by TSIG (RFC 8945).
//!
//! A change is a compare-and-swap: its prerequisites are the values that must stand there, and one message is all or
//! nothing. NOERROR is not believed by itself, for a server ignores addresses beside a CNAME and still answers so:
//! after every update the name is read back.
//!
//! ```text
//!   swap --> publisher   one queue for each zone: what is ready within the window goes together
//!               |
//!             batch      as few messages as hold it; a refused one is halved, so one bad name stops only itself
//!               |
//!   read --> primary     one server: asked, and sent updates; `authorities`: all servers of a zone
//!               |
//!   [`message`] builds messages, `answer` holds answers against their requests, `verdict` says what they mean (pure);
//!   `transport` carries them.
//! ```

mod answer;
mod authorities;
mod batch;
pub mod fuzzed;
mod key;
pub mod message;
mod pointers;
mod primary;
mod publisher;
mod transport;
mod verdict;
mod zone;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use self::batch::Member;
pub use self::key::{InvalidKey, KeyAlgorithm, TsigKey};
use self::primary::{Primary, Wanted};
use self::publisher::{Publisher, Work};
pub use self::zone::Zone;
use crate::model::name::{DnsName, NameChange, NameRecords};
use crate::ports::{Authority, NameServer, PortError, Swapped};

/// How long changes of one zone are collected unless told otherwise.
pub const WINDOW: Duration = Duration::from_millis(50);

/// The primaries of the configured zones: [`NameServer`] for the real world.
#[derive(Debug)]
pub struct DnsPrimaries {
    zones: Vec<(Primary, Publisher)>,
    window: Duration,
}

impl DnsPrimaries {
    /// The primaries of `zones`. `timeout` is the longest time of one exchange (connect, send, answer); a `read` is
    /// one exchange, a `swap` two and its time in the queue, each up to five times while the server answers SERVFAIL.
    pub fn new(zones: Vec<Zone>, timeout: Duration) -> Self {
        let with_queue = |zone| {
            let primary = Primary {
                zone,
                timeout,
                clock_offset: 0,
            };
            (primary, Publisher::default())
        };
        Self {
            zones: zones.into_iter().map(with_queue).collect(),
            window: WINDOW,
        }
    }

    /// The same, collecting the changes of one zone for as long as `window`, counted from the first. To be said before
    /// the first swap.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The same, signing as if the clock were `seconds` ahead (behind if negative). For tests of skewed clocks.
    #[must_use]
    pub fn with_clock_offset(mut self, seconds: i64) -> Self {
        for (primary, _) in &mut self.zones {
            primary.clock_offset = seconds;
        }
        self
    }

    /// The configured zone with the longest name that covers `name`.
    fn zone(&self, name: &DnsName) -> Option<&(Primary, Publisher)> {
        self.zones
            .iter()
            .filter(|(primary, _)| name.is_in(&primary.zone.name))
            .max_by_key(|(primary, _)| primary.zone.name.labels())
    }

    fn covering(&self, name: &DnsName) -> Result<&(Primary, Publisher), PortError> {
        self.zone(name).ok_or_else(|| {
            PortError::refused(format!(
                "no configured DNS zone covers {name}: configure its zone with its primary, or give the service \
                 another name"
            ))
        })
    }

    /// Has the new addresses of `change` point back, where a zone for that is configured.
    fn point_back(&self, change: &NameChange) {
        for pointer in pointers::pointers(change) {
            if let Some((primary, publisher)) = self.zone(&DnsName::reverse(pointer.address)) {
                publisher.submit(primary, self.window, Work::Point(pointer));
            }
        }
    }
}

#[async_trait]
impl NameServer for DnsPrimaries {
    fn zone_of(&self, name: &DnsName) -> Option<DnsName> {
        self.zone(name).map(|(primary, _)| primary.zone.name.clone())
    }

    /// Three questions over one connection. Never `Unknown`: a question changes nothing. The answers may stem from two
    /// versions of the zone if somebody changes it in that moment; the TTL is the greater of A and AAAA, the CNAME's
    /// target has its final dot.
    async fn read(&self, name: &DnsName) -> Result<NameRecords, PortError> {
        let (primary, _) = self.covering(name)?;
        let mut found = primary.look(&[Wanted { name, labels: &[] }]).await;
        found
            .pop()
            .unwrap_or_else(|| Err(PortError::unavailable(format!("{name} was not asked about"))))
    }

    async fn read_everywhere(&self, name: &DnsName) -> Result<Vec<Authority>, PortError> {
        let (primary, _) = self.covering(name)?;
        primary.read_everywhere(name).await
    }

    /// `Yes` also where the wanted state stood there already (a swap sent again after `Unknown`). A caller that is
    /// dropped before the message is sent has changed nothing.
    async fn swap(&self, change: &NameChange) -> Result<Swapped, PortError> {
        let (primary, publisher) = self.covering(&change.name)?;
        let (reply, end) = oneshot::channel();
        let member = Member {
            change: change.clone(),
            reply,
        };
        publisher.submit(primary, self.window, Work::Swap(Box::new(member)));
        let swapped = end.await.unwrap_or_else(|_| {
            Err(PortError::unknown(format!(
                "the update of {} was given up half-way: read the name to see whether it happened",
                change.name
            )))
        })?;
        if swapped == Swapped::Yes {
            self.point_back(change);
        }
        Ok(swapped)
    }
}
