//! What the service table keeps of standbys.

use async_trait::async_trait;

use super::TableError;
use crate::model::ids::{Attempt, GuestId, ServiceId};
use crate::model::standby::Standby;

/// The rows of standbys, a part of the service table.
///
/// A handover that begins takes a standby on its target over in the transaction that reserves the service: the row is
/// `Changing` from then on, with attempt 0, and `facts.standby` says whether it was ready with just what is to be
/// installed. The handover's commit deletes the row, for the guest is the home then.
#[async_trait]
pub trait StandbyTable: Send + Sync {
    /// All rows, by service and guest.
    async fn standbys(&self) -> Result<Vec<Standby>, TableError>;

    /// Writes the row before anything is done there, and tells the attempt number for the scripts that do it: in one
    /// transaction, so that every handover that begins later has higher numbers. `Busy` while a handover has the service
    /// reserved, `Conflict` where the guest is its home, or an old copy is to be retired there. The attempt that is given is passed over.
    async fn touch_standby(&self, standby: &Standby) -> Result<Attempt, TableError>;

    /// The standby was seen to be as its row says, by scripts of this attempt. Nothing is changed where the row is no
    /// longer of that attempt.
    async fn standby_is_ready(
        &self,
        service: &ServiceId,
        guest: GuestId,
        attempt: Attempt,
    ) -> Result<(), TableError>;

    /// Nothing is left there: deletes the row, where it is still of that attempt.
    async fn forget_standby(
        &self,
        service: &ServiceId,
        guest: GuestId,
        attempt: Attempt,
    ) -> Result<(), TableError>;
}
