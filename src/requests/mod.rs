//! Requests become jobs: what is meant is found, what cannot be is refused, the rest is a handover.
//!
//! Nothing here knows D-Bus; [`crate::bus`] is one of its callers.

pub mod audit;
pub mod balance;
pub mod batch;
pub mod bundles;
mod cluster;
mod data;
pub mod duties;
mod early;
pub mod evacuation;
mod fencing;
pub mod find;
pub mod homes;
pub mod jobs;
pub mod listing;
pub mod loads;
pub mod maintenance;
mod moves;
pub mod planning;
pub mod plans;
pub mod refusal;
pub mod standbys;
pub mod suitability;
pub mod watching;

use std::sync::Arc;

use futures_util::future::join;
use futures_util::lock::Mutex;

use crate::config::{BalanceSettings, GuestLabels};
use crate::handover::goals::Kind;
use crate::handover::machine::State;
use crate::handover::record::{Facts, Handover, Place};
use crate::handover::world::World;
use crate::model::guest::GuestSummary;
use crate::model::ids::{Digest, Generation, JobId, ServiceId};
use crate::model::life::{Enablement, LifeState};
use crate::model::name::replaced;
use crate::model::placement::PlacedFile;
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::ports::{JobRecord, TableError};

use evacuation::Evacuations;
use homes::Homes;
use jobs::Jobs;
use loads::Loads;
use plans::Plans;
use refusal::Refusal;

/// Files of the environment as a caller gives them: name in the manifest, content.
pub type GivenFiles = Vec<(String, Vec<u8>)>;

/// Options of a deploy.
#[derive(Debug, Clone, Default)]
pub struct DeployOptions {
    /// It is deployed without being started.
    pub stopped: bool,
    /// A name that is there already may be taken over.
    pub take_over: bool,
    /// Config and secrets.
    pub files: GivenFiles,
}

/// Options of a move or an upgrade.
#[derive(Debug, Clone, Default)]
pub struct MoveOptions {
    /// How long the source keeps serving after the commit, in milliseconds; `None`: the old TTL and the margin.
    pub drain: Option<u64>,
    /// Config and secrets that replace those of the service.
    pub files: GivenFiles,
    /// What is for all services of a guest.
    pub batch: BatchChoices,
    /// The batch that says when the move goes on once the name's TTL is lowered.
    pub held_by: Option<JobId>,
}

/// What a caller may choose where all services of a guest are moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchChoices {
    /// What can be moved is, although no guest fits for some services.
    pub partial: bool,
    /// How many services are worked on at once; `None`: as configured.
    pub parallel: Option<u32>,
    /// How many of them on one target guest.
    pub per_guest: Option<u32>,
    /// How many of them on the guests of one host.
    pub per_host: Option<u32>,
}

/// How many members of a batch are worked on at once, where its caller does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// In all.
    pub parallel: u32,
    /// On one target guest.
    pub per_guest: u32,
    /// On the guests of one host.
    pub per_host: u32,
}

/// Turns requests into jobs.
pub struct Requests {
    /// The world.
    pub world: Arc<World>,
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// What audits have come to.
    pub audits: audit::Audits,
    /// How loaded guests are.
    pub loads: Arc<dyn Loads>,
    /// Plans that may still be begun.
    pub plans: Plans,
    /// Whether services of dead guests are moved.
    pub evacuations: Evacuations,
    /// Whether services would have a home if their guest died.
    pub homes: Homes,
    /// What is configured of single guests.
    pub labels: GuestLabels,
    /// How the evening out of loads stands.
    pub balancing: balance::Balancing,
    /// Whether and how loads are evened out.
    balance: BalanceSettings,
    /// Tells that standbys may be to be looked at.
    pub standbys: standbys::Nudge,
    doubts: duties::Doubts,
    limits: BatchLimits,
    /// One plan is made and begun at a time: the next one counts what the last one has taken.
    deciding: Mutex<()>,
}

impl Requests {
    /// Requests over a world; `limits` hold where a caller gives none.
    pub fn new(world: Arc<World>, jobs: Arc<Jobs>, loads: Arc<dyn Loads>, limits: BatchLimits) -> Self {
        Self {
            world,
            jobs,
            loads,
            plans: Plans::default(),
            evacuations: Evacuations::default(),
            homes: Homes::default(),
            labels: GuestLabels::default(),
            doubts: duties::Doubts::default(),
            balancing: balance::Balancing::default(),
            balance: BalanceSettings::default(),
            standbys: standbys::Nudge::default(),
            audits: audit::Audits::default(),
            limits,
            deciding: Mutex::new(()),
        }
    }

