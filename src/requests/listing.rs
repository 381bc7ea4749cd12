//! Rows for lists: services, guests, jobs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::future::join_all;

use super::Requests;
use super::jobs::JobView;
use super::refusal::Refusal;
use crate::model::guest::GuestSummary;
use crate::model::ids::{GuestId, HostId, JobId};
use crate::model::needs::Label;
use crate::model::obstacle::Obstacle;
use crate::model::service::ServiceRecord;
use crate::model::standby::StandbyState;
use crate::plan::load::Load;
use crate::plan::preflight;
use crate::ports::JobRecord;

/// A service with what its bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRow {
    /// As the table has it.
    pub service: ServiceRecord,
    /// The host of its guest: after a migration not the table's, which is that of the last commit.
    pub host: HostId,
    /// Its bundle's version.
    pub version: String,
    /// Where its data volume is mounted; empty without one.
    pub mount_point: String,
    /// The names of the guests that are its standbys, and how far each is.
    pub standbys: Vec<(String, StandbyState)>,
    /// Its guest is off or saved, and so it does not run although it is to.
    pub is_down: bool,
}

/// A guest with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRow {
    /// As libvirt lists it.
    pub summary: GuestSummary,
    /// `connected`, `disconnected`, or `off`.
    pub agent: &'static str,
    /// What its agent reports.
    pub addresses: Vec<IpAddr>,
    /// The one that would be published.
    pub address: Option<IpAddr>,
    /// Ids of the services whose home it is.
    pub services: Vec<String>,
    /// Its labels, from the configuration and its metadata.
    pub labels: BTreeSet<Label>,
    /// Its load, where that is known.
    pub load: Option<Load>,
    /// Why and how long yet it is in maintenance; `None`: it is not.
    pub maintenance: Option<String>,
    /// How the watcher sees it, such as `up` or `dead`; empty: it has no services, and is not watched.
    pub watch: &'static str,
    /// Those of its services that would have no home if it died, as it was seen last.
    pub homeless: Vec<String>,
    /// What is in the way of it as a target.
    pub obstacles: Vec<Obstacle>,
}

