//! The auditor at work: by itself, once a minute if nothing else is configured, and whenever somebody asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::lock::Mutex as AsyncMutex;
use tokio::sync::broadcast::error::RecvError;

use super::Requests;
use super::jobs::JobEvent;
use super::refusal::Refusal;
use crate::audit::finding::{CopyCounts, Finding};
use crate::audit::run::{Audited, Hand, Outcome, Report, once};
use crate::model::ids::{JobId, ServiceId};
use crate::model::service::Millis;

/// Before the first one at the latest: handovers that were under way are taken up first, and guests that boot with the host get going.
const FIRST: Duration = Duration::from_secs(15);

/// What the last audit of all services came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// When it began.
    pub at: Millis,
    /// How many services were looked at.
    pub checked: u32,
    /// How many of those that are to run have how many running copies.
    pub copies: CopyCounts,
    /// How many findings are left, by the word of their kind; none of a kind is not there.
    pub findings: BTreeMap<&'static str, u32>,
}

impl Summary {
    fn of(report: &Report) -> Self {
        let mut findings = BTreeMap::new();
        for audited in report.findings.iter().filter(|audited| !audited.is_settled()) {
            let count: &mut u32 = findings.entry(audited.finding.kind.as_str()).or_default();
            *count = count.saturating_add(1);
        }
        Self {
            at: report.at,
            checked: report.checked,
            copies: report.copies,
            findings,
        }
    }
}

/// What audits have come to so far.
#[derive(Default)]
pub struct Audits {
    last: Mutex<Option<Summary>>,
    /// What was logged, and is still so.
    told: Mutex<Vec<Finding>>,
    /// One audit at a time.
    turn: AsyncMutex<()>,
}

impl Audits {
    /// The last audit of all services; `None` before the first.
    pub fn summary(&self) -> Option<Summary> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what an audit of all services came to; each finding is logged when it is new, and when it is gone.
    fn keep(&self, report: &Report) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Summary::of(report));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let left: Vec<&Audited> = report
            .findings
            .iter()
            .filter(|audited| !audited.is_settled())
            .collect();
        for Audited { finding, outcome } in &left {
            if told.iter().any(|old| old.is_same(finding)) {
                continue;
            }
            let tried = match outcome {
                Outcome::Remains(why) => format!(" (tried in vain: {why})"),
                Outcome::Reported | Outcome::NeedsJob | Outcome::Done => String::new(),
            };
            tracing::warn!(
                kind = finding.kind.as_str(),
                rule = finding.kind.rule().as_str(),
                service = finding.service.as_ref().map(ToString::to_string),
                "audit: {}; {}{tried}",
                finding.what,
                finding.remedy.text()
            );
        }
        let gone = |old: &&Finding| !left.iter().any(|new| new.finding.is_same(old));
        for finding in told.iter().filter(gone) {
            tracing::info!(kind = finding.kind.as_str(), "audit: no longer: {}", finding.what);
        }
        *told = left.into_iter().map(|audited| audited.finding.clone()).collect();
    }
}

impl Requests {
    /// Audits for as long as the daemon runs, with a pause of `every` between two audits, and does what happens by itself.
    pub async fn audit_every(&self, every: Duration) {
        let mut wait = FIRST.min(every);
        loop {
            self.world.clock.sleep(wait).await;
            wait = every;
            let _turn = self.audits.turn.lock().await;
            match once(&self.world, None, Hand::ByItself).await {
                Ok(report) => {
                    log_deeds(&report);
                    self.audits.keep(&report);
                }
                Err(error) => tracing::warn!(%error, "the service table cannot be read: nothing is audited"),
            }
        }
    }

    /// Audits all services, or one, now. With `repair` everything is put right that is the daemon's to put right; what needs a
    /// job begins one, and waits for its end.
    ///
    /// # Errors
    /// There is no such service, or the table cannot be read.
    pub async fn audit(&self, service: Option<&str>, repair: bool, who: &str) -> Result<Report, Refusal> {
        let only = match service {
            Some(text) => Some(self.service(text).await?.id),
            None => None,
        };
        let _turn = self.audits.turn.lock().await;
        let hand = if repair {
            Hand::Repair(self.jobs.new_id())
        } else {
            Hand::Still
        };
        let mut report = once(&self.world, only.as_ref(), hand).await?;
        if repair {
            for audited in &mut report.findings {
                if let (Outcome::NeedsJob, Some(service)) = (&audited.outcome, &audited.finding.service) {
                    audited.outcome = self.start_again(service, who).await;
                }
            }
            log_deeds(&report);
            self.note(&report, only.as_ref(), who).await?;
        }
        if only.is_none() {
            self.audits.keep(&report);
        }
        Ok(report)
    }

