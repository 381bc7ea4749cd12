//! Whether a guest will do for a service, and what the service is seen to be where it is: both asked before a job begins.

use std::net::IpAddr;

use futures_util::future::{join, try_join};

use super::Requests;
use super::refusal::Refusal;
use crate::handover::record::{Facts, Place};
use crate::handover::verdict;
use crate::model::disk::DiskSerial;
use crate::model::guest::GuestSummary;
use crate::model::ids::GuestId;
use crate::model::life::{Enablement, LifeState};
use crate::model::obstacle::Obstacle;
use crate::model::placement::{PlacedFile, Placement};
use crate::model::service::{BundleRecord, Millis, ServiceRecord};
use crate::plan::{fit, preflight};

/// A guest that will do.
pub(super) struct Fit {
    pub(super) place: Place,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) uid: Option<u32>,
}

/// What a guest was asked before it becomes a target.
pub(super) struct Asked {
    pub(super) obstacles: Vec<Obstacle>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) uid: Option<u32>,
}

/// What a service is seen to be.
pub(super) struct Seen {
    pub(super) life: LifeState,
    /// It counts as up by what is wanted of it, and is not.
    pub(super) down: bool,
    pub(super) enablement: Enablement,
    pub(super) uid: Option<u32>,
    /// The time of the table's row that it goes by.
    pub(super) row: Millis,
}

impl Requests {
    /// What a service is seen to be where it is, asked while its target is looked at; `None` where it cannot be told
    /// now: the observe goal asks again.
    pub(super) async fn seen(&self, service: &ServiceRecord, bundle: &BundleRecord) -> Option<Seen> {
        let placement = Placement::of(bundle, &service.files);
        let copy = self.world.guest.look(service.guest, &placement);
        let records = async {
            match &service.dns {
                Some(dns) => self.world.names.read(&dns.name).await.map(Some),
                None => Ok(None),
            }
        };
        let (copy, records) = try_join(copy, records).await.ok()?;
        let (life, enablement) = verdict::observed(service, &copy, records.as_ref());
        Some(Seen {
            life,
            down: verdict::is_down_unwanted(&copy, life),
            enablement,
            uid: copy.uid,
            row: service.observed_at,
        })
    }

    /// Enters what was seen a moment ago, if all of it is known.
    pub(super) fn enter(&self, facts: &mut Facts, seen: Option<Seen>, addresses: Vec<IpAddr>) {
        facts.target_addresses = addresses;
        if let Some(seen) = seen
            && (facts.name.is_none() || !facts.target_addresses.is_empty())
        {
            facts.observed_at = Some(self.world.clock.now());
            facts.observed_row = Some(seen.row);
            facts.observed = Some(seen.life);
            facts.life = seen.life;
            facts.down = seen.down;
            facts.enablement = seen.enablement;
            facts.uid = seen.uid;
        }
    }

    /// Refuses a guest that the bundle's manifest does not allow, whatever is there. What is there already stays.
    ///
    /// # Errors
    /// It lacks a label, or is on another host.
    pub(super) fn refuse_unfit(&self, target: &GuestSummary, bundle: &BundleRecord) -> Result<(), Refusal> {
        let needs = &bundle.manifest.needs;
        let unfit: Vec<String> = fit::of_guest(&self.labels.of(target), &target.host, needs)
            .iter()
            .map(ToString::to_string)
            .collect();
        match unfit.is_empty() {
            true => Ok(()),
            false => Err(Refusal::Unsuitable(target.name.clone(), unfit.join("; "))),
        }
    }

    /// Whether a guest will do for a bundle. `uid`: what the service's user has where it is; `own`: what listens on the
    /// target may be the service itself.
    pub(super) async fn preflight(
        &self,
        target: &GuestSummary,
        bundle: &BundleRecord,
        files: Vec<PlacedFile>,
        uid: Option<u32>,
        own: bool,
    ) -> Result<Fit, Refusal> {
        let placement = Placement::of(bundle, &files);
        let asked = self.ask(target, &placement, uid, own).await?;
        if !asked.obstacles.is_empty() {
            return Err(Refusal::unsuitable(&target.name, &asked.obstacles));
        }
        let place = Place {
            guest: target.id,
            guest_name: target.name.clone(),
            host: target.host.clone(),
            digest: bundle.digest.clone(),
            files,
        };
        Ok(Fit {
            place,
            addresses: asked.addresses,
            uid: asked.uid,
        })
    }

