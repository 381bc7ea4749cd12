//! One errand: a standby is installed, or uninstalled.

use std::time::Duration;

use super::super::Requests;
use super::super::refusal::Refusal;
use crate::handover::verdict::{self, Seen};
use crate::handover::world::StepError;
use crate::model::disk::DiskSerial;
use crate::model::guest::GuestDomain;
use crate::model::ids::{Attempt, GuestId, ServiceId};
use crate::model::life::Enablement;
use crate::model::placement::Placement;
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::model::standby::{Installed, Standby, StandbyState};
use crate::plan::errand::Errand;
use crate::ports::{GuestStep, TableError};

/// How long one script in a guest may take.
const SCRIPT: Duration = Duration::from_secs(60);

/// What one errand is about.
pub(super) struct Order {
    pub(super) service: ServiceId,
    /// Its row; `None`: it is gone from the table.
    pub(super) record: Option<ServiceRecord>,
    pub(super) guest: GuestId,
    pub(super) row: Option<Standby>,
    pub(super) errand: Errand,
}

/// Why an errand was not done.
pub(super) enum Missed {
    /// It is no longer to be done, or not now: it is looked at again in time.
    Later,
    /// The guest will not do for the service.
    Unfit(String),
    /// What failed.
    Failed(String),
}

impl From<StepError> for Missed {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Refused(reason) => Self::Failed(reason.text),
            StepError::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<crate::ports::PortError> for Missed {
    fn from(error: crate::ports::PortError) -> Self {
        StepError::from(error).into()
    }
}

impl From<TableError> for Missed {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Busy { .. } | TableError::Conflict(_) => Self::Later,
            TableError::Storage(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<Refusal> for Missed {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal.to_string())
    }
}

impl Requests {
    /// Does one errand; tells what it came to, for people.
    pub(super) async fn run_errand(&self, order: Order) -> Result<&'static str, Missed> {
        let world = &self.world;
        let Some(domain) = world.hypervisor.inspect(order.guest).await? else {
            return self.forget_if_undefined(&order).await;
        };
        if !domain.summary.is_running() || !domain.summary.agent_connected {
            return Err(Missed::Later);
        }
        if let Some(other) = domain.summary.other_controller(&world.host) {
            return Err(Missed::Failed(format!(
                "the handoverd of host {other} controls {}",
                domain.summary.name
            )));
        }
        match (&order.errand, &order.record) {
            (Errand::Install(installed), Some(record)) => {
                self.install_standby(&order, record, installed, &domain).await
            }
            _ => self.drop_standby(&order, &domain).await,
        }
    }

    /// Nothing is left of a guest that no host defines.
    async fn forget_if_undefined(&self, order: &Order) -> Result<&'static str, Missed> {
        let world = &self.world;
        let Some(row) = &order.row else {
            return Err(Missed::Later);
        };
        if !world.hypervisor.everywhere(order.guest).await?.is_empty() {
            return Err(Missed::Later);
        }
        let row = Standby {
            state: StandbyState::Dropping,
            ..row.clone()
        };
        let attempt = world.table.touch_standby(&row).await?;
        world
            .table
            .forget_standby(&order.service, order.guest, attempt)
            .await?;
        Ok("forgotten: no host defines the guest any more")
    }

    async fn install_standby(
        &self,
        order: &Order,
        record: &ServiceRecord,
        installed: &Installed,
        domain: &GuestDomain,
    ) -> Result<&'static str, Missed> {
        let world = &self.world;
        let bundle = self.bundle_of(record).await?;
        let placement = Placement::of(&bundle, &installed.files);
        self.has_no_disk(&order.service, domain).await?;
        if order.row.is_none() {
            let asked = self.ask(&domain.summary, &placement, record.uid, true).await?;
            if !asked.obstacles.is_empty() {
                let unfit = Refusal::unsuitable(&domain.summary.name, &asked.obstacles);
                return Err(Missed::Unfit(unfit.to_string()));
            }
        }
        self.bring_standby_image(domain, &bundle).await?;
        let row = Standby {
            service: order.service.clone(),
            guest: order.guest,
            guest_name: domain.summary.name.clone(),
            installed: installed.clone(),
            state: StandbyState::Changing,
            attempt: Attempt(0),
        };
        let attempt = world.table.touch_standby(&row).await?;
        let act = |step| world.guest.act(order.guest, &placement, step, attempt, SCRIPT);
        let mut copy = act(GuestStep::Install).await?;
        if installed.link != Enablement::Disabled {
            copy = act(GuestStep::Link(installed.link)).await?;
        }
        if let Some(why) = installed.differs(&copy, placement.links.len()) {
            return Err(Missed::Failed(why));
        }
        world
            .table
            .standby_is_ready(&order.service, order.guest, attempt)
            .await?;
        Ok("ready")
    }

    async fn drop_standby(&self, order: &Order, domain: &GuestDomain) -> Result<&'static str, Missed> {
        let world = &self.world;
        let Some(row) = &order.row else {
            return Err(Missed::Later);
        };
        self.has_no_disk(&order.service, domain).await?;
        let digest = &row.installed.digest;
        let Some(bundle) = world.table.bundle(digest).await? else {
            return Err(Missed::Failed(format!("bundle {digest} is not in the table")));
        };
        let placement = Placement::of(&bundle, &row.installed.files);
        let row = Standby {
            state: StandbyState::Dropping,
            ..row.clone()
        };
        let attempt = world.table.touch_standby(&row).await?;
        let copy = world
            .guest
            .act(order.guest, &placement, GuestStep::Uninstall, attempt, SCRIPT)
            .await?;
        match verdict::gone((false, false), Some(&copy)) {
            Seen::Holds => {
                let forgotten = world.table.forget_standby(&order.service, order.guest, attempt);
                forgotten.await?;
                Ok("dropped")
            }
            Seen::Missing(why) => Err(Missed::Failed(why)),
            _ => Err(Missed::Later),
        }
    }

    /// A guest that has a disk of the service is more than a standby: it is left to the auditor.
    async fn has_no_disk(&self, service: &ServiceId, domain: &GuestDomain) -> Result<(), Missed> {
        let bundles = self.world.table.bundles().await?;
        let serials: Vec<DiskSerial> = bundles
            .iter()
            .filter(|bundle| bundle.manifest.service == *service)
            .map(|bundle| DiskSerial::of(service, &bundle.digest))
            .chain([DiskSerial::of_volume(service)])
            .collect();
        match verdict::any_halves(domain, serials.iter()) {
            (false, false) => Ok(()),
            _ => Err(Missed::Failed(format!(
                "guest {} has a disk of {service}, and should not; see `handoverctl audit`",
                domain.summary.name
            ))),
        }
    }

    /// What a handover would wait for is in the pool already.
    async fn bring_standby_image(&self, domain: &GuestDomain, bundle: &BundleRecord) -> Result<(), Missed> {
        let (hypervisor, own) = (&self.world.hypervisor, &self.world.host);
        let host = &domain.summary.host;
        let there = hypervisor.image(host, &bundle.digest).await?;
        if there.is_some_and(|(_, size)| size >= bundle.size) {
            return Ok(());
        }
        if host == own {
            return Err(Missed::Failed(format!(
                "the image of bundle {} is not in the pool of host {host}; register it again",
                bundle.digest.short()
            )));
        }
        hypervisor
            .copy_image(own, host, &bundle.digest, bundle.size)
            .await?;
        Ok(())
    }
}
