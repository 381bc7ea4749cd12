//! Whether a guest will do for a service, and what the service is seen to be where it is: both asked before a job begins.

use std::net::IpAddr;

use futures_util::future::{join, try_join};

use super::Requests;
use super::refusal::Refusal;
use crate::handover::record::{Facts, Place};
use crate::handover::verdict;
use crate::model::guest::GuestSummary;
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
