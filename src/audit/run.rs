//! A whole audit: look, judge, confirm under the service's lock, act where that is allowed, look again.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{CopyCounts, Finding, Kind, Repair};
use super::gather::{Scope, gather};
use super::home;
use super::judge;
use super::picture::{Asked, Picture};
use super::repair::{carry_out, is_busy};
use crate::handover::world::{StepError, World};
use crate::model::ids::{HandoverId, ServiceId};
use crate::model::service::{Millis, ServiceRecord};
use crate::ports::TableError;

/// What an audit may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// Nothing: it reports.
    Still,
    /// What happens by itself: adopt what an operator did in a guest, start what is down since a boot.
    ByItself,
    /// That, and every repair that is the daemon's to make. An owner that it writes into the zone is marked with this new
    /// identity: no text comes twice, so nothing that is late expects it.
    Repair(HandoverId),
}

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was tried.
    Reported,
    /// It was put right, and a look after it agrees.
    Done,
    /// It was tried and is as it was: why.
    Remains(String),
    /// A job must do it, which the caller begins: nothing was tried yet.
    NeedsJob,
}

/// A finding and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// What was found.
    pub finding: Finding,
    /// What became of it.
    pub outcome: Outcome,
}

impl Audited {
    /// Whether nothing of it is left.
    pub fn is_settled(&self) -> bool {
        self.outcome == Outcome::Done
    }
}

/// What an audit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When it began.
    pub at: Millis,
    /// How many services were looked at.
    pub checked: u32,
    /// How many copies of those run that are to run, before anything was repaired.
    pub copies: CopyCounts,
    /// What was found: service by service.
    pub findings: Vec<Audited>,
}

/// Audits all services, or one. Writes into the table what was observed of each, whatever `hand` says.
///
/// Plain futures over the ports: nothing here needs a runtime, and the same world gives the same report.
///
/// # Errors
/// The table cannot be read.
pub async fn once(world: &World, only: Option<&ServiceId>, hand: Hand) -> Result<Report, TableError> {
    let at = world.clock.now();
    let scope = Scope {
        service: only,
        before: None,
    };
    let picture = gather(world, scope).await?;
    let looked_at = |service: &&ServiceRecord| only.is_none_or(|only| service.id == *only);
    observe(world, picture.services.iter().filter(looked_at), &picture, at).await?;
    let suspects: BTreeSet<ServiceId> = suspects(&picture, only);
    let mut findings = Vec::new();
    for service in suspects {
        findings.extend(settle(world, &picture, &service, hand).await?);
    }
    if only.is_none() {
        findings.extend(unknown_disks(world, picture.clone()).await?);
    }
    if hand != Hand::Still {
        mark(world, &picture, only).await;
    }
    let checked = picture.services.iter().filter(looked_at).count();
    let wanted = picture.services.iter().filter(looked_at);
    let wanted = wanted.filter(|service| service.wanted.wants_running());
    let copies = CopyCounts::of(wanted.map(|service| judge::copies(&picture, &service.id)));
    Ok(Report {
        at,
        checked: u32::try_from(checked).unwrap_or(u32::MAX),
        copies,
        findings,
    })
}

/// Services with a finding.
fn suspects(picture: &Picture, only: Option<&ServiceId>) -> BTreeSet<ServiceId> {
    judge::findings(picture)
        .into_iter()
        .filter_map(|finding| finding.service)
        .filter(|service| only.is_none_or(|only| service == only))
        .collect()
}

