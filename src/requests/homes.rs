//! The standing question of N+1: if a guest died now, would its services have a home?
//!
//! Asked by the daemon itself after jobs have ended and guests have come or gone, and at least every two minutes. It asks
//! hosts and the table, and never a guest.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};

use super::Requests;
use super::cluster::{Look, Moving};
use super::jobs::JobEvent;
use super::refusal::Refusal;
use crate::model::service::Millis;
use crate::plan::strategy::Strategy;
use crate::plan::what_if::{Survival, one_death, worse, worst_first};

/// By which strategy an evacuation would place them.
const STRATEGY: Strategy = Strategy::LeastLoaded;
/// Before the first look: guests that boot with the host get going.
const FIRST: Duration = Duration::from_secs(15);
/// How often it is looked when nothing is heard.
const EVERY: Duration = Duration::from_secs(120);
/// How long after something was heard: a batch that ends tells of many jobs.
const SETTLE: Duration = Duration::from_secs(3);
/// A look may take this share of the time at most: where a look is long, the next one waits longer.
const SHARE: u64 = 20;
/// Of how many guests a warning tells.
const TOLD: usize = 5;

/// What would be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Since when it is so.
    pub since: Millis,
    /// The guests whose death would leave services without a home, the worst first; empty: none.
    pub losses: Vec<Survival>,
}

/// What is known of it.
#[derive(Debug)]
pub struct Homes {
    standing: watch::Sender<Option<Standing>>,
    again: Notify,
}

impl Default for Homes {
    fn default() -> Self {
        Self {
            standing: watch::Sender::new(None),
            again: Notify::new(),
        }
    }
}

impl Homes {
    /// How it stands; `None` before the first look.
    pub fn standing(&self) -> Option<Standing> {
        self.standing.borrow().clone()
    }

    /// How it stands, and how that changes.
    pub fn subscribe(&self) -> watch::Receiver<Option<Standing>> {
        self.standing.subscribe()
    }

    /// Guests have come or gone: it may stand otherwise.
    pub(super) fn look_again(&self) {
        self.again.notify_one();
    }

    /// Keeps what was seen, and tells what became worse, or that it is whole again.
    fn keep(&self, at: Millis, losses: Vec<Survival>) {
        let before = self.standing();
        let known = before.as_ref().map_or(&[][..], |standing| &standing.losses);
        let news = worse(known, &losses);
        if !news.is_empty() {
            let mut told: Vec<String> = news.iter().take(TOLD).map(ToString::to_string).collect();
            if let Some(more) = news.len().checked_sub(TOLD).filter(|more| *more > 0) {
                told.push(format!("and so of {more} more guests"));
            }
            tracing::warn!(
                guests = losses.len(),
                "no spare home: {}; see `handoverctl what-if dies GUEST`",
                told.join("; ")
            );
        } else if losses.is_empty() && !known.is_empty() {
            tracing::info!("if any one guest dies, all of its services have a home again");
        }
        if before.is_none_or(|before| before.losses != losses) {
            self.standing.send_replace(Some(Standing { since: at, losses }));
        }
    }
}

impl Requests {
    /// Looks as often as is needed, for as long as the daemon runs.
    pub async fn watch_homes(&self) {
        let mut jobs = self.jobs.subscribe();
        self.world.clock.sleep(FIRST).await;
        loop {
            jobs = jobs.resubscribe();
            let begun = self.world.clock.now();
            if let Err(refusal) = self.look_for_homes().await {
                tracing::debug!(%refusal, "which services would have a home is not known");
            }
            let took = self.world.clock.now().saturating_sub(begun);
            let rest = Duration::from_millis(took.saturating_mul(SHARE));
            tokio::select! {
                () = self.world.clock.sleep(EVERY.max(rest)) => {}
                () = job_ended(&mut jobs) => self.world.clock.sleep(SETTLE.max(rest)).await,
                () = self.homes.again.notified() => self.world.clock.sleep(SETTLE.max(rest)).await,
            }
        }
    }

    /// Looks once. Other tasks have their turn after every guest: with many guests all of it takes a while.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn look_for_homes(&self) -> Result<(), Refusal> {
        let at = self.world.clock.now();
        let cluster = self.cluster(Look::Listed, Moving::None).await?;
        let mut losses = Vec::new();
        for guest in cluster.guests() {
            let survival = one_death(&cluster, guest, STRATEGY);
            losses.extend(survival.filter(|survival| !survival.homeless.is_empty()));
            tokio::task::yield_now().await;
        }
        worst_first(&mut losses);
        self.homes.keep(at, losses);
        Ok(())
    }
}

/// Returns when a job has ended, or may have.
async fn job_ended(jobs: &mut broadcast::Receiver<JobEvent>) {
    loop {
        match jobs.recv().await {
            Ok(JobEvent::Ended(..)) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // The daemon is at its end.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
