//! Guests that hang: destroyed before their services go elsewhere, where `[evacuation] fence = "destroy"` says so.
//!
//! Everything that speaks against it is asked for again at the last moment, and what cannot be known speaks against it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Requests;
use super::cluster::{Look, Moving};
use super::evacuation::DAEMON;
use super::refusal::Refusal;
use crate::model::guest::{DomainState, GuestDomain};
use crate::model::ids::GuestId;
use crate::plan::strategy::Strategy;
use crate::plan::what_if::leave;
use crate::ports::{Heartbeat, PortError, TableError};
use crate::watch::cause::Cause;

/// Why a guest was not destroyed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Spared {
    /// What speaks against it.
    #[error("{0}")]
    Because(String),
    /// The table cannot be read, or cannot keep that it is done.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Where services could go is not known.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A host does not answer or has refused it.
    #[error(transparent)]
    Port(#[from] PortError),
}

fn because(why: impl Into<String>) -> Spared {
    Spared::Because(why.into())
}

impl Requests {
    /// Destroys a guest that hangs, and returns when a look says that it is off. `hung` are all guests that seem to hang: they are
    /// no targets. The agent is asked for the last time, and waited for as long as `deadline`.
    ///
    /// # Errors
    /// What speaks against it, or that it failed: it runs on, as far as is known.
    pub(super) async fn destroy_hung(
        &self,
        guest: GuestId,
        cause: Cause,
        hung: &BTreeSet<GuestId>,
        agents: &dyn Heartbeat,
        deadline: Duration,
    ) -> Result<(), Spared> {
        self.check_use(guest, hung).await?;
        let domain = self.alone(guest).await?;
        let name = &domain.summary.name;
        match domain.summary.state {
            DomainState::Running => match agents.pulse(guest, deadline).await {
                Ok(false) => {}
                Ok(true) => return Err(because("its agent answers after all")),
                Err(error) => return Err(error.into()),
            },
            DomainState::Paused if cause == Cause::Paused => {}
            DomainState::Crashed if cause == Cause::Preserved => {}
            other => {
                let state = other.as_str();
                return Err(because(format!("it is {state} by now")));
            }
        }
        self.check_leave(guest, &domain).await?;
        let now = self.world.clock.now();
        let what = format!("destroy {name}: {cause}");
        let decision = format!(
            "destroyed on {}: [evacuation] fence is \"destroy\"",
            domain.summary.host
        );
        self.world.table.audit(now, DAEMON, &what, &decision).await?;
        self.check_thawed()?;
        tracing::warn!(%guest, name, %cause, "it hangs and is destroyed, so that its services can go elsewhere");
        self.world.hypervisor.destroy(guest).await?;
        let everywhere = self.world.hypervisor.everywhere(guest).await?;
        if everywhere.iter().any(GuestDomain::is_active) {
            return Err(because("it was destroyed, and runs again"));
        }
        Ok(())
    }

    /// Whether it would help: nobody works on its services already, and one that is to run there has another home.
    async fn check_use(&self, guest: GuestId, hung: &BTreeSet<GuestId>) -> Result<(), Spared> {
        self.check_thawed()?;
        let mut services = self.world.table.services().await?;
        services.retain(|service| service.guest == guest);
        let open = self.world.table.unfinished_batches().await?;
        if let Some(batch) = open.iter().find(|batch| batch.guest == guest) {
            let job = batch.job;
            return Err(because(format!(
                "its services are being moved already: job {job}"
            )));
        }
        let open = self.world.table.unfinished().await?;
        for service in &services {
            let job = open.iter().find(|handover| handover.service == service.id);
            if let Some(job) = job.filter(|handover| !handover.committed) {
                let (id, job) = (&service.id, job.job);
                return Err(because(format!("{id} is being worked on already: job {job}")));
            }
        }
        services.retain(|service| service.last_known().wants_running());
        if services.is_empty() {
            return Err(because("no service is to run there"));
        }
        let cluster = self.cluster(Look::Listed, Moving::None).await?;
        let survival = leave(&cluster, guest, hung, Strategy::LeastLoaded);
        let homeless = survival.map(|survival| survival.homeless).unwrap_or_default();
        if services
            .iter()
            .all(|service| homeless.iter().any(|(id, _)| *id == service.id))
        {
            return Err(because("none of its services has another home"));
        }
        Ok(())
    }

    /// The guest, of which every host is sure: active on just one of them, without saved memory, and this daemon's.
    async fn alone(&self, guest: GuestId) -> Result<GuestDomain, Spared> {
        let everywhere = self.world.hypervisor.everywhere(guest).await?;
        let mut active = everywhere.into_iter().filter(GuestDomain::is_active);
        let (Some(domain), None) = (active.next(), active.next()) else {
            return Err(because("it does not run on just one host"));
        };
        if domain.summary.managed_save {
            return Err(because("its memory is saved"));
        }
        if domain.summary.controller.as_deref() != Some(self.world.host.as_str()) {
            let other = domain.summary.controller.as_deref().unwrap_or("nobody");
            return Err(because(format!("it is controlled by {other}")));
        }
        Ok(domain)
    }

    async fn check_leave(&self, guest: GuestId, domain: &GuestDomain) -> Result<(), Spared> {
        let now = self.world.clock.now();
        match self
            .maintenance()
            .await?
            .of_guest(now, guest, &domain.summary.host)
        {
            Some(maintenance) => Err(because(format!("it is in maintenance {maintenance}"))),
            None => Ok(()),
        }
    }

    fn check_thawed(&self) -> Result<(), Spared> {
        match self.evacuations.alarm() {
            Some(alarm) => Err(because(format!("everything is frozen: {alarm}"))),
            None => Ok(()),
        }
    }
}
