//! Duties that no job carries any more: drained and retired as soon as that can be done.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Requests;
use crate::handover::grant::without_grant;
use crate::handover::record::{Duty, Place};
use crate::handover::verdict;
use crate::handover::world::StepError;
use crate::model::disk::DiskSerial;
use crate::model::guest::GuestDomain;
use crate::model::ids::{GuestId, ServiceId};
use crate::model::name::DnsName;
use crate::model::service::ServiceRecord;
use crate::ports::{GuestStep, Half};

/// How often open duties are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// How long one uninstall in a guest may take.
const UNINSTALL: Duration = Duration::from_secs(60);

/// Duties that are not carried because the zone says otherwise: each is told once.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<BTreeSet<(ServiceId, GuestId)>>);

impl Doubts {
    fn is_new(&self, duty: &Duty) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((duty.service.clone(), duty.guest))
    }
}

impl Requests {
    /// Looks at open duties for as long as the daemon runs.
    pub async fn carry_duties(&self) {
        loop {
            self.world.clock.sleep(EVERY).await;
            match self.world.table.duties().await {
                Ok(duties) => {
                    for duty in duties {
                        self.carry(duty).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "duties cannot be read"),
            }
        }
    }

    /// Looks at what one guest still owes, now: its agent has begun to speak.
    pub(super) async fn carry_duties_of(&self, guest: GuestId) {
        match self.world.table.duties().await {
            Ok(duties) => {
                for duty in duties.into_iter().filter(|duty| duty.guest == guest) {
                    self.carry(duty).await;
                }
            }
            Err(error) => tracing::warn!(%error, "duties cannot be read"),
        }
    }

    async fn carry(&self, duty: Duty) {
        if self.still_serves(&duty).await || self.is_carried_by_a_job(&duty).await {
            return;
        }
        match self.retire(&duty).await {
            Ok(true) => {
                tracing::info!(service = %duty.service, guest = %duty.guest, "duty fulfilled");
                // Where an old copy was, a standby may be wanted.
                self.standbys.is_back(duty.guest);
            }
            Ok(false) => {}
            Err(StepError::Refused(reason)) => {
                tracing::debug!(service = %duty.service, guest = %duty.guest, "duty still owed: {}", reason.text);
            }
            Err(StepError::Failed(text)) => {
                tracing::debug!(service = %duty.service, guest = %duty.guest, "duty still owed: {text}");
            }
        }
    }

    /// Whether the old copy is to go on serving: until its time is over, or the service is stopped or gone.
    async fn still_serves(&self, duty: &Duty) -> bool {
        let row = self.world.table.service(&duty.service).await;
        let up = row.is_ok_and(|row| row.is_some_and(|row| row.wanted.wants_running()));
        up && self.world.clock.now() < duty.serve_until
    }

    async fn is_carried_by_a_job(&self, duty: &Duty) -> bool {
        let Ok(open) = self.world.table.unfinished().await else {
            return true;
        };
        open.iter()
            .any(|h| h.service == duty.service && h.source.as_ref().is_some_and(|p| p.guest == duty.guest))
    }

    /// Looks, takes away what is left, looks again; whether nothing is left.
    async fn retire(&self, duty: &Duty) -> Result<bool, StepError> {
        let world = &self.world;
        let _guard = world.service_lock(&duty.service).await;
        let Some(duty) =
            world.table.duties().await?.into_iter().find(|d| {
                d.service == duty.service && d.guest == duty.guest && d.generation == duty.generation
            })
        else {
            return Ok(false);
        };
        // One may have begun since: an upgrade back needs what is owed here.
        if self.is_carried_by_a_job(&duty).await {
            return Ok(false);
        }
        let Some(domain) = world.hypervisor.inspect(duty.guest).await? else {
            return Ok(false);
        };
        let place = Place {
            guest: duty.guest,
            guest_name: domain.summary.name.clone(),
            host: domain.summary.host.clone(),
            digest: duty.digest.clone(),
            files: duty.files.clone(),
        };
        let (placement, bundle) = world.placement(&place).await?;
        let row = world.table.service(&duty.service).await?;
        if row.as_ref().is_some_and(|row| row.frozen.is_some()) {
            return Ok(false);
        }
        let name = row
            .as_ref()
            .map_or(bundle.manifest.dns.as_ref(), |row| row.dns.as_ref());
        if let Some(name) = name.map(|dns| &dns.name)
            && self.zone_leads_to(&duty, name, row.as_ref()).await?
        {
            let text = format!(
                "the zone leads {name} to {guest} by what the table does not know: an old copy may have replaced the table, or \
                 somebody changed the zone; {service} is not taken from {guest} (see `handoverctl audit`)",
                guest = domain.summary.name,
                service = duty.service,
            );
            if self.doubts.is_new(&duty) {
                tracing::warn!("{text}");
            }
            return Err(StepError::Failed(text));
        }
        // An upgrade in place leaves the disk of the bundle before on the service's home.
        let home = row.filter(|row| row.guest == duty.guest);
        let serials = self.disks_to_take(&duty.service, home.as_ref()).await?;
        let has = |domain: &GuestDomain| verdict::any_halves(domain, serials.iter());
        for serial in serials
            .iter()
            .filter(|serial| verdict::disk_halves(&domain, serial).1)
        {
            world.hypervisor.take(duty.guest, Half::Config, serial).await?;
        }
        let mut copy = None;
        if domain.summary.is_running() {
            if home.is_none() {
                let attempt = world.table.next_attempt(&duty.service).await?;
                let step = GuestStep::Uninstall;
                let done = world
                    .guest
                    .act(duty.guest, &placement, step, attempt, UNINSTALL)
                    .await;
                copy = Some(done);
            }
            for serial in serials
                .iter()
                .filter(|serial| verdict::disk_halves(&domain, serial).0)
            {
                world.hypervisor.take(duty.guest, Half::Live, serial).await?;
            }
        }
        world
            .hypervisor
            .delete_spent_grants(duty.guest, &duty.service)
            .await?;
        if !domain.summary.is_running() && (home.is_none() || domain.summary.managed_save) {
            return Ok(false);
        }
        let copy = copy.transpose()?;
        let Some(domain) = world.hypervisor.inspect(duty.guest).await? else {
            return Ok(false);
        };
        let spent = world.hypervisor.spent_grants(duty.guest, &duty.service).await?;
        let seen = without_grant(verdict::gone(has(&domain), copy.as_ref()), &spent);
        if seen == verdict::Seen::Holds {
            world
                .table
                .fulfil(&duty.service, duty.guest, duty.generation)
                .await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether the guest of a duty may be the home of what has that name. The name of a service that was removed may have been
    /// given to another one, whose row tells then.
    async fn zone_leads_to(
        &self,
        duty: &Duty,
        name: &DnsName,
        row: Option<&ServiceRecord>,
    ) -> Result<bool, StepError> {
        let world = &self.world;
        if world.names.zone_of(name).is_none() {
            return Ok(false);
        }
        let has_name = |row: &ServiceRecord| row.dns.as_ref().is_some_and(|dns| dns.name == *name);
        let row = match row {
            Some(row) => Some(row.clone()),
            None => world.table.services().await?.into_iter().find(has_name),
        };
        let records = world.names.read(name).await?;
        Ok(verdict::may_be_home(&records, duty.guest, row.as_ref()))
    }

    /// The serials of every disk that a service may have had on a guest; at its home all but those that it runs by.
    async fn disks_to_take(
        &self,
        service: &ServiceId,
        home: Option<&ServiceRecord>,
    ) -> Result<Vec<DiskSerial>, StepError> {
        let bundles = self.world.table.bundles().await?;
        let mut serials: Vec<DiskSerial> = bundles
            .iter()
            .filter(|bundle| bundle.manifest.service == *service)
            .filter(|bundle| home.is_none_or(|row| row.bundle != bundle.digest))
            .map(|bundle| DiskSerial::of(service, &bundle.digest))
            .collect();
        if home.is_none() {
            serials.push(DiskSerial::of_volume(service));
        }
        Ok(serials)
    }
}
