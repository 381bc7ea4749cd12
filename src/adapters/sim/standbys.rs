//! Standbys in the simulated service table.

use async_trait::async_trait;

use super::call::Method;
use super::ports::SimPorts;
use super::table::{Outcome, SimTable, conflict};
use crate::handover::record::Handover;
use crate::model::ids::{Attempt, GuestId, ServiceId};
use crate::model::standby::{Standby, StandbyState};
use crate::ports::StandbyTable;

impl SimTable {
    /// A handover that begins has the standby on its target now; whether its disk was all that it lacked.
    pub(super) fn take_standby_over(&mut self, handover: &Handover) -> bool {
        let target = &handover.target;
        let key = (handover.service.clone(), target.guest);
        let Some(row) = self.standbys.get_mut(&key) else {
            return false;
        };
        let ready = row.is_ready_with(&target.digest, &target.files);
        row.state = StandbyState::Changing;
        row.attempt = Attempt(0);
        ready
    }

    fn touch_standby(&mut self, standby: &Standby) -> Outcome<Attempt> {
        self.check_free(&standby.service)?;
        let home = self.services.get(&standby.service);
        let is_home = home.is_some_and(|row| row.guest == standby.guest);
        let owed = self
            .duties
            .contains_key(&(standby.service.clone(), standby.guest));
        if is_home || owed {
            return conflict(format!(
                "guest {} has a copy of {}",
                standby.guest_name, standby.service
            ));
        }
        let attempt = self.next_attempt(&standby.service);
        let row = Standby {
            attempt,
            ..standby.clone()
        };
        self.standbys.insert((row.service.clone(), row.guest), row);
        Ok(attempt)
    }

    fn standby_is_ready(&mut self, service: &ServiceId, guest: GuestId, attempt: Attempt) {
        let row = self.standbys.get_mut(&(service.clone(), guest));
        if let Some(row) = row.filter(|row| row.attempt == attempt && row.state == StandbyState::Changing) {
            row.state = StandbyState::Ready;
        }
    }

    fn forget_standby(&mut self, service: &ServiceId, guest: GuestId, attempt: Attempt) {
        let key = (service.clone(), guest);
        if self.standbys.get(&key).is_some_and(|row| row.attempt == attempt) {
            self.standbys.remove(&key);
        }
    }
}

#[async_trait]
impl StandbyTable for SimPorts {
    async fn standbys(&self) -> Outcome<Vec<Standby>> {
        self.table(Method::ReadTable, |t| Ok(t.standbys.values().cloned().collect()))
            .await
    }

    async fn touch_standby(&self, standby: &Standby) -> Outcome<Attempt> {
        self.table(Method::Standby, |t| t.touch_standby(standby)).await
    }

    async fn standby_is_ready(&self, service: &ServiceId, guest: GuestId, attempt: Attempt) -> Outcome<()> {
        self.table(Method::Standby, |t| {
            t.standby_is_ready(service, guest, attempt);
            Ok(())
        })
        .await
    }

    async fn forget_standby(&self, service: &ServiceId, guest: GuestId, attempt: Attempt) -> Outcome<()> {
        self.table(Method::Standby, |t| {
            t.forget_standby(service, guest, attempt);
            Ok(())
        })
        .await
    }
}