impl Requests {
    /// All guests; `probe` asks inside each what is in the way, else only libvirt and the agent are asked.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn guest_rows(&self, only: Option<&str>, probe: bool) -> Result<Vec<GuestRow>, Refusal> {
        let guests = match only {
            Some(text) => vec![self.guest(text).await?],
            None => self.guests().await,
        };
        let services = self.world.table.services().await?;
        let measured = self.loads.last(&guests);
        let (now, maintenance) = (self.world.clock.now(), self.maintenance().await?);
        let rows = guests
            .into_iter()
            .map(|guest| self.guest_row(guest, &services, probe));
        let mut rows = join_all(rows).await;
        let (standings, standing) = (self.evacuations.standings(), self.homes.standing());
        let losses = standing.map_or_else(Vec::new, |standing| standing.losses);
        for row in &mut rows {
            let guest = &row.summary;
            row.load = measured.get(&guest.id).and_then(|measured| measured.load);
            row.maintenance = maintenance.of_guest(now, guest.id, &guest.host);
            row.watch = standings.get(&guest.id).map_or("", |seen| seen.word);
            if let Some(loss) = losses.iter().find(|loss| loss.guest == guest.id) {
                row.homeless = loss.homeless.iter().map(|(id, _)| id.to_string()).collect();
            }
        }
        Ok(rows)
    }

    async fn guest_row(&self, summary: GuestSummary, services: &[ServiceRecord], probe: bool) -> GuestRow {
        let agent = match (summary.is_running(), summary.agent_connected) {
            (false, _) => "off",
            (true, true) => "connected",
            (true, false) => "disconnected",
        };
        let addresses = if agent == "connected" {
            self.world.guest.addresses(summary.id).await.unwrap_or_default()
        } else {
            Vec::new()
        };
        let obstacles = if probe {
            match self.ask(&summary, &preflight::any_service(), None, true).await {
                Ok(asked) => asked.obstacles,
                Err(refusal) => vec![Obstacle::NoAgent(refusal.to_string())],
            }
        } else {
            self.outer_obstacles(&summary).await
        };
        GuestRow {
            address: (self.world.address_rule)(&addresses).first().copied(),
            services: services
                .iter()
                .filter(|s| s.guest == summary.id)
                .map(|s| s.id.to_string())
                .collect(),
            agent,
            addresses,
            labels: self.labels.of(&summary),
            load: None,
            maintenance: None,
            watch: "",
            homeless: Vec::new(),
            obstacles,
            summary,
        }
    }

    async fn outer_obstacles(&self, summary: &GuestSummary) -> Vec<Obstacle> {
        let Ok(Some(domain)) = self.world.hypervisor.inspect(summary.id).await else {
            return Vec::new();
        };
        let mut found = preflight::domain_obstacles(&domain, None, &self.world.host);
        if domain.summary.is_running() {
            match self.world.guest.agent(summary.id).await {
                Ok(info) => found.extend(preflight::agent_obstacles(&info)),
                Err(error) => found.push(Obstacle::NoAgent(error.message)),
            }
        }
        found
    }

    /// Services by id, of one guest if given, from behind `after`.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn service_rows(
        &self,
        guest: Option<GuestId>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ServiceRow>, Refusal> {
        let bundles = self.world.table.bundles().await?;
        let standbys = self.world.table.standbys().await?;
        let standings = self.evacuations.standings();
        let row = |service: ServiceRecord| {
            let manifest = bundles
                .iter()
                .find(|b| b.digest == service.bundle)
                .map(|b| &b.manifest);
            let data = manifest.and_then(|m| m.data.as_ref());
            let own = standbys.iter().filter(|standby| standby.service == service.id);
            let seen = standings.get(&service.guest);
            let is_off = seen.is_some_and(|seen| ["grace", "dead", "left", "asleep"].contains(&seen.word));
            ServiceRow {
                standbys: own
                    .map(|standby| (standby.guest_name.clone(), standby.state))
                    .collect(),
                version: manifest.map(|m| m.version.clone()).unwrap_or_default(),
                mount_point: data.map(|d| d.mount_point.clone()).unwrap_or_default(),
                is_down: service.wanted.wants_running() && is_off,
                host: seen.map_or(&service.host, |seen| &seen.home).clone(),
                service,
            }
        };
        let services = self.world.table.services().await?.into_iter();
        let wanted = services
            .filter(|s| guest.is_none_or(|g| s.guest == g) && after.is_none_or(|a| s.id.as_str() > a));
        Ok(wanted.take(limit).map(row).collect())
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn job_rows(
        &self,
        before: Option<JobId>,
        limit: u32,
        object: Option<&str>,
    ) -> Result<Vec<JobView>, Refusal> {
        let records = self.world.table.jobs(before, limit).await?;
        let wanted = records
            .into_iter()
            .filter(|r| object.is_none_or(|o| r.object == o));
        let mut views = Vec::new();
        for record in wanted {
            views.push(match self.jobs.view(record.id) {
                Some(view) => view,
                None => self.ended_view(record).await?,
            });
        }
        Ok(views)
    }

    /// The view of a job that only the table remembers.
    ///
    /// # Errors
    /// The table cannot be read.
    async fn ended_view(&self, record: JobRecord) -> Result<JobView, Refusal> {
        let handover = self.world.table.handover(record.id).await?;
        let members = match &handover {
            Some(_) => Vec::new(),
            None => self
                .world
                .table
                .batch(record.id)
                .await?
                .map_or_else(Vec::new, |batch| batch.members),
        };
        Ok(JobView {
            step: String::new(),
            waiting: String::new(),
            progress: 1.0,
            cancelable: false,
            gap: handover.and_then(|handover| handover.facts.gap),
            members,
            record,
        })
    }
}
