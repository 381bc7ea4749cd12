//! Guests and hosts that somebody works on: drained, and not chosen as targets, until a time or until that is ended.
//!
//! The table is asked each time: what it says counts, and a daemon that starts has nothing to remember.

use std::sync::Arc;
use std::time::Duration;

use super::evacuation::DAEMON;
use super::refusal::Refusal;
use super::{BatchChoices, MoveOptions, Requests};
use crate::model::guest::GuestSummary;
use crate::model::ids::{GuestId, HostId, JobId};
use crate::plan::strategy::Strategy;
use crate::ports::TableError;
use crate::watch::maintenance::{Maintenance, MaintenanceError, Object};

/// How often it is looked at which have ended.
const EVERY: Duration = Duration::from_secs(30);

/// How a maintenance begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begins {
    /// When it ends by itself, from now.
    pub length: Duration,
    /// Why; may be empty.
    pub reason: String,
    /// Whether services that are there go elsewhere.
    pub drains: bool,
}

/// What became of the services of one guest when its maintenance began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// The guest's name.
    pub guest: String,
    /// The job that moves them, or why there is none.
    pub job: Result<JobId, String>,
}

impl From<MaintenanceError> for Refusal {
    fn from(error: MaintenanceError) -> Self {
        Self::InvalidArgument(error.to_string())
    }
}

impl Requests {
    /// Begins the maintenance of a guest or host (`kind`), gives one that is under way another end, or ends it (`begins` is
    /// `None`). Tells what became of the services of each guest that had some and is to be drained.
    ///
    /// # Errors
    /// There is no such guest or host, the length or the reason cannot be, or the table cannot be written. A guest that cannot
    /// be drained is in maintenance all the same.
    pub async fn set_maintenance(
        self: &Arc<Self>,
        kind: &str,
        name: &str,
        begins: Option<Begins>,
        who: &str,
    ) -> Result<Vec<Drained>, Refusal> {
        let object = self.maintained(kind, name).await?;
        let now = self.world.clock.now();
        let table = &self.world.table;
        let Some(begins) = begins else {
            table.keep_maintenance(&object, None).await?;
            self.evacuations.tell_of_room();
            let what = format!("end the maintenance of {kind} {name}");
            table.audit(now, who, &what, "ended").await?;
            tracing::info!(kind, name, who, "no longer in maintenance");
            return Ok(Vec::new());
        };
        let mut all = self.maintenance().await?;
        let entry = all.begin(now, object.clone(), begins.length, who, &begins.reason)?;
        table.keep_maintenance(&object, Some(entry)).await?;
        let what = format!("maintenance of {kind} {name}");
        let until = crate::model::utc::show(entry.until);
        table.audit(now, who, &what, &format!("until {until}")).await?;
        tracing::info!(kind, name, who, until, "in maintenance");
        if begins.drains {
            self.drain_guests(&object, who).await
        } else {
            Ok(Vec::new())
        }
    }

    async fn maintained(&self, kind: &str, name: &str) -> Result<Object, Refusal> {
        match kind {
            "guest" => Ok(Object::Guest(self.guest(name).await?.id)),
            "host" => {
                let hosts = self.world.hypervisor.hosts();
                let host = hosts.iter().find(|host| host.as_str() == name);
                host.cloned().map(Object::Host).ok_or_else(|| {
                    let known: Vec<&str> = hosts.iter().map(HostId::as_str).collect();
                    let known = known.join(", ");
                    Refusal::InvalidArgument(format!("there is no host {name:?}; there are {known}"))
                })
            }
            other => Err(Refusal::InvalidArgument(format!(
                "{other:?} cannot be in maintenance; it must be guest or host"
            ))),
        }
    }

    /// Moves all services away: of what is in maintenance already, so that none of them comes to another guest of it.
    async fn drain_guests(self: &Arc<Self>, object: &Object, who: &str) -> Result<Vec<Drained>, Refusal> {
        let services = self.world.table.services().await?;
        let mut guests = self.guests().await;
        guests.retain(|guest| {
            let meant = match object {
                Object::Guest(id) => guest.id == *id,
                Object::Host(host) => guest.host == *host,
            };
            meant && services.iter().any(|service| service.guest == guest.id)
        });
        guests.sort_by(|a, b| a.name.cmp(&b.name));
        guests.dedup_by_key(|guest| guest.id);
        let options = MoveOptions {
            batch: BatchChoices {
                partial: true,
                ..BatchChoices::default()
            },
            ..MoveOptions::default()
        };
        let target = Strategy::LeastLoaded.to_string();
        let mut drained = Vec::new();
        for guest in guests {
            let begun = self.move_guest(&guest, &target, &options, who).await;
            drained.push(Drained {
                guest: guest.name,
                job: begun.map_err(|refusal| refusal.to_string()),
            });
        }
        Ok(drained)
    }

    /// What is in maintenance; some of it may have ended by now.
    pub(super) async fn maintenance(&self) -> Result<Maintenance, TableError> {
        Ok(Maintenance::of(self.world.table.maintenance().await?))
    }

    /// Refuses a target in maintenance, however it was chosen.
    ///
    /// # Errors
    /// It is in maintenance, or the table cannot be read.
    pub(super) async fn refuse_maintained(&self, target: &GuestSummary) -> Result<(), Refusal> {
        let now = self.world.clock.now();
        match self.maintenance().await?.of_guest(now, target.id, &target.host) {
            Some(why) => Err(Refusal::Unsuitable(
                target.name.clone(),
                format!("it is in maintenance ({why}); `handoverctl maintenance` ends that"),
            )),
            None => Ok(()),
        }
    }

    /// Whether a guest is known, and is not running anywhere.
    ///
    /// # Errors
    /// libvirt does not answer.
    pub(super) async fn is_off(&self, guest: GuestId) -> Result<bool, Refusal> {
        let domain = self.world.hypervisor.inspect(guest).await?;
        Ok(domain.is_some_and(|domain| !domain.is_active()))
    }

    /// Tells and forgets those whose time is over, for as long as the daemon runs.
    pub async fn expire_maintenance(&self) {
        loop {
            self.world.clock.sleep(EVERY).await;
            if let Err(error) = self.forget_expired().await {
                tracing::warn!(%error, "which maintenance has ended is not known");
            }
        }
    }

    async fn forget_expired(&self) -> Result<(), TableError> {
        let now = self.world.clock.now();
        let table = &self.world.table;
        for entry in self.maintenance().await?.expired(now) {
            if !table.end_maintenance(&entry).await? {
                // It was given another end meanwhile.
                continue;
            }
            let what = match &entry.object {
                Object::Guest(guest) => format!("maintenance of guest {guest}"),
                Object::Host(host) => format!("maintenance of host {host}"),
            };
            tracing::info!("the {what} is over; it may be a target again");
            self.evacuations.tell_of_room();
            table.audit(now, DAEMON, &what, "its time is over").await?;
        }
        Ok(())
    }
}
