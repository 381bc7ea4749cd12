//! Decides where services go: the planner is asked with the guests and services as they are now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Requests;
use super::cluster::{Look, Moving};
use super::refusal::Refusal;
use crate::handover::goals::Kind;
use crate::model::guest::GuestSummary;
use crate::model::ids::{Generation, GuestId, HostId, JobId, ServiceId};
use crate::model::life::LifeState;
use crate::model::needs::Needs;
use crate::model::obstacle::Obstacle;
use crate::model::service::{Millis, ServiceRecord};
use crate::plan::batch::{Batch as Schedule, BatchError, Limits, Outcome, Task};
use crate::plan::choice::NoHome;
use crate::plan::cluster::{Cluster, ServiceView};
use crate::plan::decided::{Entry as Planned, Plan, Terms};
use crate::plan::fit;
use crate::plan::load::Share;
use crate::plan::placement::Question;
use crate::plan::strategy::{Strategy, TargetName};
use crate::plan::what_if;

/// What a service is expected to take that was never moved.
pub(super) const EXPECTED: Duration = Duration::from_secs(10);
/// How many guests are named where many were not taken for the same reason.
const NAMED: usize = 8;
/// How many services without a home a refusal tells of.
const TOLD: usize = 10;

/// A guest that a service goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The guest.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: HostId,
    /// Its load before and with the service.
    pub load: Option<(Share, Share)>,
}

/// What is decided for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The service.
    pub service: ServiceId,
    /// Its generation when that was decided.
    pub generation: Generation,
    /// The name of the guest where it is.
    pub source: String,
    /// Where it goes; `None`: nowhere.
    pub target: Option<Target>,
    /// Why there, or why nowhere.
    pub why: String,
    /// The job by which it is on its way there already.
    pub job: Option<JobId>,
    /// The life state that it has and will have.
    pub wanted: LifeState,
    /// How old the look at its life state is, where that is too old to be relied on.
    pub stale: Option<Duration>,
    /// Its DNS name.
    pub name: Option<String>,
    /// How long its handover is expected to take; `None`: nothing is known of that.
    pub expected: Option<Duration>,
    /// Of its manifest.
    pub priority: i32,
    /// Of its manifest.
    pub after: Vec<ServiceId>,
    /// The guests that were not taken, and why.
    pub rejected: Vec<(String, String)>,
}

impl Entry {
    /// Why it has no target, with what speaks against each guest.
    pub fn why_nowhere(&self) -> String {
        let rejected: Vec<String> = self
            .rejected
            .iter()
            .map(|(guest, why)| format!("{guest}: {why}"))
            .collect();
        match rejected.is_empty() {
            true => self.why.clone(),
            false => format!("{} ({})", self.why, rejected.join(", ")),
        }
    }

    /// The task of a batch for it; `None`: it has no target.
    fn task(&self) -> Option<Task> {
        let target = self.target.as_ref()?;
        Some(Task {
            service: self.service.clone(),
            target: target.guest,
            host: target.host.clone(),
            runs: self.wanted.wants_running(),
            priority: self.priority,
            after: self.after.clone(),
            expected: self.expected.unwrap_or(EXPECTED),
        })
    }
}

/// What is decided for all of them, in the order in which they are to begin; those without a target come last.
#[derive(Debug, Clone)]
pub struct Decided {
    /// How guests were chosen.
    pub strategy: Strategy,
    /// The strategy for people: a guest's name, or its word.
    pub told: String,
    /// How the guests' load was known; empty if it was measured.
    pub load: String,
    /// The services.
    pub entries: Vec<Entry>,
    /// How long all of it is expected to take, where anything is known of that.
    pub expected: Option<Duration>,
    /// What the planner has decided, of services that are not on their way already.
    pub plan: Plan,
    /// What may begin when.
    pub(super) schedule: Schedule,
}

impl Decided {
    /// Counts in how long services wait for resolvers to forget a long TTL before they move; all of them at the same time.
    pub(super) fn wait_first(&mut self, waits: &BTreeMap<ServiceId, Duration>) {
        if waits.is_empty() {
            return;
        }
        self.expected = Some(self.schedule.expected_after(waits));
        for entry in &mut self.entries {
            if let Some(wait) = waits.get(&entry.service) {
                entry.expected = Some(wait.saturating_add(entry.expected.unwrap_or(EXPECTED)));
            }
        }
    }