    /// A ready standby of a service whose guest is off: it was found to do when it was installed, and is not probed again.
    /// What has come in its way since shows when it is started, and then the next best guest takes the service. `None`: the
    /// target is to be looked at as any other.
    pub(super) async fn fit_by_standing(
        &self,
        service: &ServiceRecord,
        target: &GuestSummary,
        bundle: &BundleRecord,
    ) -> Result<Option<Fit>, Refusal> {
        if !self.is_ready_standby(service, target.id).await? || !self.is_off(service.guest).await? {
            return Ok(None);
        }
        let Some(domain) = self.world.hypervisor.inspect(target.id).await? else {
            return Ok(None);
        };
        let serial = DiskSerial::of(&service.id, &bundle.digest);
        let obstacles = preflight::domain_obstacles(&domain, Some(&serial), &self.world.host);
        let Ok(addresses) = self.world.guest.addresses(target.id).await else {
            return Ok(None);
        };
        let addresses = (self.world.address_rule)(&addresses);
        if !obstacles.is_empty() || addresses.is_empty() {
            return Ok(None);
        }
        let place = Place {
            guest: target.id,
            guest_name: target.name.clone(),
            host: target.host.clone(),
            digest: bundle.digest.clone(),
            files: service.files.clone(),
        };
        Ok(Some(Fit {
            place,
            addresses,
            uid: None,
        }))
    }

    /// Whether a guest is a standby of a service with just what is to be installed there.
    async fn is_ready_standby(&self, service: &ServiceRecord, guest: GuestId) -> Result<bool, Refusal> {
        let rows = self.world.table.standbys().await?;
        let mut own = rows
            .iter()
            .filter(|row| row.service == service.id && row.guest == guest);
        Ok(own.any(|row| row.is_ready_with(&service.bundle, &service.files)))
    }

    /// Whether every service of a guest has a ready standby on a guest whose agent speaks: where they go is no question to
    /// any guest.
    pub(super) async fn all_have_standbys(&self, of: GuestId) -> Result<bool, Refusal> {
        let guests = self.guests().await;
        let speaks = |guest: GuestId| {
            let mut there = guests.iter();
            there.any(|one| one.id == guest && one.is_running() && one.agent_connected)
        };
        let rows = self.world.table.standbys().await?;
        let services = self.world.table.services().await?;
        let has = |service: &ServiceRecord| {
            let mut own = rows.iter().filter(|row| row.service == service.id);
            own.any(|row| row.is_ready_with(&service.bundle, &service.files) && speaks(row.guest))
        };
        Ok(services.iter().filter(|service| service.guest == of).all(has))
    }

    /// Everything that is in the way of a placement on a guest, and what it tells of itself.
    pub(super) async fn ask(
        &self,
        target: &GuestSummary,
        placement: &Placement,
        uid: Option<u32>,
        own: bool,
    ) -> Result<Asked, Refusal> {
        let Some(domain) = self.world.hypervisor.inspect(target.id).await? else {
            return Err(Refusal::NoSuchGuest(target.id.to_string()));
        };
        let obstacles = preflight::domain_obstacles(&domain, Some(&placement.serial), &self.world.host);
        let mut asked = Asked {
            obstacles,
            addresses: Vec::new(),
            uid: None,
        };
        if !domain.summary.is_running() {
            return Ok(asked);
        }
        let info = match self.world.guest.agent(target.id).await {
            Ok(info) => info,
            Err(error) => {
                asked.obstacles.push(Obstacle::NoAgent(error.message));
                return Ok(asked);
            }
        };
        let disabled = preflight::agent_obstacles(&info);
        if !disabled.is_empty() {
            asked.obstacles.extend(disabled);
            return Ok(asked);
        }
        let guest = &self.world.guest;
        let (probe, addresses) = join(guest.probe(target.id, placement), guest.addresses(target.id)).await;
        match probe {
            Ok(probe) => {
                let inside = preflight::probe_obstacles(&probe, placement, uid);
                asked.obstacles.extend(
                    inside
                        .into_iter()
                        .filter(|o| !(own && matches!(o, Obstacle::PortInUse(_)))),
                );
                asked.uid = probe.uid;
            }
            Err(error) => asked.obstacles.push(Obstacle::NoAgent(error.message)),
        }
        if let Ok(addresses) = addresses {
            asked.addresses = (self.world.address_rule)(&addresses);
            if asked.addresses.is_empty() {
                asked.obstacles.push(Obstacle::NoAddress);
            }
        }
        Ok(asked)
    }
}
