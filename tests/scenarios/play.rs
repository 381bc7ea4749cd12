//! Plays a scenario in virtual time, and tells what was logged and how all ended.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handoverd::adapters::sim::call::{Call, Director, Inner, Mishap, PortFault};
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::adapters::sim::executor::Rest;
use handoverd::adapters::sim::scenario::Scenario;
use handoverd::adapters::sim::table::SimTable;
use handoverd::adapters::sim::world::{SimDisk, SimWorld};
use handoverd::config::EvacuationSettings;
use handoverd::handover::verdict;
use handoverd::model::ids::{Digest, JobId};
use handoverd::model::service::{BundleRecord, Millis};
use handoverd::requests::refusal::Refusal;
use handoverd::requests::watching;
use handoverd::requests::{DeployOptions, MoveOptions, Requests};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::faults::Fault;
use crate::log::{Log, OPERATOR};
use crate::script::{self, Ask, Step, Wait, What};

/// Longer than anything is waited for, in simulated milliseconds.
const PATIENCE: Millis = 7_200_000;

/// The steps that are left, seen by the player and, at each call of the daemon, by the director.
struct Plot {
    steps: VecDeque<Step>,
    log: Log,
    /// The line after the one that was waited for last.
    since: usize,
    /// Until when the step at the front waits, once that is known.
    until: Option<Millis>,
    /// What goes wrong with calls to come.
    armed: Vec<Fault>,
    /// How long the daemon is away after the next kill.
    away: Duration,
    /// What the daemon was asked, and has not answered.
    unanswered: usize,
}

fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap()
}

impl Plot {
    /// Passes over waits that are over. Whether the step at the front, if there is one, may be done.
    fn is_due(&mut self, world: &SimWorld) -> bool {
        while let Some(Step {
            what: What::Waits(wait),
            ..
        }) = self.steps.front()
        {
            let over = match wait {
                Wait::When(text) => match self.log.after(self.since, text) {
                    Some(next) => {
                        self.since = next;
                        true
                    }
                    None => false,
                },
                Wait::End => self.unanswered == 0 && all_ended(world),
                Wait::At(_) | Wait::For(_) => self.time(world).is_some_and(|until| until <= world.now),
            };
            if !over {
                return false;
            }
            self.until = None;
            self.steps.pop_front();
        }
        true
    }

    /// Until when the step at the front waits, if it waits for a time.
    fn time(&mut self, world: &SimWorld) -> Option<Millis> {
        let time = match &self.steps.front()?.what {
            What::Waits(Wait::At(span)) => SimWorld::BEGINNING + millis(*span),
            What::Waits(Wait::For(span)) => world.now + millis(*span),
            _ => return None,
        };
        Some(*self.until.get_or_insert(time))
    }

    /// The next step, if it is one that needs no answer of the daemon.
    fn next_event(&mut self, world: &SimWorld) -> Option<Step> {
        let asks = |step: &Step| matches!(step.what, What::Asks(_));
        if !self.is_due(world) || self.steps.front().is_none_or(asks) {
            return None;
        }
        self.steps.pop_front()
    }
}

struct Scripted(Arc<Mutex<Plot>>);

impl Director for Scripted {
    fn decide(&mut self, call: &Call, world: &SimWorld) -> Mishap {
        let mut plot = self.0.lock().unwrap();
        let mut mishap = Mishap::default();
        while mishap.fault.is_none()
            && let Some(step) = plot.next_event(world)
        {
            match step.what {
                What::Happens(happening) => mishap.before.push((0, happening)),
                What::GoesWrong(fault) => plot.armed.push(fault),
                What::Kills(away) => {
                    plot.away = away;
                    mishap.fault = Some(PortFault::KillBefore);
                }
                What::Waits(_) | What::Asks(_) => unreachable!("it is no event"),
            }
        }
        if mishap.fault.is_none()
            && let Some(at) = plot.armed.iter().position(|fault| fault.is_of(call))
        {
            mishap.fault = Some(plot.armed.remove(at).fault);
        }
        mishap
    }
}

fn all_ended(world: &SimWorld) -> bool {
    let mut jobs = world.tables.values().flat_map(|table| table.jobs.values());
    jobs.all(|job| job.result.is_some())
}