    /// The same, with what is configured of single guests.
    #[must_use]
    pub fn with_labels(self, labels: GuestLabels) -> Self {
        Self { labels, ..self }
    }

    /// The same, with what is configured of the evening out of loads.
    #[must_use]
    pub fn with_balance(self, balance: BalanceSettings) -> Self {
        Self { balance, ..self }
    }

    /// Deploys a bundle's service to a guest.
    ///
    /// # Errors
    /// What the request names is not there, is there already, or will not do.
    pub async fn deploy(
        &self,
        bundle: &str,
        target: &str,
        options: DeployOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let bundle = self.bundle(bundle).await?;
        let service = bundle.manifest.service.clone();
        if self.world.table.service(&service).await?.is_some() {
            return Err(Refusal::AlreadyDeployed(service.to_string()));
        }
        self.check_name(&bundle).await?;
        let files = crate::model::placement::environment(&bundle.manifest, &options.files)
            .map_err(|e| Refusal::InvalidArgument(e.to_string()))?;
        let target = self.guest(target).await?;
        self.refuse_maintained(&target).await?;
        self.refuse_unfit(&target, &bundle)?;
        let volume = self.volume_for_deploy(&bundle, &target).await?;
        let fit = self.preflight(&target, &bundle, files, None, false).await?;
        let life = match (options.stopped, bundle.manifest.dns.is_some()) {
            (true, _) => LifeState::Stopped,
            (false, true) => LifeState::Accessible,
            (false, false) => LifeState::Running,
        };
        let mut facts = facts_of(&bundle, life, Enablement::Enabled);
        facts.take_over = options.take_over;
        facts.volume = volume;
        facts.target_addresses = fit.addresses;
        facts.uid = fit.uid;
        self.begin(
            Kind::Deploy,
            "deploy",
            &service,
            None,
            fit.place,
            Generation(1),
            facts,
            who,
        )
        .await
    }

    /// Gives a service a new bundle, on its guest or on another.
    ///
    /// # Errors
    /// As [`Requests::deploy`].
    pub async fn upgrade(
        &self,
        service: &str,
        bundle: &str,
        target: Option<&str>,
        options: MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let service = self.service(service).await?;
        let bundle = self.bundle(bundle).await?;
        if bundle.manifest.service != service.id {
            return Err(Refusal::WrongService(
                bundle.digest.short().to_owned(),
                bundle.manifest.service.to_string(),
                service.id.to_string(),
            ));
        }
        refuse_frozen(&service)?;
        let old = self.bundle_of(&service).await?;
        if old.manifest.dns.as_ref().map(|d| &d.name) != bundle.manifest.dns.as_ref().map(|d| &d.name) {
            return Err(Refusal::InvalidArgument(format!(
                "bundle {} has another DNS name than {} has now; an upgrade cannot change it: remove the service and deploy it anew",
                bundle.digest.short(),
                service.id
            )));
        }
        data::check_upgrade(&service.id, &old.manifest, &bundle.manifest)?;
        let target = match target {
            Some(text) => self.guest(text).await?,
            None => self.guest(&service.guest.to_string()).await?,
        };
        let in_place = target.id == service.guest;
        if in_place && bundle.digest == service.bundle {
            return Err(Refusal::AlreadyThere(format!(
                "{} already runs bundle {} on {}",
                service.id,
                bundle.digest.short(),
                target.name
            )));
        }
        if !in_place {
            if !old.manifest.movable {
                return Err(Refusal::NotMovable(service.id.to_string()));
            }
            self.refuse_maintained(&target).await?;
            self.refuse_unfit(&target, &bundle)?;
        }
        let files = carried_files(&bundle, &service, &options.files)?;
        let volume = self.volume_for_move(&service, &bundle.manifest, &target).await?;
        let displaces = in_place || self.has_duty(&service.id, &target, &bundle.digest).await?;
        let (fit, seen) = join(
            self.preflight(&target, &bundle, files, service.uid, displaces),
            self.seen(&service, &old),
        )
        .await;
        let fit = fit?;
        let mut facts = facts_of(&bundle, service.wanted, service.enablement);
        facts.srv = replaced(&old.manifest.srv, &bundle.manifest.srv);
        facts.drain = options.drain;
        facts.volume = volume;
        self.enter(&mut facts, seen, fit.addresses);
        let kind = if in_place { Kind::Replace } else { Kind::Move };
        let next = service.generation.next();
        let source = Some(place_of(&service));
        self.begin(kind, "upgrade", &service.id, source, fit.place, next, facts, who)
            .await
    }

