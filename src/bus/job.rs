//! `org.handoverd1.Job`.

use std::sync::Arc;

use zbus::message::Header;
use zbus::{Connection, interface};

use super::authority::{Authority, Caller};
use super::error::BusError;
use super::values;
use crate::model::ids::JobId;
use crate::requests::Requests;
use crate::requests::jobs::JobView;
use crate::requests::refusal::Refusal;

/// A job's object.
pub struct JobObject {
    /// Its number.
    pub id: JobId,
    /// What it was when it was last told.
    pub view: JobView,
    /// What requests become.
    pub requests: Arc<Requests>,
    /// Who may.
    pub authority: Authority,
}

impl JobObject {
    /// The job as it is now, which may be newer than what was told last.
    fn now(&self) -> JobView {
        self.requests
            .jobs
            .view(self.id)
            .unwrap_or_else(|| self.view.clone())
    }
}

#[interface(interface = "org.handoverd1.Job")]
impl JobObject {
    /// Asks it to unwind.
    async fn cancel(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let Caller(who) = self.authority.check(connection, &header, "cancel-job").await?;
        Ok(self.requests.jobs.cancel(self.id, &who).await?)
    }

    /// Lets it try again if it is stuck.
    async fn resume(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        self.authority.check(connection, &header, "cancel-job").await?;
        Ok(self.requests.jobs.resume(self.id).await?)
    }

    /// Ends it as it is if it is stuck.
    async fn abandon(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let Caller(who) = self.authority.check(connection, &header, "cancel-job").await?;
        Ok(self.requests.jobs.abandon(self.id, &who).await?)
    }

    /// Its journal, oldest first: milliseconds since 1970, step, text.
    #[zbus(out_args("entries"))]
    async fn journal(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(u64, String, String)>, BusError> {
        self.authority.check(connection, &header, "list").await?;
        let entries = self
            .requests
            .world
            .table
            .journal(self.id)
            .await
            .map_err(Refusal::from)?;
        Ok(entries.into_iter().map(|e| (e.at, e.step, e.text)).collect())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u64 {
        self.id.0
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn operation(&self) -> String {
        self.now().record.operation.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn object(&self) -> String {
        self.now().record.object.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn source(&self) -> String {
        self.now().record.source.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn target(&self) -> String {
        self.now().record.target.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn started_by(&self) -> String {
        self.now().record.started_by.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn started(&self) -> u64 {
        self.now().record.started
    }

    #[zbus(property)]
    fn finished(&self) -> u64 {
        self.now().record.finished.unwrap_or(0)
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        if self.now().record.result.is_some() {
            "finished"
        } else {
            "running"
        }
    }

    #[zbus(property)]
    fn step(&self) -> String {
        self.now().step.clone()
    }

    #[zbus(property)]
    fn waiting(&self) -> String {
        self.now().waiting.clone()
    }

    #[zbus(property)]
    fn progress(&self) -> f64 {
        self.now().progress
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn progress_valid(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn cancelable(&self) -> bool {
        self.now().cancelable
    }

    /// -1: it had none, or it is not over.
    #[zbus(property)]
    fn gap_ms(&self) -> i64 {
        let gap = self.now().gap;
        gap.map_or(-1, |gap| i64::try_from(gap).unwrap_or(i64::MAX))
    }

    /// Service, target guest's name, why there, its own job (0: not begun), result, what went wrong.
    #[zbus(property)]
    fn members(&self) -> Vec<values::Member> {
        values::members(&self.now())
    }

    #[zbus(property)]
    fn result(&self) -> String {
        self.now().record.result.clone().unwrap_or_default()
    }

    #[zbus(property)]
    fn error_name(&self) -> String {
        self.now().record.error_name.clone()
    }

    #[zbus(property)]
    fn error_details(&self) -> String {
        self.now().record.error_details.clone()
    }
}