    /// The services that no guest fits.
    pub fn homeless(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.target.is_none())
    }

    /// Refuses if a service has no home, unless that was said to be all right and another one has.
    pub(super) fn check_whole(&self, object: &str, partial: bool) -> Result<(), Refusal> {
        let homeless: Vec<&Entry> = self.homeless().collect();
        if homeless.is_empty() || (partial && homeless.len() < self.entries.len()) {
            return Ok(());
        }
        let told: Vec<String> = homeless
            .iter()
            .take(TOLD)
            .map(|entry| format!("{}: {}", entry.service, entry.why_nowhere()))
            .collect();
        let more = match homeless.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let way = if homeless.len() == self.entries.len() {
            "`handoverctl plan` tells all of it"
        } else {
            "--partial moves the others"
        };
        Err(Refusal::NoGuestFits(format!(
            "no guest fits for {} of {} services of {object}, and nothing was begun: {}{more}; {way}",
            homeless.len(),
            self.entries.len(),
            told.join("; ")
        )))
    }
}

/// Which services of a guest are decided about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// All of them.
    All,
    /// One.
    One(&'a ServiceId),
    /// One that has failed on other guests a moment ago.
    Again {
        service: &'a ServiceId,
        /// The guests, and how it failed there.
        tried: &'a [(GuestId, String)],
    },
}

/// What is known of a decision beside the cluster.
struct Context<'a> {
    cluster: &'a Cluster,
    now: Millis,
    records: BTreeMap<ServiceId, ServiceRecord>,
    /// Services that are on their way away already: where to, and by which job.
    leaving: BTreeMap<ServiceId, (GuestId, JobId)>,
}

impl Requests {
    /// The strategy that a target asks for; a guest is found.
    ///
    /// # Errors
    /// No such guest, or it is the source itself.
    pub(super) async fn strategy(
        &self,
        text: &str,
        target: &TargetName,
        source: &GuestSummary,
    ) -> Result<(Strategy, String), Refusal> {
        Ok(match target {
            TargetName::Random(seed) => {
                let seed = seed.unwrap_or_else(|| self.jobs.new_id().0.as_u64_pair().0);
                let strategy = Strategy::Random { seed };
                tracing::info!(%strategy, source = source.name, "draws lots");
                (strategy, strategy.to_string())
            }
            TargetName::LeastLoaded => (Strategy::LeastLoaded, Strategy::LeastLoaded.to_string()),
            TargetName::Spread => (Strategy::Spread, Strategy::Spread.to_string()),
            TargetName::Guest(_) => {
                let guest = self.guest(text).await?;
                if guest.id == source.id {
                    return Err(Refusal::InvalidArgument(format!(
                        "the target {text} is guest {} itself, where the services are; name another guest, or \
                         least-loaded, spread or random",
                        source.name
                    )));
                }
                (Strategy::Named(guest.id), guest.name)
            }
        })
    }

    /// Decides where services of `source` go. Guests that may become targets are asked what is in the way there, as far as
    /// `look` says.
    ///
    /// # Errors
    /// The table cannot be read, or `after` of the manifests has no order.
    pub(super) async fn decide(
        &self,
        look: Look,
        source: &GuestSummary,
        which: Which<'_>,
        (strategy, told): (Strategy, String),
        limits: Limits,
    ) -> Result<Decided, Refusal> {
        let mut cluster = self.cluster(look, Moving::Of(source.id)).await?;
        if let Which::Again { service, tried } = which {
            for (guest, why) in tried {
                cluster.bar(service, *guest, Obstacle::Tried(why.clone()));
            }
        }
        let services: Vec<ServiceId> = match which {
            Which::All => cluster
                .residents(source.id)
                .map(|service| service.id.clone())
                .collect(),
            Which::One(service) | Which::Again { service, .. } => vec![service.clone()],
        };
        let context = Context {
            cluster: &cluster,
            now: self.world.clock.now(),
            records: self.records().await?,
            leaving: self.leaving().await?,
        };
        let to_place: Vec<ServiceId> = services
            .iter()
            .filter(|id| !context.leaving.contains_key(*id))
            .cloned()
            .collect();
        let question = Question {
            services: &to_place,
            strategy,
            gone: &BTreeSet::new(),
        };
        let terms = Terms {
            limits,
            expected: EXPECTED,
            ..Terms::default()
        };
        let plan = Plan::of(&cluster, question, terms, context.now)?;
        let entries = context.entries(&services, &plan, true);
        let known = entries.iter().any(|entry| entry.expected.is_some());
        let (entries, schedule) = in_order(entries, limits)?;
        Ok(Decided {
            strategy,
            told,
            load: self.loads.how().to_owned(),
            entries,
            expected: known.then(|| schedule.expected()),
            plan,
            schedule,
        })
    }

