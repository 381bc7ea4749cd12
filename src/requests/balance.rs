//! Loads are evened out: the moves that the planner names begin as one batch, because somebody asked for that or, where
//! the configuration says so, by the daemon itself.

mod by_itself;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cluster::{Look, Moving};
use super::planning::{EXPECTED, limits_of};
use super::refusal::Refusal;
use super::{MoveOptions, Requests};
use crate::model::batch::{Batch, BatchMember, Decision, NO_SINGLE_GUEST};
use crate::model::ids::{JobId, ServiceId};
use crate::plan::batch::{Batch as Schedule, Task};
use crate::plan::cluster::Cluster;
use crate::plan::decided::PlanError;
use crate::plan::rebalance::{self, Gap, Move};
use crate::ports::JobRecord;

pub use by_itself::{Balancing, Standing};

/// The operation of a job that evens out loads.
pub(super) const REBALANCE: &str = "rebalance";
/// How many services are moved at most where nobody says.
const MOST: u32 = 16;

impl Requests {
    /// Moves services, at most `most`, from the most to the least loaded guests until their loads are close enough. Its job
    /// is told; it ends at once where nothing is to be moved. What is under way already is not begun again: its job is told.
    ///
    /// # Errors
    /// What is done without being asked for is frozen, or the loads of fewer than two guests that would do are known.
    pub async fn rebalance(self: &Arc<Self>, most: Option<u32>, who: &str) -> Result<JobId, Refusal> {
        let _alone = self.deciding.lock().await;
        if let Some(alarm) = self.evacuations.alarm() {
            return Err(Refusal::Unavailable(format!(
                "loads are not evened out while everything is frozen: {alarm}"
            )));
        }
        let open = self.world.table.unfinished_batches().await?;
        if let Some(open) = open.into_iter().find(|batch| batch.guest == NO_SINGLE_GUEST) {
            return Ok(open.job);
        }
        let cluster = self.cluster(Look::All, Moving::All).await?;
        let gap = rebalance::gap(&cluster).ok_or_else(|| Refusal::Unavailable(why_unknown(&cluster)))?;
        let moves = self.moves_for_balance(&cluster, most.unwrap_or(MOST), &BTreeSet::new())?;
        self.begin_balance(&cluster, gap, &moves, who).await
    }

    /// The moves that lower the gap; services in `resting` stay.
    fn moves_for_balance(
        &self,
        cluster: &Cluster,
        most: u32,
        resting: &BTreeSet<ServiceId>,
    ) -> Result<Vec<Move>, Refusal> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let moves = rebalance::rebalance(cluster, self.balance.balance(), most, resting);
        Ok(moves.map_err(PlanError::from)?)
    }

    /// Begins these moves as one batch.
    async fn begin_balance(
        self: &Arc<Self>,
        cluster: &Cluster,
        gap: Gap,
        moves: &[Move],
        who: &str,
    ) -> Result<JobId, Refusal> {
        let options = self.batch_options(&MoveOptions::default());
        let tasks = moves.iter().filter_map(|made| task(cluster, made)).collect();
        let schedule = Schedule::of(tasks, limits_of(&options))
            .map_err(|no_order| Refusal::NoOrder(no_order.to_string()))?;
        let batch = Batch {
            job: JobId(0),
            guest: NO_SINGLE_GUEST,
            target: String::new(),
            options,
            members: (0..)
                .zip(moves)
                .map(|(seq, made)| member(cluster, seq, made))
                .collect(),
        };
        let ended = match moves {
            [] if gap.gap <= self.balance.balance().end => ", which is close enough",
            [] => ", and no service that may move would help",
            _ => "",
        };
        let object = format!("loads {} apart{ended}", gap.gap);
        let what = format!("{REBALANCE} {object}");
        let at = self.world.clock.now();
        let record = JobRecord {
            id: JobId(0),
            operation: REBALANCE.to_owned(),
            object,
            source: cluster.name_of(gap.high),
            target: cluster.name_of(gap.low),
            started_by: who.to_owned(),
            started: at,
            finished: None,
            result: None,
            error_name: String::new(),
            error_details: String::new(),
        };
        let how = self.loads.how();
        let decisions = |job| {
            let decision = |made: &Move| {
                let mut inputs = vec![(cluster.name_of(made.from), "it was there".to_owned())];
                inputs.push(("gap".to_owned(), told(cluster, gap)));
                if !how.is_empty() {
                    inputs.push(("load".to_owned(), how.to_owned()));
                }
                Decision {
                    at,
                    who: who.to_owned(),
                    what: REBALANCE.to_owned(),
                    service: made.service.clone(),
                    decision: format!("{}: {made}; job {job}", cluster.name_of(made.to)),
                    inputs,
                }
            };
            moves.iter().map(decision).collect()
        };
        self.start_batch(record, &what, batch, schedule, decisions).await
    }
}

/// `the loads of g1 and g3 are 42 % apart`.
fn told(cluster: &Cluster, gap: Gap) -> String {
    let (high, low) = (cluster.name_of(gap.high), cluster.name_of(gap.low));
    format!("the loads of {high} and {low} are {} apart", gap.gap)
}

/// Why it is not known how far the loads are apart, and what to do.
fn why_unknown(cluster: &Cluster) -> String {
    let mut fit = 0_usize;
    let mut unknown: Vec<&str> = Vec::new();
    for guest in cluster.guests() {
        if guest.obstacles.is_empty() && guest.maintenance.is_none() {
            fit = fit.saturating_add(1);
            if guest.load.is_none() {
                unknown.push(&guest.name);
            }
        }
    }
    if fit < 2 {
        return format!(
            "loads are evened out between two guests at least, and {fit} would do now; `handoverctl guests --check` tells \
             what is in the way of the others"
        );
    }
    unknown.sort_unstable();
    format!(
        "how far the loads are apart is not known: that of {} is not measured yet; ask again in a minute",
        unknown.join(", ")
    )
}

fn task(cluster: &Cluster, made: &Move) -> Option<Task> {
    let (service, target) = (cluster.service(&made.service)?, cluster.guest(made.to)?);
    Some(Task {
        service: service.id.clone(),
        target: target.id,
        host: target.host.clone(),
        runs: service.wanted.wants_running(),
        priority: service.needs.priority,
        after: service.needs.after.clone(),
        expected: service.expected.unwrap_or(EXPECTED),
    })
}

fn member(cluster: &Cluster, seq: u32, made: &Move) -> BatchMember {
    BatchMember {
        seq,
        service: made.service.clone(),
        target: Some(made.to),
        target_name: cluster.name_of(made.to),
        why: format!("from {}: {made}", cluster.name_of(made.from)),
        job: None,
        result: None,
        details: String::new(),
    }
}