    /// Begins the job that starts a service, and waits for its end.
    async fn start_again(&self, service: &ServiceId, who: &str) -> Outcome {
        let mut events = self.jobs.subscribe();
        let id = match self.start(service.as_str(), who).await {
            Ok(id) => id,
            Err(refusal) => return Outcome::Remains(refusal.to_string()),
        };
        loop {
            match events.recv().await {
                Ok(JobEvent::Ended(ended, _)) if ended == id => break,
                Err(RecvError::Lagged(_)) if !self.jobs.is_running(id) => break,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Outcome::Remains(format!("job {id} runs")),
            }
        }
        self.end_of(id)
    }

    fn end_of(&self, id: JobId) -> Outcome {
        let record = self.jobs.view(id).map(|view| view.record);
        match record {
            Some(record) if record.result.as_deref() == Some("done") => Outcome::Done,
            Some(record) => Outcome::Remains(format!(
                "job {id} ended as {}: {}",
                record.result.unwrap_or_default(),
                record.error_details
            )),
            None => Outcome::Remains(format!("job {id} has ended; see `handoverctl jobs show {id}`")),
        }
    }

    /// Who had what repaired is kept with the other requests.
    async fn note(&self, report: &Report, only: Option<&ServiceId>, who: &str) -> Result<(), Refusal> {
        let count = |settled: bool| {
            report
                .findings
                .iter()
                .filter(|a| a.is_settled() == settled)
                .count()
        };
        let what = format!(
            "audit --repair {}",
            only.map(ServiceId::as_str).unwrap_or("all services")
        );
        let decision = format!("{} repaired, {} left", count(true), count(false));
        self.world.table.audit(report.at, who, &what, &decision).await?;
        Ok(())
    }
}

/// Logs what was done.
fn log_deeds(report: &Report) {
    for Audited { finding, .. } in report.findings.iter().filter(|audited| audited.is_settled()) {
        tracing::info!(
            kind = finding.kind.as_str(),
            "audit: {}: {}",
            finding.what,
            finding.remedy.text()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::{Copies, Kind, Remedy, Says};

    fn finding(kind: Kind, what: &str) -> Finding {
        Finding {
            kind,
            service: Some("web".parse().unwrap()),
            guest: None,
            what: what.into(),
            says: Says::default(),
            copies: Copies::default(),
            remedy: Remedy::Operator("see to it".into()),
        }
    }

    fn report(findings: Vec<(Finding, Outcome)>) -> Report {
        let audited = |(finding, outcome)| Audited { finding, outcome };
        Report {
            at: 7,
            copies: CopyCounts::default(),
            checked: 2,
            findings: findings.into_iter().map(audited).collect(),
        }
    }

    #[test]
    fn a_summary_counts_what_is_left_by_its_kind() {
        let audits = Audits::default();
        assert_eq!(audits.summary(), None);
        audits.keep(&report(vec![
            (finding(Kind::Down, "a"), Outcome::Reported),
            (finding(Kind::Down, "b"), Outcome::Remains("no".into())),
            (finding(Kind::DiskStray, "c"), Outcome::Done),
        ]));
        let summary = audits.summary().unwrap();
        assert_eq!((summary.at, summary.checked), (7, 2));
        assert_eq!(summary.findings, BTreeMap::from([("down", 2)]));
    }

    #[test]
    fn a_finding_is_told_once_and_again_after_it_was_gone() {
        let audits = Audits::default();
        let again = || report(vec![(finding(Kind::Down, "a"), Outcome::Reported)]);
        let told = || audits.told.lock().unwrap().len();
        audits.keep(&again());
        audits.keep(&again());
        assert_eq!(told(), 1);
        audits.keep(&report(vec![]));
        assert_eq!(told(), 0);
    }
}
