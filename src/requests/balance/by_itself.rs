//! Loads are evened out without being asked for: every so often the gap is looked at, the damper is asked, and moves begin
//! only where nothing speaks against it.

use std::collections::BTreeSet;
use std::fmt;
use std::mem::discriminant;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::Requests;
use super::super::cluster::{LAST_JOBS, Look, Moving, SETTLES};
use super::super::evacuation::{DAEMON, EVACUATE};
use super::super::refusal::Refusal;
use super::{REBALANCE, told, why_unknown};
use crate::model::ids::{JobId, ServiceId};
use crate::model::service::Millis;
use crate::plan::damper::{Damper, Permit};
use crate::plan::decided::about;
use crate::plan::rebalance;
use crate::ports::JobRecord;

/// How often the gap is looked at: as often as loads are measured.
const EVERY: Duration = Duration::from_secs(30);
/// How long guests are not asked again what is in the way there after no service could be moved, in milliseconds.
const AGAIN: Millis = 300_000;

/// How the evening out of loads stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is done only when somebody asks for it.
    Off,
    /// Nothing was looked at yet.
    Begins,
    /// Everything is frozen.
    Frozen,
    /// A dead guest is evacuated, or services move for balance already.
    Busy(JobId),
    /// Loads do not show the last moves yet: how long that takes.
    Settling(Duration),
    /// How far the loads are apart cannot be told, and why.
    Unknown(String),
    /// What the damper allows; how far the loads are apart, for people.
    Judged(Permit, String),
    /// Moves are allowed, and none would help.
    NoMove(String),
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Begins => f.write_str("nothing was looked at yet"),
            Self::Frozen => f.write_str("nothing moves by itself: everything is frozen"),
            Self::Busy(job) => write!(f, "it waits for job {job}"),
            Self::Settling(left) => {
                write!(
                    f,
                    "it waits for the loads to show the last moves: {}",
                    about(*left)
                )
            }
            Self::Unknown(why) => f.write_str(why),
            Self::Judged(permit, gap) => write!(f, "{gap}: {permit}"),
            Self::NoMove(gap) => write!(f, "{gap}: no service that may move would help"),
        }
    }
}

impl Standing {
    /// Whether it is more than another time or number.
    fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Judged(a, _), Self::Judged(b, _)) => discriminant(a) != discriminant(b),
            _ => discriminant(self) != discriminant(other),
        }
    }
}

/// How the evening out of loads stands, for those who ask.
#[derive(Debug)]
pub struct Balancing(Mutex<Standing>);

impl Default for Balancing {
    fn default() -> Self {
        Self(Mutex::new(Standing::Off))
    }
}

impl Balancing {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logged where it is another.
    fn show(&self, standing: Standing) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.differs(&shown) {
            tracing::info!("evening out of loads: {standing}");
        }
        *shown = standing;
    }
}

/// What is remembered from look to look.
struct Memory {
    damper: Damper,
    /// Until then guests are not asked again: no service could be moved.
    again_at: Millis,
}

impl Requests {
    /// Evens out loads for as long as the daemon runs; returns at once where the configuration does not ask for that.
    pub async fn even_out_loads(self: Arc<Self>) {
        if !self.balance.enabled {
            return;
        }
        self.balancing.show(Standing::Begins);
        let mut memory = None;
        loop {
            self.world.clock.sleep(EVERY).await;
            let standing = self.look_at_loads(&mut memory).await;
            let standing = standing.unwrap_or_else(|refusal| Standing::Unknown(refusal.to_string()));
            self.balancing.show(standing);
        }
    }

