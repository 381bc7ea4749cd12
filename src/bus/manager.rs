//! `org.handoverd1.Manager`.

mod callers;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd as StdFd;
use std::sync::Arc;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath, interface};

use super::authority::{Authority, Caller};
use super::error::BusError;
use super::plan::PlanObject;
use super::values::{self, Options, Row, files, known_only, limit, text};
use super::{options, plan_path};
use crate::model::ids::JobId;
use crate::requests::refusal::Refusal;
use crate::requests::{DeployOptions, MoveOptions, Requests};

/// The object at the root.
pub struct Manager {
    /// What requests become.
    pub requests: Arc<Requests>,
    /// Who may.
    pub authority: Authority,
}

#[interface(interface = "org.handoverd1.Manager")]
impl Manager {
    /// Keeps a bundle image; answers its digest.
    #[zbus(out_args("digest"))]
    async fn register_bundle(
        &self,
        fd: OwnedFd,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BusError> {
        self.caller(connection, &header, "register").await?;
        known_only(&options, &["sha256"])?;
        let expected = match text(&options, "sha256")? {
            Some(hex) => Some(
                hex.parse()
                    .map_err(|e: crate::model::ids::InvalidId| BusError::from(Refusal::from(e)))?,
            ),
            None => None,
        };
        let image = File::from(StdFd::from(fd));
        Ok(self.requests.register(image, expected).await?.to_string())
    }

    /// Deploys a bundle's service to a guest.
    #[zbus(out_args("job"))]
    async fn deploy(
        &self,
        bundle: &str,
        target: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.caller(connection, &header, "deploy").await?;
        known_only(&options, &["life_state", "files", "take_over"])?;
        let stopped = match text(&options, "life_state")?.as_deref() {
            None | Some("running") => false,
            Some("stopped") => true,
            Some(other) => {
                return Err(BusError::new(
                    "InvalidArgument",
                    format!("option \"life_state\" is {other:?}; it must be running or stopped"),
                ));
            }
        };
        let take_over = values::yes(&options, "take_over")?;
        let options = DeployOptions {
            stopped,
            take_over,
            files: files(&options)?,
        };
        let id = self.requests.deploy(bundle, target, options, &who).await?;
        Ok(self.shown(connection, id).await)
    }

    /// Removes a service.
    #[zbus(out_args("job"))]
    async fn remove(
        &self,
        service: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.caller(connection, &header, "remove").await?;
        known_only(&options, &["delete_data"])?;
        let delete_data = values::yes(&options, "delete_data")?;
        let id = self.requests.remove(service, delete_data, &who).await?;
        Ok(self.shown(connection, id).await)
    }

    /// Starts a service where it is.
    #[zbus(out_args("job"))]
    async fn start(
        &self,
        service: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.caller(connection, &header, "start").await?;
        known_only(&options, &[])?;
        let id = self.requests.start(service, &who).await?;
        Ok(self.shown(connection, id).await)
    }

    /// Stops a service where it is.
    #[zbus(out_args("job"))]
    async fn stop(
        &self,
        service: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.caller(connection, &header, "stop").await?;
        known_only(&options, &[])?;
        let id = self.requests.stop(service, &who).await?;
        Ok(self.shown(connection, id).await)
    }

    /// Moves a service to a guest.
    #[zbus(out_args("job"), name = "Move")]
    async fn move_object(
        &self,
        object: &str,
        target: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.caller(connection, &header, "move").await?;
        let options = options::move_options(&options)?;
        let id = self.requests.move_(object, target, options, &who).await?;
        Ok(self.shown(connection, id).await)
    }

    /// Decides a move and begins nothing.
    #[zbus(out_args("plan"))]
    async fn plan(
        &self,
        object: &str,
        target: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        self.caller(connection, &header, "plan").await?;
        let options = options::move_options(&options)?;
        let (id, gone) = self.requests.plan(object, target, options).await?;
        let server = connection.object_server();
        for old in gone {
            server.remove::<PlanObject, _>(plan_path(&old)).await?;
        }
        let path = plan_path(&id);
        let object = PlanObject {
            id,
            requests: self.requests.clone(),
            authority: self.authority,
        };
        server.at(&path, object).await?;
        Ok(path)
    }

    /// What would become of services.
    #[zbus(out_args("losses"))]
    async fn what_if(
        &self,
        event: &str,
        guest: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(String, Vec<(String, Row)>)>, BusError> {
        self.caller(connection, &header, "list").await?;
        known_only(&options, &[])?;
        if event != "dies" {
            return Err(BusError::new(
                "InvalidArgument",
                format!("{event:?} is not known here; known is: dies"),
            ));
        }
        let guest = Some(guest).filter(|guest| !guest.is_empty());
        let losses = self.requests.what_if_dies(guest).await?;
        let rows = losses.iter().map(|(guest, entries)| {
            let rows = entries.iter().map(values::entry_row).collect();
            (guest.clone(), rows)
        });
        Ok(rows.collect())
    }

    /// The last decision where a service is to be.
    #[zbus(out_args("decision"))]
    async fn why(
        &self,
        service: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Row, BusError> {
        self.caller(connection, &header, "list").await?;
        let decision = self.requests.why(service).await?;
        Ok(values::decision_row(&decision))
    }

    /// Moves no service by itself any more.
    async fn freeze(
        &self,
        reason: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let Caller(who) = self.caller(connection, &header, "freeze").await?;
        known_only(&options, &[])?;
        Ok(self.requests.freeze(reason, &who).await?)
    }

    /// Moves services of dead guests by itself again.
    async fn thaw(
        &self,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let Caller(who) = self.caller(connection, &header, "freeze").await?;
        known_only(&options, &[])?;
        Ok(self.requests.thaw(&who).await?)
    }

    /// Begins or ends the maintenance of a guest or host.
    #[zbus(out_args("drains"))]
    async fn set_maintenance(
        &self,
        kind: &str,
        name: &str,
        state: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(String, u64, String)>, BusError> {
        let Caller(who) = self.caller(connection, &header, "maintenance").await?;
        let begins = options::maintenance(state, &options)?;
        let drained = self.requests.set_maintenance(kind, name, begins, &who).await?;
        Ok(drained.into_iter().map(values::drained).collect())
    }

    /// Evens out the loads of guests.
    #[zbus(out_args("job"))]
    async fn rebalance(
        &self,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.caller(connection, &header, "rebalance").await?;
        known_only(&options, &["most"])?;
        let most = options::from_1_to_64(&options, "most")?;
        let id = self.requests.rebalance(most, &who).await?;
        Ok(self.shown(connection, id).await)
    }

    /// Gives a service a new bundle.
    #[zbus(out_args("job"))]
    async fn upgrade(
        &self,
        service: &str,
        bundle: &str,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.caller(connection, &header, "upgrade").await?;
        known_only(&options, &["target", "files", "drain"])?;
        let target = text(&options, "target")?;
        let options = MoveOptions {
            drain: options::drain(&options)?,
            files: files(&options)?,
            ..MoveOptions::default()
        };
        let id = self
            .requests
            .upgrade(service, bundle, target.as_deref(), options, &who)
            .await?;
        Ok(self.shown(connection, id).await)
    }

    /// Services by id.
    #[zbus(out_args("services"))]
    async fn list_services(
        &self,
        filter: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(String, Row)>, BusError> {
        self.caller(connection, &header, "list").await?;
        known_only(&filter, &["service", "guest", "limit", "after"])?;
        let guest = match text(&filter, "guest")? {
            Some(text) => Some(self.requests.guest(&text).await?.id),
            None => None,
        };
        let only = text(&filter, "service")?;
        let after = text(&filter, "after")?;
        let limit = if only.is_some() {
            usize::MAX
        } else {
            limit(&filter)?
        };
        let rows = self.requests.service_rows(guest, after.as_deref(), limit).await?;
        Ok(rows
            .into_iter()
            .filter(|row| only.as_ref().is_none_or(|id| row.service.id.as_str() == id))
            .map(|row| (row.service.id.to_string(), values::service_row(&row)))
            .collect())
    }

    /// Guests of all hosts.
    #[zbus(out_args("guests"))]
    async fn list_guests(
        &self,
        filter: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(String, Row)>, BusError> {
        self.caller(connection, &header, "list").await?;
        known_only(&filter, &["guest", "probe"])?;
        let only = text(&filter, "guest")?;
        let probe = values::yes(&filter, "probe")?;
        let rows = self.requests.guest_rows(only.as_deref(), probe).await?;
        Ok(rows
            .iter()
            .map(|g| (g.summary.id.to_string(), values::guest_row(g)))
            .collect())
    }

    /// Bundles by service and time.
    #[zbus(out_args("bundles"))]
    async fn list_bundles(
        &self,
        filter: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(String, Row)>, BusError> {
        self.caller(connection, &header, "list").await?;
        known_only(&filter, &[])?;
        let bundles = self.requests.world.table.bundles().await.map_err(Refusal::from)?;
        Ok(bundles
            .iter()
            .map(|b| (b.digest.to_string(), values::bundle_row(b)))
            .collect())
    }

    /// Jobs, newest first.
    #[zbus(out_args("jobs"))]
    async fn list_jobs(
        &self,
        filter: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(u64, Row)>, BusError> {
        self.caller(connection, &header, "list").await?;
        known_only(&filter, &["before", "limit", "service"])?;
        let before = values::number(&filter, "before")?.map(JobId);
        let limit = u32::try_from(limit(&filter)?).unwrap_or(u32::MAX);
        let object = text(&filter, "service")?;
        let rows = self.requests.job_rows(before, limit, object.as_deref()).await?;
        Ok(rows.iter().map(|j| (j.record.id.0, values::job_row(j))).collect())
    }

    /// A job's journal, also of one that has no object any more.
    #[zbus(out_args("entries"))]
    async fn job_journal(
        &self,
        job: u64,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(u64, String, String)>, BusError> {
        self.caller(connection, &header, "list").await?;
        let id = JobId(job);
        let table = &self.requests.world.table;
        table
            .job(id)
            .await
            .map_err(Refusal::from)?
            .ok_or(Refusal::NoSuchJob(id))?;
        let entries = table.journal(id).await.map_err(Refusal::from)?;
        Ok(entries.into_iter().map(|e| (e.at, e.step, e.text)).collect())
    }

    /// Compares table, zone, libvirt and guests; repairs if told to.
    #[zbus(out_args("findings"))]
    async fn audit(
        &self,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(String, Row)>, BusError> {
        let repair = values::yes(&options, "repair")?;
        let verb = if repair { "repair" } else { "list" };
        let Caller(who) = self.caller(connection, &header, verb).await?;
        known_only(&options, &["service", "repair"])?;
        let service = text(&options, "service")?;
        let report = self.requests.audit(service.as_deref(), repair, &who).await?;
        Ok(report.findings.iter().map(values::finding_row).collect())
    }

    /// A job began.
    #[zbus(signal)]
    pub async fn job_new(emitter: &SignalEmitter<'_>, id: u64, job: OwnedObjectPath) -> zbus::Result<()>;

    /// A job ended.
    #[zbus(signal)]
    pub async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u64,
        job: OwnedObjectPath,
        result: &str,
    ) -> zbus::Result<()>;

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The last audit of all services: when it began, how many services it looked at, how many findings are left by kind.
    #[zbus(property(emits_changed_signal = "false"))]
    fn audit_summary(&self) -> (u64, u32, HashMap<String, u32>) {
        let Some(summary) = self.requests.audits.summary() else {
            return Default::default();
        };
        let counts = summary.findings.into_iter();
        let findings = counts.map(|(kind, count)| (kind.to_owned(), count)).collect();
        (summary.at, summary.checked, findings)
    }

    /// Of the last audit of all services: how many of those that are to run have no running copy, one, two or more, and of how
    /// many that is not known.
    #[zbus(property(emits_changed_signal = "false"))]
    fn audit_copies(&self) -> (u32, u32, u32, u32) {
        let summary = self.requests.audits.summary();
        let copies = summary.map_or_else(Default::default, |summary| summary.copies);
        (copies.none, copies.one, copies.more, copies.unknown)
    }

    /// How many jobs run, how many are stuck, how many duties are open.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn open_work(&self) -> zbus::fdo::Result<(u32, u32, u32)> {
        let (running, stuck) = self.requests.jobs.open();
        let duties = self.requests.world.table.duties().await;
        let duties = duties.map_err(|error| zbus::fdo::Error::Failed(error.to_string()))?;
        Ok((running, stuck, u32::try_from(duties.len()).unwrap_or(u32::MAX)))
    }

    /// Since when it is so (0: not looked yet), and the guests whose death would leave services without a home: UUID, name,
    /// how many services, which have none.
    #[zbus(property)]
    fn homeless(&self) -> (u64, Vec<values::LossRow>) {
        let standing = self.requests.homes.standing();
        standing.as_ref().map_or_else(Default::default, values::standing)
    }

    /// Since when no service is moved by itself, and why; 0 and empty: they are.
    #[zbus(property)]
    fn frozen(&self) -> (u64, String) {
        let alarm = self.requests.evacuations.alarm();
        alarm.map_or_else(Default::default, |alarm| (alarm.at, alarm.to_string()))
    }

    /// How the evening out of loads by itself stands, for people; "off": it is not configured.
    #[zbus(property(emits_changed_signal = "false"))]
    fn balance(&self) -> String {
        self.requests.balancing.standing().to_string()
    }

    /// The daemon's own host.
    #[zbus(property(emits_changed_signal = "const"))]
    fn host(&self) -> String {
        self.requests.world.host.to_string()
    }
}