    /// Starts a stopped service where it is.
    ///
    /// # Errors
    /// It is not there, frozen, or its guest does not run.
    pub async fn start(&self, service: &str, who: &str) -> Result<JobId, Refusal> {
        let service = self.service(service).await?;
        let life = if service.dns.is_some() {
            LifeState::Accessible
        } else {
            LifeState::Running
        };
        let facts = self.facts_in_place(&service, life).await?;
        self.in_place(Kind::Start, "start", service, facts, who).await
    }

    /// Stops a service where it is; its name stays where it points.
    ///
    /// # Errors
    /// As [`Requests::start`].
    pub async fn stop(&self, service: &str, who: &str) -> Result<JobId, Refusal> {
        let service = self.service(service).await?;
        let facts = self.facts_in_place(&service, LifeState::Stopped).await?;
        self.in_place(Kind::Stop, "stop", service, facts, who).await
    }

    /// Removes a service: its name, its units, its disks, its row. The bundle stays registered, and the data volume stays
    /// in the pool unless `delete_data`.
    ///
    /// # Errors
    /// It is not there, or frozen.
    pub async fn remove(&self, service: &str, delete_data: bool, who: &str) -> Result<JobId, Refusal> {
        let service = self.service(service).await?;
        let mut facts = self.facts_in_place(&service, service.wanted).await?;
        facts.delete_data = delete_data;
        self.in_place(Kind::Remove, "remove", service, facts, who).await
    }

    async fn facts_in_place(&self, service: &ServiceRecord, life: LifeState) -> Result<Facts, Refusal> {
        let bundle = self.bundle_of(service).await?;
        let mut facts = facts_of(&bundle, life, service.enablement);
        facts.volume.clone_from(&service.volume);
        Ok(facts)
    }

    async fn in_place(
        &self,
        kind: Kind,
        operation: &str,
        service: ServiceRecord,
        facts: Facts,
        who: &str,
    ) -> Result<JobId, Refusal> {
        refuse_frozen(&service)?;
        let guest = self.world.hypervisor.inspect(service.guest).await?;
        let runs = guest.as_ref().is_some_and(|g| g.summary.is_running());
        if !runs && kind != Kind::Remove {
            let state = guest.map_or("not found", |g| g.summary.state.as_str());
            return Err(Refusal::Unsuitable(
                service.guest_name,
                format!("it is {state}; start the guest first"),
            ));
        }
        let place = place_of(&service);
        let id = service.id.clone();
        self.begin(
            kind,
            operation,
            &id,
            Some(place.clone()),
            place,
            service.generation,
            facts,
            who,
        )
        .await
    }

    /// A name must lie in a configured zone and belong to no other service.
    async fn check_name(&self, bundle: &BundleRecord) -> Result<(), Refusal> {
        let Some(dns) = &bundle.manifest.dns else {
            return Ok(());
        };
        if self.world.names.zone_of(&dns.name).is_none() {
            return Err(Refusal::NameOutsideZones(dns.name.to_string()));
        }
        let services = self.world.table.services().await?;
        match services
            .iter()
            .find(|s| s.dns.as_ref().is_some_and(|d| d.name == dns.name))
        {
            Some(other) => Err(Refusal::NameTaken(dns.name.to_string(), other.id.to_string())),
            None => Ok(()),
        }
    }