    /// Looks once, and begins what is allowed.
    async fn look_at_loads(self: &Arc<Self>, memory: &mut Option<Memory>) -> Result<Standing, Refusal> {
        let jobs = self.world.table.jobs(None, LAST_JOBS).await?;
        let now = self.world.clock.now();
        let memory = match memory {
            Some(memory) => memory,
            None => memory.insert(Memory {
                damper: self.past_moves(&jobs).await?,
                again_at: 0,
            }),
        };
        if self.evacuations.alarm().is_some() {
            memory.damper.interrupt();
            return Ok(Standing::Frozen);
        }
        if let Some(job) = self.in_the_way().await? {
            memory.damper.interrupt();
            return Ok(Standing::Busy(job));
        }
        if let Some(left) = settling(&jobs, now) {
            memory.damper.interrupt();
            return Ok(Standing::Settling(left));
        }
        let cluster = self.cluster(Look::Listed, Moving::All).await?;
        let Some(gap) = rebalance::gap(&cluster) else {
            memory.damper.interrupt();
            return Ok(Standing::Unknown(why_unknown(&cluster)));
        };
        let (balance, damping) = (self.balance.balance(), self.balance.damping());
        let permit = memory.damper.look(now, gap.gap, balance, damping);
        let judged = Standing::Judged(permit, told(&cluster, gap));
        let Permit::Moves(most) = permit else {
            return Ok(judged);
        };
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let mut resting = memory.damper.resting(now, damping);
        resting.extend(moved_lately(&jobs, now, damping.rest));
        let would = self.moves_for_balance(&cluster, most, &resting)?;
        let no_move = Standing::NoMove(told(&cluster, gap));
        if would.is_empty() || now < memory.again_at {
            return Ok(no_move);
        }
        let moved = self.rebalance_by_itself(most, &resting).await?;
        if moved.is_empty() {
            memory.again_at = now.saturating_add(AGAIN);
            return Ok(no_move);
        }
        for service in moved {
            memory.damper.moved(now, service);
        }
        Ok(judged)
    }

    /// Asks the guests what is in the way there, and begins the moves that are possible; the services.
    async fn rebalance_by_itself(
        self: &Arc<Self>,
        most: u32,
        resting: &BTreeSet<ServiceId>,
    ) -> Result<Vec<ServiceId>, Refusal> {
        let _alone = self.deciding.lock().await;
        let cluster = self.cluster(Look::All, Moving::All).await?;
        let Some(gap) = rebalance::gap(&cluster) else {
            return Ok(Vec::new());
        };
        let moves = self.moves_for_balance(&cluster, most, resting)?;
        // Guests took their time to answer, and a guest may have died meanwhile.
        if moves.is_empty() || self.evacuations.alarm().is_some() || self.in_the_way().await?.is_some() {
            return Ok(Vec::new());
        }
        let job = self.begin_balance(&cluster, gap, &moves, DAEMON).await?;
        tracing::info!(%job, services = moves.len(), "{}: services move", told(&cluster, gap));
        Ok(moves.into_iter().map(|made| made.service).collect())
    }

    /// A batch during which no move for balance begins: an evacuation, or one for balance.
    async fn in_the_way(&self) -> Result<Option<JobId>, Refusal> {
        for batch in self.world.table.unfinished_batches().await? {
            let job = self.world.table.job(batch.job).await?;
            if job.is_some_and(|job| matches!(job.operation.as_str(), EVACUATE | REBALANCE)) {
                return Ok(Some(batch.job));
            }
        }
        Ok(None)
    }

    /// What an earlier daemon has moved for balance by itself: a restart gives no further window, and no service another move.
    async fn past_moves(&self, jobs: &[JobRecord]) -> Result<Damper, Refusal> {
        let mut damper = Damper::default();
        let own = |job: &&JobRecord| job.operation == REBALANCE && job.started_by == DAEMON;
        // Jobs come newest first.
        for job in jobs.iter().filter(own).rev() {
            let batch = self.world.table.batch(job.id).await?;
            for member in batch.into_iter().flat_map(|batch| batch.members) {
                damper.moved(job.started, member.service);
            }
        }
        Ok(damper)
    }
}

/// How long loads do not show the last moves for balance yet.
fn settling(jobs: &[JobRecord], now: Millis) -> Option<Duration> {
    let ended = |job: &JobRecord| job.finished.filter(|_| job.operation == REBALANCE);
    let last = jobs.iter().filter_map(ended).max()?;
    let left = last.saturating_add(SETTLES).checked_sub(now)?;
    (left > 0).then(|| Duration::from_millis(left))
}

/// Services that somebody has moved, which are not moved again so soon.
fn moved_lately(jobs: &[JobRecord], now: Millis, rest: Duration) -> impl Iterator<Item = ServiceId> {
    let rest = Millis::try_from(rest.as_millis()).unwrap_or(Millis::MAX);
    jobs.iter()
        .filter(move |job| {
            matches!(job.operation.as_str(), "move" | "upgrade" | "deploy")
                && job.source != job.target
                && job.result.as_deref() == Some("done")
                && job.finished.is_some_and(|at| now.saturating_sub(at) < rest)
        })
        .filter_map(|job| job.object.parse().ok())
}