    /// What would become of the services of a guest if it died, or of every guest's: by its name. The guests are as libvirt
    /// lists them, nobody is asked.
    ///
    /// # Errors
    /// The table cannot be read, or there is no such guest.
    pub async fn what_if_dies(&self, guest: Option<&str>) -> Result<Vec<(String, Vec<Entry>)>, Refusal> {
        let only = match guest {
            Some(text) => Some(self.guest(text).await?),
            None => None,
        };
        let moving = only.as_ref().map(|guest| guest.id);
        let terms = Terms::default();
        let cluster = self
            .cluster(Look::Listed, moving.map_or(Moving::None, Moving::Of))
            .await?;
        let context = Context {
            cluster: &cluster,
            now: self.world.clock.now(),
            records: self.records().await?,
            leaving: self.leaving().await?,
        };
        let mut dying: Vec<_> = cluster
            .guests()
            .iter()
            .filter(|guest| moving.is_none_or(|only| guest.id == only))
            .collect();
        dying.sort_by(|a, b| a.name.cmp(&b.name));
        dying
            .into_iter()
            .map(|guest| {
                let plan = what_if::dies(&cluster, guest.id, Strategy::LeastLoaded, terms, context.now)?;
                let entries = context.entries(&ids(&plan), &plan, moving.is_some());
                Ok((guest.name.clone(), entries))
            })
            .collect()
    }

    /// The order of a batch that is taken up again: what has ended is no part of it any more. Manifests that have no order
    /// any more are taken without one.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) async fn schedule(&self, batch: &crate::model::batch::Batch) -> Result<Schedule, Refusal> {
        let hosts: BTreeMap<GuestId, HostId> = self
            .guests()
            .await
            .into_iter()
            .map(|guest| (guest.id, guest.host))
            .collect();
        let mut tasks = Vec::new();
        for member in batch.members.iter().filter(|member| member.result.is_none()) {
            let Some(target) = member.target else { continue };
            let row = self.world.table.service(&member.service).await?;
            let needs = match &row {
                Some(service) => self.bundle_of(service).await?.manifest.needs,
                None => Needs::default(),
            };
            tasks.push(Task {
                service: member.service.clone(),
                target,
                host: hosts.get(&target).unwrap_or(&self.world.host).clone(),
                runs: row.is_some_and(|service| service.wanted.wants_running()),
                priority: needs.priority,
                after: needs.after,
                expected: EXPECTED,
            });
        }
        let limits = limits_of(&batch.options);
        Schedule::of(tasks.clone(), limits)
            .or_else(|error| {
                tracing::warn!(job = batch.job.0, %error, "the batch goes on without an order");
                let free = |task: Task| Task {
                    after: Vec::new(),
                    ..task
                };
                Schedule::of(tasks.into_iter().map(free).collect(), limits)
            })
            .map_err(|error| Refusal::NoOrder(error.to_string()))
    }

    async fn records(&self) -> Result<BTreeMap<ServiceId, ServiceRecord>, Refusal> {
        let services = self.world.table.services().await?;
        Ok(services
            .into_iter()
            .map(|service| (service.id.clone(), service))
            .collect())
    }

    /// Moves that are under way: where to, and by which job.
    async fn leaving(&self) -> Result<BTreeMap<ServiceId, (GuestId, JobId)>, Refusal> {
        let open = self.world.table.unfinished().await?;
        Ok(open
            .into_iter()
            .filter(|h| h.kind == Kind::Move && !h.committed)
            .map(|h| (h.service, (h.target.guest, h.job)))
            .collect())
    }
}

