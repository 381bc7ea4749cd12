//! Evacuations: the batches that nobody asks for, because their guest is dead; and the freeze that holds them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::cluster::Look;
use super::planning::{Target, Which, limits_of};
use super::refusal::Refusal;
use super::{BatchChoices, MoveOptions, Requests};
use crate::model::guest::{DomainState, GuestSummary};
use crate::model::ids::{GuestId, HostId, JobId, ServiceId};
use crate::plan::strategy::Strategy;
use crate::ports::{JobRecord, TableError};
use crate::watch::blast::{Alarm, Why};
use crate::watch::cause::Cause;

/// The operation of an evacuation's job.
pub(super) const EVACUATE: &str = "evacuate";
/// Who asks for what nobody has asked for.
pub(super) const DAEMON: &str = "handoverd";
/// The strategy by which services of a dead guest are placed.
const STRATEGY: Strategy = Strategy::LeastLoaded;
/// The longest reason for a freeze, in characters.
const REASON: usize = 200;

/// Whether what nobody asks for is held.
#[derive(Debug)]
pub struct Evacuations {
    frozen: watch::Sender<Option<Alarm>>,
    /// How each guest is seen that is watched.
    standings: Mutex<BTreeMap<GuestId, Standing>>,
    /// There may be a home where there was none.
    room: Notify,
}

/// How the watcher sees a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// One of the words of [`crate::watch::guest_watch::State::word`].
    pub word: &'static str,
    /// Where it is at home: the host that had it last.
    pub home: HostId,
}

impl Default for Evacuations {
    fn default() -> Self {
        Self {
            frozen: watch::Sender::new(None),
            standings: Mutex::default(),
            room: Notify::new(),
        }
    }
}

impl Evacuations {
    /// The alarm, while no service is moved automatically.
    pub fn alarm(&self) -> Option<Alarm> {
        self.frozen.borrow().clone()
    }

    /// A guest may be a home that was none before: what waits for one need not wait for its time.
    pub(super) fn tell_of_room(&self) {
        self.room.notify_one();
    }

    /// Returns when that was told.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// How each guest is seen that is watched.
    pub fn standings(&self) -> BTreeMap<GuestId, Standing> {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        standings.clone()
    }

    /// Shows how guests are seen: their words and homes, in the order of their ids.
    pub(super) fn show<'a>(&self, seen: impl Iterator<Item = (GuestId, &'static str, &'a HostId)> + Clone) {
        let mut shown = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let same = shown.len() == seen.clone().count()
            && shown
                .iter()
                .zip(seen.clone())
                .all(|((of, standing), (guest, word, home))| {
                    (*of, standing.word, &standing.home) == (guest, word, home)
                });
        if !same {
            *shown = seen
                .map(|(guest, word, home)| {
                    let home = home.clone();
                    (guest, Standing { word, home })
                })
                .collect();
        }
    }

    /// The alarm as it is, and as it becomes.
    pub fn subscribe(&self) -> watch::Receiver<Option<Alarm>> {
        self.frozen.subscribe()
    }
}

/// Where a service goes next after its target has failed.
pub(super) struct NextHome {
    pub(super) guest: GuestId,
    pub(super) name: String,
    pub(super) host: HostId,
    pub(super) why: String,
}

impl Requests {
    /// Moves no service automatically any more, until [`Requests::thaw`]. What is frozen already stays so, by its first
    /// alarm.
    ///
    /// # Errors
    /// The reason cannot be shown in a line, or the table cannot be written.
    pub async fn freeze(&self, reason: &str, who: &str) -> Result<(), Refusal> {
        if reason.chars().count() > REASON || reason.chars().any(char::is_control) {
            return Err(Refusal::InvalidArgument(format!(
                "a reason has at most {REASON} characters and no control character"
            )));
        }
        if self.evacuations.alarm().is_some() {
            return Ok(());
        }
        let alarm = Alarm {
            at: self.world.clock.now(),
            why: Why::Asked {
                by: who.to_owned(),
                reason: reason.to_owned(),
            },
        };
        self.keep_alarm(&alarm, who).await?;
        self.raise(&alarm);
        Ok(())
    }

