//! The ports of a daemon that follows a script; what is made is made by the simulator.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use handoverd::adapters::sim::call::{Call, Method};
use handoverd::adapters::sim::ports::SimPorts;
use handoverd::handover::record::{Duty, Handover};
use handoverd::model::batch::{Batch, BatchMember, Decision};
use handoverd::model::disk::{DiskSerial, GuestDisk};
use handoverd::model::grant::{Grant, GrantFile};
use handoverd::model::guest::{AgentInfo, CopyState, GuestDomain, GuestSummary, ProbeReport};
use handoverd::model::ids::{Attempt, Digest, Generation, GuestId, HostId, JobId, ServiceId};
use handoverd::model::name::{DnsName, NameChange, NameRecords};
use handoverd::model::placement::Placement;
use handoverd::model::service::{BundleRecord, Millis, ServiceRecord};
use handoverd::model::standby::Standby;
use handoverd::ports::{
    Authority, Clock, Commit, Fault, Guest, GuestStep, Half, Hypervisor, JobRecord, JournalEntry, NameServer,
    PortError, StandbyTable, Swapped, Table, TableError, Tries,
};
use handoverd::watch::blast::Alarm;
use handoverd::watch::maintenance::{Entry as Maintained, Object};

use super::answers::{Failure, Keep};
use super::script::{Ruling, Script, Slot};

/// The ports of one daemon.
pub struct Scripted {
    pub sim: SimPorts,
    pub script: Arc<Script>,
    /// The fault of the first call that is made.
    pub slot: Slot,
    /// The bundles of the table.
    pub bundles: Arc<BTreeMap<Digest, BundleRecord>>,
}

fn call(method: Method, guest: Option<GuestId>) -> Call {
    Call {
        number: 0,
        method,
        guest,
        half: None,
        step: None,
    }
}

impl Scripted {
    async fn port<T: Keep>(
        &self,
        call: Call,
        made: impl Future<Output = Result<T, PortError>> + Send,
    ) -> Result<T, PortError> {
        match self.script.rule(call) {
            Ruling::Given(answer) => T::from_answer(&answer)
                .unwrap_or(Err(Failure::Port(Fault::Unavailable)))
                .map_err(Failure::port),
            Ruling::Made => {
                let kept = made.await.map_err(|error| Failure::from(&error));
                self.script.keep(kept, &self.slot);
                let progress = self.script.lock();
                let last = progress.history.last().and_then(|answer| T::from_answer(answer));
                last.unwrap_or(Err(Failure::Storage)).map_err(Failure::port)
            }
            Ruling::Fails => {
                let failure = Failure::Port(Fault::Unavailable);
                self.script.keep::<T>(Err(failure), &self.slot);
                Err(failure.port())
            }
            Ruling::Blocked => std::future::pending().await,
        }
    }