/// The planner's limits out of a batch's.
pub(super) fn limits_of(options: &crate::model::batch::BatchOptions) -> Limits {
    let number = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    Limits {
        per_guest: number(options.per_guest),
        per_host: number(options.per_host),
        in_all: number(options.parallel),
    }
}

impl Context<'_> {
    /// `explained`: with the guests that were not taken for services that have a target, too.
    fn entries(&self, services: &[ServiceId], plan: &Plan, explained: bool) -> Vec<Entry> {
        let planned: BTreeMap<&ServiceId, &Planned> =
            plan.entries.iter().map(|entry| (&entry.service, entry)).collect();
        let views = services.iter().filter_map(|id| self.cluster.service(id));
        views
            .map(|view| {
                let mut entry = self.entry(view, planned.get(&view.id).copied());
                if explained || entry.target.is_none() {
                    entry.rejected = rejected(&plan.rejected(self.cluster, &view.id));
                }
                entry
            })
            .collect()
    }

    fn entry(&self, service: &ServiceView, planned: Option<&Planned>) -> Entry {
        let (target, why, job) = match (self.leaving.get(&service.id), planned.map(|entry| &entry.choice)) {
            (Some((guest, job)), _) => (
                self.target(*guest, None),
                format!("it is on its way there already (job {job})"),
                Some(*job),
            ),
            (None, Some(Ok(choice))) => (
                self.target(choice.guest, Some((choice.before, choice.after))),
                choice.to_string(),
                None,
            ),
            (None, Some(Err(none))) => (None, none.to_string(), None),
            (None, None) => (None, NoHome::NoneFits.to_string(), None),
        };
        let home = service.home.map(|home| self.cluster.name_of(home));
        let dns = self
            .records
            .get(&service.id)
            .and_then(|record| record.dns.as_ref());
        Entry {
            service: service.id.clone(),
            source: home.unwrap_or_default(),
            target,
            why,
            job,
            wanted: service.wanted,
            stale: planned.and_then(|entry| entry.stale),
            name: dns.map(|dns| dns.name.to_string()),
            generation: service.generation,
            expected: service.expected,
            priority: service.needs.priority,
            after: service.needs.after.clone(),
            rejected: Vec::new(),
        }
    }

    fn target(&self, guest: GuestId, load: Option<(Share, Share)>) -> Option<Target> {
        let view = self.cluster.guest(guest)?;
        Some(Target {
            guest,
            name: view.name.clone(),
            host: view.host.clone(),
            load,
        })
    }
}

fn ids(plan: &Plan) -> Vec<ServiceId> {
    plan.entries.iter().map(|entry| entry.service.clone()).collect()
}

/// Guests (those with the same reasons together) and the reasons.
fn rejected(rejected: &[fit::Rejected]) -> Vec<(String, String)> {
    fit::summary(rejected, NAMED)
        .into_iter()
        .map(|line| match line.split_once(": ") {
            Some((guests, why)) => (guests.to_owned(), why.to_owned()),
            None => (String::new(), line),
        })
        .collect()
}

/// The entries in the order in which they begin, and the schedule by which they do.
fn in_order(mut entries: Vec<Entry>, limits: Limits) -> Result<(Vec<Entry>, Schedule), Refusal> {
    let tasks: Vec<Task> = entries.iter().filter_map(Entry::task).collect();
    let no_order = |cycle: BatchError| Refusal::NoOrder(cycle.to_string());
    let schedule = Schedule::of(tasks.clone(), limits).map_err(no_order)?;
    // One at a time, each after those that it comes after.
    let one = Limits {
        per_guest: 1,
        per_host: 1,
        in_all: 1,
    };
    let mut queue = Schedule::of(tasks, one).map_err(no_order)?;
    let mut place = BTreeMap::new();
    while let Some(next) = queue.begin().pop() {
        queue.ended(&next, Outcome::Done).map_err(no_order)?;
        place.insert(next, place.len());
    }
    entries.sort_by_key(|entry| place.get(&entry.service).copied().unwrap_or(usize::MAX));
    Ok((entries, schedule))
}