    /// Lets services be moved automatically again: the guests that are still dead are evacuated now.
    ///
    /// # Errors
    /// The table cannot be written; then everything stays frozen.
    pub async fn thaw(&self, who: &str) -> Result<(), Refusal> {
        self.world.table.keep_alarm(None).await?;
        let Some(alarm) = self.evacuations.frozen.send_replace(None) else {
            return Ok(());
        };
        tracing::warn!(who, %alarm, "thawed: services of dead guests are moved again");
        let now = self.world.clock.now();
        let said = format!("thawed; it was frozen because {alarm}");
        Ok(self.world.table.audit(now, who, "thaw", &said).await?)
    }

    /// What was frozen because this host shut down is thawed: it is up.
    pub(super) async fn host_stays(&self) -> Result<(), Refusal> {
        let by_host = |alarm: Alarm| alarm.why == Why::HostGoesDown(self.world.host.clone());
        if self.evacuations.alarm().is_some_and(by_host) {
            self.thaw(DAEMON).await?;
        }
        Ok(())
    }

    /// Freezes what is frozen by the table. That this host was shutting down is over.
    pub(super) async fn read_alarm(&self) -> Result<(), TableError> {
        let alarm = self.world.table.alarm().await?;
        if let Some(Why::HostGoesDown(host)) = alarm.as_ref().map(|alarm| &alarm.why)
            && *host == self.world.host
        {
            return self.world.table.keep_alarm(None).await;
        }
        if let Some(alarm) = alarm {
            tracing::error!("still frozen: {alarm}");
            self.evacuations.frozen.send_replace(Some(alarm));
        }
        Ok(())
    }

    /// Freezes: in force at once, and until a restart even if the table cannot be written.
    pub(super) fn raise(&self, alarm: &Alarm) {
        tracing::error!("frozen: {alarm}");
        self.evacuations.frozen.send_replace(Some(alarm.clone()));
    }

    /// Keeps the alarm, so that it outlives the daemon.
    pub(super) async fn keep_alarm(&self, alarm: &Alarm, who: &str) -> Result<(), TableError> {
        self.world.table.keep_alarm(Some(alarm)).await?;
        self.world
            .table
            .audit(alarm.at, who, "freeze", &alarm.to_string())
            .await
    }

    /// Begins to move all services of a dead guest elsewhere, those that have a home; `None`: it has none. The evacuation
    /// that is under way already is told. Nothing is begun once `called_off`.
    ///
    /// # Errors
    /// No guest fits for any of them, an operator's batch has the guest, or it was called off.
    pub(super) async fn evacuate(
        self: &Arc<Self>,
        guest: GuestId,
        cause: Cause,
        called_off: &AtomicBool,
    ) -> Result<Option<JobId>, Refusal> {
        let _alone = self.deciding.lock().await;
        let source = self.lost(guest).await?;
        if let Some((job, operation)) = self.open_batch(guest).await? {
            return match operation.as_str() {
                EVACUATE => Ok(Some(job)),
                _ => Err(Refusal::Busy(format!(
                    "the services of guest {} are being moved already: job {job}",
                    source.name
                ))),
            };
        }
        // Before other guests are asked whether they would do.
        let services = self.world.table.services().await?;
        if !services.iter().any(|service| service.guest == guest) {
            return Ok(None);
        }
        let options = MoveOptions {
            batch: BatchChoices {
                partial: true,
                ..BatchChoices::default()
            },
            ..MoveOptions::default()
        };
        let limits = limits_of(&self.batch_options(&options));
        let strategy = (STRATEGY, STRATEGY.to_string());
        let look = match self.all_have_standbys(guest).await? {
            true => Look::Listed,
            false => Look::of(STRATEGY, guest),
        };
        let decided = self.decide(look, &source, Which::All, strategy, limits).await?;
        decided.check_whole(&source.name, true)?;
        let back = || Refusal::Unavailable(format!("guest {} is back", source.name));
        if called_off.load(Ordering::Relaxed) {
            return Err(back());
        }
        let what = format!("{EVACUATE} {}: {cause}", source.name);
        let record = JobRecord {
            operation: EVACUATE.to_owned(),
            started_by: DAEMON.to_owned(),
            ..self.batch_record(&source, &decided)
        };
        let job = self
            .begin_batch(record, &what, &source, &STRATEGY.to_string(), &decided, &options)
            .await?;
        if called_off.load(Ordering::Relaxed) {
            self.call_off(guest, &back().to_string()).await?;
        }
        Ok(Some(job))
    }