    /// Whether an old copy of the service is still to be retired on the target: the handover takes its place.
    ///
    /// # Errors
    /// It is a copy of another bundle: units that are up already are not started again, so its program would stay.
    async fn has_duty(
        &self,
        service: &ServiceId,
        target: &GuestSummary,
        digest: &Digest,
    ) -> Result<bool, Refusal> {
        let duties = self.world.table.duties().await?;
        match duties
            .iter()
            .find(|d| d.service == *service && d.guest == target.id)
        {
            Some(duty) if duty.digest != *digest => Err(Refusal::Unsuitable(
                target.name.clone(),
                format!(
                    "its old copy of {service} with bundle {} is still to be retired; ask again when it is gone",
                    duty.digest.short()
                ),
            )),
            found => Ok(found.is_some()),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each part of the record is named once, where it is put together"
    )]
    async fn begin(
        &self,
        kind: Kind,
        operation: &str,
        service: &ServiceId,
        source: Option<Place>,
        target: Place,
        generation: Generation,
        facts: Facts,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let now = self.world.clock.now();
        let mut job = JobRecord {
            id: JobId(0),
            operation: operation.to_owned(),
            object: service.to_string(),
            source: source.as_ref().map(|p| p.guest_name.clone()).unwrap_or_default(),
            target: target.guest_name.clone(),
            started_by: who.to_owned(),
            started: now,
            finished: None,
            result: None,
            error_name: String::new(),
            error_details: String::new(),
        };
        let handover = Handover {
            id: self.jobs.new_id(),
            job: JobId(0),
            kind,
            service: service.clone(),
            source,
            target,
            generation,
            state: State::first(kind),
            committed: false,
            reason: None,
            facts,
        };
        let what = format!("{operation} {} {} -> {}", job.object, job.source, job.target);
        let begun = match self.world.table.begin(&job, &handover).await {
            Ok(handover) => handover,
            Err(error @ TableError::Busy { .. }) => {
                self.world
                    .table
                    .audit(now, who, &what, &error.to_string())
                    .await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        job.id = begun.job;
        let decision = format!("job {}", begun.job);
        // The job's own row says who asked. Refused here, it would hold the service and never run.
        if let Err(error) = self.world.table.audit(now, who, &what, &decision).await {
            tracing::warn!(%error, what, decision, "the audit cannot be written");
        }
        Ok(self.jobs.spawn(begun, job))
    }

    /// Takes up what an earlier daemon left unfinished, and shows what it left stuck.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn take_up_unfinished(&self) -> Result<usize, Refusal> {
        self.jobs.show_stuck().await?;
        let open = self.world.table.unfinished().await?;
        let count = open.len();
        for handover in open {
            if let Some(record) = self.world.table.job(handover.job).await? {
                tracing::info!(job = handover.job.0, service = %handover.service, "takes up an unfinished handover");
                self.jobs.spawn(handover, record);
            }
        }
        Ok(count)
    }
}

fn refuse_frozen(service: &ServiceRecord) -> Result<(), Refusal> {
    match &service.frozen {
        Some(why) => Err(Refusal::Frozen(service.id.to_string(), why.clone())),
        None => Ok(()),
    }
}

fn place_of(service: &ServiceRecord) -> Place {
    Place {
        guest: service.guest,
        guest_name: service.guest_name.clone(),
        host: service.host.clone(),
        digest: service.bundle.clone(),
        files: service.files.clone(),
    }
}

/// What is known before anything was looked at.
fn facts_of(bundle: &BundleRecord, life: LifeState, enablement: Enablement) -> Facts {
    Facts {
        name: bundle.manifest.dns.as_ref().map(|d| d.name.clone()),
        ttl: bundle.manifest.dns.as_ref().map_or(60, |d| d.ttl),
        srv: bundle.manifest.srv.clone(),
        overlap: bundle.manifest.overlap,
        life,
        observed_at: None,
        observed_row: None,
        observed: None,
        down: false,
        enablement,
        uid: None,
        target_addresses: Vec::new(),
        old_addresses: Vec::new(),
        old_ttl: 0,
        lowering: None,
        lead: None,
        held_by: None,
        old_owner: None,
        claim_sent: false,
        claim_again: false,
        claimed_from: Vec::new(),
        claim_seen: false,
        take_over: false,
        sent: false,
        published_at: None,
        drain: None,
        spread_at: None,
        unasked: Vec::new(),
        displaced: None,
        standby: false,
        retire_owed: false,
        source_dead: false,
        volume: None,
        volume_made: false,
        delete_data: false,
        silent: None,
        revoked: None,
        gap_began: None,
        gap: None,
    }
}

/// Files for an upgraded bundle: those that are given, and for the rest those that the service has at the same path.
fn carried_files(
    bundle: &BundleRecord,
    service: &ServiceRecord,
    given: &GivenFiles,
) -> Result<Vec<PlacedFile>, Refusal> {
    let mut all = given.clone();
    for wanted in bundle.manifest.config.iter().chain(&bundle.manifest.secrets) {
        if all.iter().any(|(name, _)| *name == wanted.name) {
            continue;
        }
        if let Some(old) = service.files.iter().find(|f| f.path == wanted.path) {
            all.push((wanted.name.clone(), old.content.clone()));
        }
    }
    crate::model::placement::environment(&bundle.manifest, &all)
        .map_err(|e| Refusal::InvalidArgument(e.to_string()))
}