/// Looks at one service again under its lock, so that no job has begun or ended between two looks; acts, and looks again.
async fn settle(
    world: &World,
    before: &Picture,
    service: &ServiceId,
    hand: Hand,
) -> Result<Vec<Audited>, TableError> {
    let _guard = world.service_lock(service).await;
    let scope = Scope {
        service: Some(service),
        before: Some(before),
    };
    let picture = gather(world, scope).await?;
    let found = of(&picture, service);
    let mut tried: BTreeMap<usize, Option<String>> = BTreeMap::new();
    let mut jobs = BTreeSet::new();
    for (index, finding) in found.iter().enumerate() {
        let allowed = match hand {
            Hand::Still => None,
            Hand::ByItself => finding.remedy.permitted(false),
            Hand::Repair(_) => finding.remedy.permitted(true),
        };
        match allowed {
            None => {}
            Some(Repair::StartJob) => {
                jobs.insert(index);
            }
            Some(repair) => {
                let repair = match hand {
                    Hand::Repair(mark) => repair.marked(mark),
                    Hand::Still | Hand::ByItself => repair.clone(),
                };
                let done = carry_out(world, &picture, service, &repair).await;
                tried.insert(index, done.err().map(text_of));
            }
        }
    }
    let after = if tried.is_empty() {
        found.clone()
    } else {
        of(&gather(world, scope).await?, service)
    };
    let outcome = |index: usize, finding: &Finding| match tried.get(&index) {
        None if jobs.contains(&index) => Outcome::NeedsJob,
        None => Outcome::Reported,
        Some(error) => {
            let there = after.iter().any(|later| later.is_same(finding));
            match (there, error) {
                // Also where it failed: then its effect was unknown, and the look tells.
                (false, _) => Outcome::Done,
                (true, Some(why)) => Outcome::Remains(why.clone()),
                (true, None) => {
                    Outcome::Remains("it was done, and a look after it finds the same".to_owned())
                }
            }
        }
    };
    let mut audited: Vec<Audited> = found
        .iter()
        .enumerate()
        .map(|(index, finding)| Audited {
            finding: finding.clone(),
            outcome: outcome(index, finding),
        })
        .collect();
    // What a repair has brought to light is told too.
    for finding in after {
        if !found.iter().any(|earlier| earlier.is_same(&finding)) {
            audited.push(Audited {
                finding,
                outcome: Outcome::Reported,
            });
        }
    }
    Ok(audited)
}

fn of(picture: &Picture, service: &ServiceId) -> Vec<Finding> {
    let all = judge::findings(picture).into_iter();
    all.filter(|finding| finding.service.as_ref() == Some(service))
        .collect()
}

fn text_of(error: StepError) -> String {
    match error {
        StepError::Refused(reason) => reason.text,
        StepError::Failed(text) => text,
    }
}

/// Disks that nobody knows, with a table that is read again: a bundle may have been registered since.
async fn unknown_disks(world: &World, mut picture: Picture) -> Result<Vec<Audited>, TableError> {
    let unknown = |picture: &Picture| -> Vec<Finding> {
        let all = judge::findings(picture).into_iter();
        all.filter(|finding| finding.kind == Kind::DiskUnknown).collect()
    };
    if unknown(&picture).is_empty() {
        return Ok(Vec::new());
    }
    picture.bundles = world.table.bundles().await?;
    let found = unknown(&picture).into_iter().map(|finding| Audited {
        finding,
        outcome: Outcome::Reported,
    });
    Ok(found.collect())
}

/// Writes what was seen of each service that no job has, unless that cannot be told.
async fn observe<'a>(
    world: &World,
    services: impl Iterator<Item = &'a ServiceRecord>,
    picture: &Picture,
    at: Millis,
) -> Result<(), TableError> {
    for seen in services.filter(|service| !picture.is_busy(&service.id)) {
        let Some(observed) = home::observed(picture, seen) else {
            continue;
        };
        let _guard = world.service_lock(&seen.id).await;
        if is_busy(world, &seen.id).await? {
            continue;
        }
        // Anything may have been written since: only what was seen is changed.
        let Some(row) = world.table.service(&seen.id).await? else {
            continue;
        };
        if (row.generation, row.guest, row.wanted) != (seen.generation, seen.guest, seen.wanted) {
            continue;
        }
        let row = ServiceRecord {
            observed,
            observed_at: at,
            ..row
        };
        world.table.observe(&row).await?;
    }
    Ok(())
}

/// Notes in the guests which copies were seen up without a link: systemd forgets such a unit as soon as it is stopped. One
/// that cannot be noted now is noted by the next audit.
async fn mark(world: &World, picture: &Picture, only: Option<&ServiceId>) {
    for service in &picture.services {
        let Some(Asked::Seen(copy)) = picture.copy(&service.id, service.guest) else {
            continue;
        };
        let unnoted = copy.is_up() && copy.links == 0 && !copy.was_up;
        if !unnoted || !service.wanted.wants_running() || only.is_some_and(|only| *only != service.id) {
            continue;
        }
        let _guard = world.service_lock(&service.id).await;
        // By now it may have been adopted, and noted with that.
        let row = match world.table.service(&service.id).await {
            Ok(Some(row)) if row.enablement == copy.enablement => row,
            _ => continue,
        };
        if let Err(error) = carry_out(world, picture, &row.id, &Repair::Mark).await {
            tracing::debug!(service = %row.id, "it is not noted in its guest that it is up: {}", text_of(error));
        }
    }
}