    /// Cancels the evacuation of a guest that is back: what of it has not committed stays, or goes back.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) async fn call_off(&self, guest: GuestId, why: &str) -> Result<(), Refusal> {
        let Some((job, operation)) = self.open_batch(guest).await? else {
            return Ok(());
        };
        if operation != EVACUATE {
            return Ok(());
        }
        match self.jobs.cancel(job, &format!("{DAEMON}: {why}")).await {
            // All of it has committed, or it has just ended.
            Err(Refusal::NotCancelable(why)) => tracing::info!(%job, why, "the evacuation goes on"),
            other => other?,
        }
        Ok(())
    }

    /// The next best guest for a service of a dead one, after it has failed on others.
    ///
    /// # Errors
    /// No other guest fits.
    pub(super) async fn next_home(
        &self,
        source: GuestId,
        service: &ServiceId,
        tried: &[(GuestId, String)],
    ) -> Result<NextHome, Refusal> {
        let _alone = self.deciding.lock().await;
        let source = self.lost(source).await?;
        let limits = limits_of(&self.batch_options(&MoveOptions::default()));
        let strategy = (STRATEGY, STRATEGY.to_string());
        let which = Which::Again { service, tried };
        let decided = self
            .decide(Look::of(STRATEGY, source.id), &source, which, strategy, limits)
            .await?;
        decided.check_whole(service.as_str(), false)?;
        let what = format!("{EVACUATE} {}: {service} failed on its way", source.name);
        let found = decided.entries.first();
        let Some((entry, target)) = found.and_then(|entry| Some((entry, entry.target.clone()?))) else {
            return Err(Refusal::NoSuchService(service.to_string()));
        };
        let Target {
            guest, name, host, ..
        } = target;
        let why = entry.why.clone();
        self.keep_decisions(&decided, &what, DAEMON, None).await?;
        Ok(NextHome {
            guest,
            name,
            host,
            why,
        })
    }

    /// The batch of this guest that has not ended, and its operation.
    async fn open_batch(&self, guest: GuestId) -> Result<Option<(JobId, String)>, Refusal> {
        let open = self.world.table.unfinished_batches().await?;
        let Some(batch) = open.into_iter().find(|batch| batch.guest == guest) else {
            return Ok(None);
        };
        let job = self.world.table.job(batch.job).await?;
        Ok(Some((
            batch.job,
            job.map(|job| job.operation).unwrap_or_default(),
        )))
    }

    /// A guest that is off, as libvirt lists it, or as the table knows it where no host defines it any more.
    async fn lost(&self, guest: GuestId) -> Result<GuestSummary, Refusal> {
        match self.guest(&guest.to_string()).await {
            Err(Refusal::NoSuchGuest(text)) => {
                let services = self.world.table.services().await?;
                let row = services.into_iter().find(|row| row.guest == guest);
                let row = row.ok_or(Refusal::NoSuchGuest(text))?;
                Ok(GuestSummary {
                    id: guest,
                    name: row.guest_name,
                    host: row.host,
                    state: DomainState::Shutoff,
                    agent_connected: false,
                    persistent: false,
                    managed_save: false,
                    controller: None,
                    labels: Vec::new(),
                })
            }
            other => other,
        }
    }
}