/// The log of a scenario, with how all ended; why it could not be played to its end, or what was broken on the way.
pub fn play(path: &Path) -> Result<String, String> {
    let scenario = Scenario::load(path).map_err(|error| error.to_string())?;
    let settings = scenario.settings(None).map_err(|error| error.to_string())?;
    let terms = scenario.terms(&settings);
    let script = path.join("script");
    let text = std::fs::read_to_string(&script).map_err(|error| format!("{}: {error}", script.display()))?;
    let steps = script::read("script", &text, &scenario.world)?;
    let log = Log::default();
    let plot = Arc::new(Mutex::new(Plot {
        steps: steps.into(),
        log: log.clone(),
        since: 0,
        until: None,
        armed: Vec::new(),
        away: Duration::ZERO,
        unanswered: 0,
    }));
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let mut told = tracing::subscriber::with_default(subscriber, || {
        let director = Box::new(Scripted(plot.clone()));
        let wants = |bundle: &BundleRecord| bundle.manifest.needs.standbys > 0;
        let mut tables = scenario.world.tables.values();
        let standbys = tables.any(|table| table.bundles.values().any(wants));
        let mut simulation = Simulation::with_terms(scenario.world, terms, true, director);
        if standbys {
            simulation.keep_standbys();
        }
        // Most stories are about one handover. Where the configuration says something of evacuation, they are about guests.
        let evacuation = settings.evacuation;
        if evacuation != EvacuationSettings::default() {
            simulation.watch_guests(watching::Terms {
                enabled: evacuation.enabled,
                policy: evacuation.policy(),
                limits: evacuation.limits(),
            });
        }
        log.by(simulation.shared.clock());
        Player {
            simulation,
            plot,
            log: log.clone(),
        }
        .play_on()
    })?;
    let violations = told.settle();
    if violations.is_empty() {
        return Ok(log.text());
    }
    let broken: Vec<String> = violations.iter().map(ToString::to_string).collect();
    Err(format!("{}\nafter\n{}", broken.join("\n"), log.text()))
}

struct Player {
    simulation: Simulation,
    plot: Arc<Mutex<Plot>>,
    log: Log,
}

impl Player {
    fn play_on(mut self) -> Result<Simulation, String> {
        loop {
            let waits = self.waits();
            match waits {
                Some((line, until)) => self.pass(&line, until)?,
                None => match self.next() {
                    Some(step) => self.take(step),
                    None => break,
                },
            }
        }
        let last = Step {
            line: 0,
            text: "the end of all jobs".to_owned(),
            what: What::Waits(Wait::End),
        };
        self.plot.lock().unwrap().steps.push_back(last);
        if let Some((line, until)) = self.waits() {
            self.pass(&line, until)?;
        }
        let unused = std::mem::take(&mut self.plot.lock().unwrap().armed);
        if !unused.is_empty() {
            return Err(format!(
                "what was to go wrong did not: {unused:?}\n{}",
                self.log.text()
            ));
        }
        self.log.add(String::new());
        let shared = self.simulation.shared.clone();
        for line in ends(&shared.lock().world) {
            self.log.add(line);
        }
        Ok(self.simulation)
    }

    /// The step that is waited for, and until when at the longest.
    fn waits(&self) -> Option<(String, Millis)> {
        let inner = self.simulation.shared.lock();
        let mut plot = self.plot.lock().unwrap();
        if plot.is_due(&inner.world) {
            return None;
        }
        let until = plot.time(&inner.world).unwrap_or(inner.world.now + PATIENCE);
        let step = plot.steps.front()?;
        Some((format!("script:{}: {}", step.line, step.text), until))
    }

    fn next(&self) -> Option<Step> {
        self.plot.lock().unwrap().steps.pop_front()
    }

    /// Lets time pass until what is waited for has come.
    fn pass(&mut self, line: &str, until: Millis) -> Result<(), String> {
        let plot = self.plot.clone();
        let left = plot.lock().unwrap().steps.len();
        let reached = move |inner: &Inner| {
            let mut plot = plot.lock().unwrap();
            // A wait that is over may have another one behind it.
            !inner.violations.is_empty() || plot.is_due(&inner.world) || plot.steps.len() < left
        };
        match self.simulation.run_to(until, reached) {
            Rest::Killed => {
                let away = self.plot.lock().unwrap().away;
                self.restart(away);
            }
            Rest::Reached => {}
            Rest::TimeUp => {
                let inner = self.simulation.shared.lock();
                let mut plot = self.plot.lock().unwrap();
                if !plot.is_due(&inner.world) && plot.steps.len() == left {
                    return Err(format!("{line:?} never came:\n{}", self.log.text()));
                }
            }
        }
        let inner = self.simulation.shared.lock();
        match inner.violations.first() {
            Some(violation) => Err(format!("{violation}\nafter\n{}", self.log.text())),
            None => Ok(()),
        }
    }

    fn take(&mut self, step: Step) {
        match step.what {
            What::Happens(happening) => self.simulation.shared.lock().happen(vec![(0, happening)]),
            What::GoesWrong(fault) => self.plot.lock().unwrap().armed.push(fault),
            What::Kills(away) => self.restart(away),
            What::Asks(ask) => self.ask(step.text, ask),
            What::Waits(_) => unreachable!("it was waited for"),
        }
    }

    /// Kills the daemon and starts another one: nobody answers what the first was asked.
    fn restart(&mut self, away: Duration) {
        self.plot.lock().unwrap().unanswered = 0;
        self.simulation.restart(away);
    }

    fn ask(&mut self, text: String, ask: Ask) {
        let bundle =
            |service: &str, version| bundle_of(&self.simulation.shared.lock().world, service, version);
        let bundle = match &ask {
            Ask::Deploy(service, ..) => bundle(service, "1"),
            Ask::Upgrade(service, _) => bundle(service, "2"),
            _ => String::new(),
        };
        self.plot.lock().unwrap().unanswered += 1;
        let plot = self.plot.clone();
        drop(self.simulation.request(move |requests| async move {
            let answer = answer(&requests, ask, &bundle).await;
            plot.lock().unwrap().unanswered -= 1;
            match &answer {
                Ok(told) => tracing::info!(target: OPERATOR, "{text}: {told}"),
                Err(refusal) => {
                    tracing::info!(target: OPERATOR, "{text}: refused: {refusal} ({})", refusal.name());
                }
            }
            Ok(JobId(0))
        }));
    }
}

