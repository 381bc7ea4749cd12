//! What is asked to know how loaded guests are. All of it only reads, and none of it is worth waiting for: a load that is
//! not known keeps nothing from being placed.

use async_trait::async_trait;

use super::PortError;
use crate::model::ids::{GuestId, HostId};
use crate::model::vitals::{Counters, Vitals};

/// What one host counts of its running guests, or why that is not known.
pub type HostCounts = Result<Vec<(GuestId, Counters)>, (HostId, PortError)>;

/// Hosts that count what their guests use.
#[async_trait]
pub trait HostGauges: Send + Sync {
    /// What every host counts of its running guests now: one question for each host, answered without waiting for a guest. A
    /// host that does not answer is an error of its own.
    async fn counters(&self) -> Vec<HostCounts>;
}

/// Guests that say how they fare.
#[async_trait]
pub trait GuestGauges: Send + Sync {
    /// Asks one guest, through its agent. It costs a process there, so ask seldom.
    async fn vitals(&self, guest: GuestId) -> Result<Vitals, PortError>;
}