    async fn row<T: Keep>(
        &self,
        method: Method,
        made: impl Future<Output = Result<T, TableError>> + Send,
    ) -> Result<T, TableError> {
        let failed = |failure: Failure| failure.table("web");
        match self.script.rule(call(method, None)) {
            Ruling::Given(answer) => T::from_answer(&answer)
                .unwrap_or(Err(Failure::Storage))
                .map_err(failed),
            Ruling::Made => {
                let kept = made.await.map_err(|error| Failure::from(&error));
                self.script.keep(kept, &self.slot);
                let progress = self.script.lock();
                let last = progress.history.last().and_then(|answer| T::from_answer(answer));
                last.unwrap_or(Err(Failure::Storage)).map_err(failed)
            }
            Ruling::Fails | Ruling::Blocked => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Hypervisor for Scripted {
    fn hosts(&self) -> Vec<HostId> {
        self.sim.hosts()
    }

    async fn guests(&self) -> Vec<Result<GuestSummary, (HostId, PortError)>> {
        self.sim.guests().await
    }

    async fn inspect(&self, guest: GuestId) -> Result<Option<GuestDomain>, PortError> {
        self.port(call(Method::Inspect, Some(guest)), self.sim.inspect(guest))
            .await
    }

    async fn claim_guest(&self, guest: GuestId, own: &HostId) -> Result<(), PortError> {
        let made = self.sim.claim_guest(guest, own);
        self.port(call(Method::ClaimGuest, Some(guest)), made).await
    }

    async fn everywhere(&self, guest: GuestId) -> Result<Vec<GuestDomain>, PortError> {
        let made = self.sim.everywhere(guest);
        self.port(call(Method::Everywhere, Some(guest)), made).await
    }

    async fn destroy(&self, guest: GuestId) -> Result<(), PortError> {
        let made = self.sim.destroy(guest);
        self.port(call(Method::Destroy, Some(guest)), made).await
    }

    async fn give(&self, guest: GuestId, half: Half, disk: &GuestDisk) -> Result<(), PortError> {
        let mut call = call(Method::Give, Some(guest));
        call.half = Some(half);
        self.port(call, self.sim.give(guest, half, disk)).await
    }

    async fn take(&self, guest: GuestId, half: Half, serial: &DiskSerial) -> Result<(), PortError> {
        let mut call = call(Method::Take, Some(guest));
        call.half = Some(half);
        self.port(call, self.sim.take(guest, half, serial)).await
    }

    async fn add_scsi_controller(&self, guest: GuestId, half: Half, index: u32) -> Result<(), PortError> {
        let made = self.sim.add_scsi_controller(guest, half, index);
        self.port(call(Method::AddController, Some(guest)), made).await
    }

    async fn image(&self, host: &HostId, digest: &Digest) -> Result<Option<(String, u64)>, PortError> {
        self.port(call(Method::Image, None), self.sim.image(host, digest))
            .await
    }

    async fn store_image(
        &self,
        host: &HostId,
        digest: &Digest,
        image: File,
        size: u64,
    ) -> Result<String, PortError> {
        let made = self.sim.store_image(host, digest, image, size);
        self.port(call(Method::StoreImage, None), made).await
    }

    async fn copy_image(
        &self,
        from: &HostId,
        to: &HostId,
        digest: &Digest,
        size: u64,
    ) -> Result<String, PortError> {
        let made = self.sim.copy_image(from, to, digest, size);
        self.port(call(Method::StoreImage, None), made).await
    }

    async fn delete_image(&self, host: &HostId, digest: &Digest) -> Result<(), PortError> {
        let made = self.sim.delete_image(host, digest);
        self.port(call(Method::DeleteImage, None), made).await
    }

    async fn make_grant(&self, host: &HostId, grant: &Grant, digest: &Digest) -> Result<String, PortError> {
        let made = self.sim.make_grant(host, grant, digest);
        self.port(call(Method::MakeGrant, Some(grant.guest)), made).await
    }

    async fn spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<Vec<GrantFile>, PortError> {
        let made = self.sim.spent_grants(guest, service);
        self.port(call(Method::Grants, Some(guest)), made).await
    }

    async fn delete_spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<(), PortError> {
        let made = self.sim.delete_spent_grants(guest, service);
        self.port(call(Method::DeleteGrants, Some(guest)), made).await
    }

    async fn grants(&self) -> Vec<Result<GrantFile, (HostId, PortError)>> {
        self.sim.grants().await
    }

    async fn volume(&self, host: &HostId, service: &ServiceId) -> Result<Option<(String, u64)>, PortError> {
        self.port(call(Method::Volume, None), self.sim.volume(host, service))
            .await
    }

    async fn make_volume(&self, host: &HostId, service: &ServiceId, size: u64) -> Result<String, PortError> {
        let made = self.sim.make_volume(host, service, size);
        self.port(call(Method::MakeVolume, None), made).await
    }

    async fn delete_volume(&self, host: &HostId, service: &ServiceId) -> Result<(), PortError> {
        let made = self.sim.delete_volume(host, service);
        self.port(call(Method::DeleteVolume, None), made).await
    }
}

#[async_trait]
impl Guest for Scripted {
    async fn agent(&self, guest: GuestId) -> Result<AgentInfo, PortError> {
        self.port(call(Method::Agent, Some(guest)), self.sim.agent(guest))
            .await
    }

    async fn addresses(&self, guest: GuestId) -> Result<Vec<IpAddr>, PortError> {
        self.port(call(Method::Addresses, Some(guest)), self.sim.addresses(guest))
            .await
    }

    async fn probe(&self, guest: GuestId, placement: &Placement) -> Result<ProbeReport, PortError> {
        let made = self.sim.probe(guest, placement);
        self.port(call(Method::Probe, Some(guest)), made).await
    }

    async fn look(&self, guest: GuestId, placement: &Placement) -> Result<CopyState, PortError> {
        let made = self.sim.look(guest, placement);
        self.port(call(Method::Look, Some(guest)), made).await
    }

    async fn act(
        &self,
        guest: GuestId,
        placement: &Placement,
        step: GuestStep,
        attempt: Attempt,
        deadline: Duration,
    ) -> Result<CopyState, PortError> {
        let mut call = call(Method::Act, Some(guest));
        call.step = Some(step);
        let made = self.sim.act(guest, placement, step, attempt, deadline);
        self.port(call, made).await
    }

    async fn check(
        &self,
        guest: GuestId,
        placement: &Placement,
        tries: Tries,
        deadline: Duration,
    ) -> Result<Result<(), String>, PortError> {
        let made = async {
            let passed = self.sim.check(guest, placement, tries, deadline).await?;
            Ok(passed.map_err(|_| String::new()))
        };
        self.port(call(Method::Check, Some(guest)), made).await
    }
}

#[async_trait]
impl NameServer for Scripted {
    fn zone_of(&self, name: &DnsName) -> Option<DnsName> {
        self.sim.zone_of(name)
    }

    async fn read(&self, name: &DnsName) -> Result<NameRecords, PortError> {
        self.port(call(Method::ReadName, None), self.sim.read(name)).await
    }

    async fn read_everywhere(&self, name: &DnsName) -> Result<Vec<Authority>, PortError> {
        let made = async {
            let all = self.sim.read_everywhere(name).await?;
            let kept = all.into_iter().map(|authority| {
                let records = authority.records.map_err(|error| Failure::from(&error));
                (authority.server, records)
            });
            Ok(kept.collect::<Vec<_>>())
        };
        let kept = self.port(call(Method::ReadEverywhere, None), made).await?;
        let told = kept.into_iter().map(|(server, records)| Authority {
            server,
            records: records.map_err(Failure::port),
        });
        Ok(told.collect())
    }

    async fn swap(&self, change: &NameChange) -> Result<Swapped, PortError> {
        self.port(call(Method::Swap, None), self.sim.swap(change)).await
    }
}

#[async_trait]
impl Clock for Scripted {
    fn now(&self) -> Millis {
        self.sim.now()
    }

    async fn sleep(&self, _duration: Duration) {
        if !self.script.wait() {
            std::future::pending::<()>().await;
        }
    }
}

/// Nothing keeps standbys in a checked model.
#[async_trait]
impl StandbyTable for Scripted {
    async fn standbys(&self) -> Result<Vec<Standby>, TableError> {
        self.sim.standbys().await
    }

    async fn touch_standby(&self, standby: &Standby) -> Result<Attempt, TableError> {
        self.row(Method::Standby, self.sim.touch_standby(standby)).await
    }

    async fn standby_is_ready(
        &self,
        service: &ServiceId,
        guest: GuestId,
        attempt: Attempt,
    ) -> Result<(), TableError> {
        let made = self.sim.standby_is_ready(service, guest, attempt);
        self.row(Method::Standby, made).await
    }

    async fn forget_standby(
        &self,
        service: &ServiceId,
        guest: GuestId,
        attempt: Attempt,
    ) -> Result<(), TableError> {
        let made = self.sim.forget_standby(service, guest, attempt);
        self.row(Method::Standby, made).await
    }
}

#[async_trait]
impl Table for Scripted {
    async fn services(&self) -> Result<Vec<ServiceRecord>, TableError> {
        self.row(Method::ReadTable, self.sim.services()).await
    }

    async fn service(&self, id: &ServiceId) -> Result<Option<ServiceRecord>, TableError> {
        self.row(Method::ReadTable, self.sim.service(id)).await
    }

    async fn observe(&self, service: &ServiceRecord) -> Result<(), TableError> {
        self.row(Method::Observe, self.sim.observe(service)).await
    }

    /// Bundles never change: what is read of them is no part of a history.
    async fn bundles(&self) -> Result<Vec<BundleRecord>, TableError> {
        Ok(self.bundles.values().cloned().collect())
    }

    async fn bundle(&self, digest: &Digest) -> Result<Option<BundleRecord>, TableError> {
        Ok(self.bundles.get(digest).cloned())
    }

    async fn put_bundle(&self, bundle: &BundleRecord) -> Result<(), TableError> {
        self.row(Method::Note, self.sim.put_bundle(bundle)).await
    }

    async fn begin(&self, job: &JobRecord, handover: &Handover) -> Result<Handover, TableError> {
        self.row(Method::Begin, self.sim.begin(job, handover)).await
    }

    async fn save(&self, handover: &Handover, entry: &JournalEntry) -> Result<(), TableError> {
        self.row(Method::Save, self.sim.save(handover, entry)).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<(), TableError> {
        self.row(Method::Commit, self.sim.commit(commit)).await
    }

    async fn forget(&self, commit: Commit<'_>) -> Result<(), TableError> {
        self.row(Method::Commit, self.sim.forget(commit)).await
    }

    async fn finish(
        &self,
        handover: &Handover,
        job: &JobRecord,
        entry: &JournalEntry,
    ) -> Result<(), TableError> {
        self.row(Method::Finish, self.sim.finish(handover, job, entry))
            .await
    }

    async fn holds(&self, job: JobId) -> Result<bool, TableError> {
        self.row(Method::ReadTable, self.sim.holds(job)).await
    }

    async fn unfinished(&self) -> Result<Vec<Handover>, TableError> {
        self.row(Method::ReadTable, self.sim.unfinished()).await
    }

    async fn handover(&self, job: JobId) -> Result<Option<Handover>, TableError> {
        let made = Table::handover(&self.sim, job);
        self.row(Method::ReadTable, made).await
    }

    async fn next_attempt(&self, service: &ServiceId) -> Result<Attempt, TableError> {
        self.row(Method::NextAttempt, self.sim.next_attempt(service))
            .await
    }

    async fn jobs(&self, before: Option<JobId>, limit: u32) -> Result<Vec<JobRecord>, TableError> {
        self.sim.jobs(before, limit).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, TableError> {
        self.row(Method::ReadTable, self.sim.job(id)).await
    }

    async fn journal(&self, job: JobId) -> Result<Vec<JournalEntry>, TableError> {
        self.sim.journal(job).await
    }

    async fn duties(&self) -> Result<Vec<Duty>, TableError> {
        self.row(Method::ReadTable, self.sim.duties()).await
    }

    async fn fulfil(
        &self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
    ) -> Result<(), TableError> {
        let made = self.sim.fulfil(service, guest, generation);
        self.row(Method::Fulfil, made).await
    }

    async fn postpone(
        &self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
        serve_until: Millis,
    ) -> Result<(), TableError> {
        let made = self.sim.postpone(service, guest, generation, serve_until);
        self.row(Method::Postpone, made).await
    }

    async fn begin_batch(&self, job: &JobRecord, batch: &Batch) -> Result<JobId, TableError> {
        self.sim.begin_batch(job, batch).await
    }

    async fn batch(&self, job: JobId) -> Result<Option<Batch>, TableError> {
        Table::batch(&self.sim, job).await
    }

    async fn save_member(
        &self,
        batch: JobId,
        member: &BatchMember,
        entry: &JournalEntry,
    ) -> Result<(), TableError> {
        self.sim.save_member(batch, member, entry).await
    }

    async fn finish_batch(&self, job: &JobRecord, entry: &JournalEntry) -> Result<(), TableError> {
        self.sim.finish_batch(job, entry).await
    }

    async fn unfinished_batches(&self) -> Result<Vec<Batch>, TableError> {
        self.sim.unfinished_batches().await
    }

    async fn decide(&self, decisions: &[Decision]) -> Result<(), TableError> {
        self.sim.decide(decisions).await
    }

    async fn last_decision(&self, service: &ServiceId) -> Result<Option<Decision>, TableError> {
        self.sim.last_decision(service).await
    }

    async fn keep_alarm(&self, alarm: Option<&Alarm>) -> Result<(), TableError> {
        self.sim.keep_alarm(alarm).await
    }

    async fn alarm(&self) -> Result<Option<Alarm>, TableError> {
        self.sim.alarm().await
    }

    async fn end_maintenance(&self, entry: &Maintained) -> Result<bool, TableError> {
        self.sim.end_maintenance(entry).await
    }

    async fn keep_maintenance(&self, object: &Object, entry: Option<&Maintained>) -> Result<(), TableError> {
        self.sim.keep_maintenance(object, entry).await
    }

    async fn maintenance(&self) -> Result<Vec<Maintained>, TableError> {
        self.sim.maintenance().await
    }

    async fn audit(&self, at: Millis, who: &str, what: &str, decision: &str) -> Result<(), TableError> {
        self.row(Method::Note, self.sim.audit(at, who, what, decision))
            .await
    }
}