/// The digest of a service's bundle of this version.
fn bundle_of(world: &SimWorld, service: &str, version: &str) -> String {
    let bundles = world.tables.values().flat_map(|table| table.bundles.values());
    let found = bundles
        .filter(|bundle| bundle.manifest.service.as_str() == service)
        .find(|bundle| bundle.manifest.version == version);
    found.map(|bundle| bundle.digest.to_string()).unwrap_or_default()
}

async fn answer(requests: &Arc<Requests>, ask: Ask, bundle: &str) -> Result<String, Refusal> {
    let who = "operator";
    let job = match ask {
        Ask::Deploy(_, guest, stopped) => {
            let options = DeployOptions {
                stopped,
                ..DeployOptions::default()
            };
            requests.deploy(bundle, &guest, options, who).await?
        }
        Ask::Move(object, target) => {
            requests
                .move_(&object, &target, MoveOptions::default(), who)
                .await?
        }
        Ask::Upgrade(service, guest) => {
            let options = MoveOptions::default();
            requests
                .upgrade(&service, bundle, guest.as_deref(), options, who)
                .await?
        }
        Ask::Start(service) => requests.start(&service, who).await?,
        Ask::Stop(service) => requests.stop(&service, who).await?,
        Ask::Remove(service, delete_data) => requests.remove(&service, delete_data, who).await?,
        Ask::Cancel(job) => requests.jobs.cancel(job, who).await.map(|()| job)?,
        Ask::Resume(job) => requests.jobs.resume(job).await.map(|()| job)?,
        Ask::Abandon(job) => requests.jobs.abandon(job, who).await.map(|()| job)?,
        Ask::Repair(service) => {
            let report = requests.audit(service.as_deref(), true, who).await?;
            let told = report.findings.iter().map(|audited| {
                let word = if audited.is_settled() { "repaired" } else { "left" };
                format!("{word}: {}", audited.finding.what)
            });
            let told: Vec<String> = told.collect();
            return Ok(format!("{} findings; {}", told.len(), told.join("; ")));
        }
    };
    Ok(format!("job {job}"))
}

/// How all stands: jobs, services, what is owed.
fn ends(world: &SimWorld) -> Vec<String> {
    world
        .tables
        .values()
        .flat_map(|table| table_ends(world, table))
        .collect()
}

fn table_ends(world: &SimWorld, table: &SimTable) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, job) in &table.jobs {
        let result = job.result.as_deref().unwrap_or("runs");
        let error = match job.error_name.as_str() {
            "" => String::new(),
            name => format!(": {} ({name})", job.error_details),
        };
        let (what, from, to) = (&job.operation, &job.source, &job.target);
        lines.push(format!(
            "job {id}: {what} {} from {from} to {to}: {result}{error}",
            job.object
        ));
    }
    for (id, row) in &table.services {
        let frozen = row
            .frozen
            .as_ref()
            .map(|why| format!("; frozen: {why}"))
            .unwrap_or_default();
        lines.push(format!(
            "{id}: wanted {} on {} ({}), bundle {}, generation {}{frozen}",
            row.wanted,
            row.guest_name,
            row.host,
            version_of(table, &row.bundle),
            row.generation
        ));
        for guest in world.guests.values().filter(|guest| guest.serves(id)) {
            lines.push(format!("{id}: runs on {}", guest.name));
        }
        if let Some(dns) = &row.dns {
            let told = verdict::describe(&world.zone.read(&dns.name));
            lines.push(format!("{}: {told}", dns.name));
        }
        if let Some(volume) = &row.volume {
            let holds = |disk: &SimDisk| disk.base == volume.path;
            let holders: Vec<&str> = world
                .guests
                .values()
                .filter(|guest| guest.live.disks.values().any(holds))
                .map(|g| g.name.as_str())
                .collect();
            let writes = world.volumes.get(&volume.path).map_or(0, |volume| volume.synced);
            lines.push(format!(
                "{}: {writes} writes, open in {}",
                volume.path,
                holders.join(", ")
            ));
        }
    }
    for standby in table.standbys.values() {
        let (service, guest) = (&standby.service, &standby.guest_name);
        lines.push(format!("{service}: standby on {guest}, {}", standby.state));
    }
    for duty in table.duties.values() {
        let guest = world
            .guests
            .get(&duty.guest)
            .map_or("?", |guest| guest.name.as_str());
        lines.push(format!("owed: the old copy of {} on {guest}", duty.service));
    }
    lines
}

fn version_of<'t>(table: &'t SimTable, digest: &Digest) -> &'t str {
    let bundle = table.bundles.get(digest);
    bundle.map_or("?", |bundle| bundle.manifest.version.as_str())
}
