//! Records that the tests write, and a table in a folder of its own.

use std::path::PathBuf;
use std::time::Duration;

use handoverd::adapters::sqlite::SqliteTable;
use handoverd::handover::goals::{Goal, Kind};
use handoverd::handover::machine::{Direction, Phase, State};
use handoverd::handover::record::{ClaimedFrom, Duty, Facts, Handover, Lead, Lowering, Place, Reason, Since};
use handoverd::model::ids::{Digest, Generation, GuestId, HandoverId, JobId, ServiceId};
use handoverd::model::life::{Enablement, LifeState};
use handoverd::model::manifest::{Check, CheckProbe, DnsEntry, EnvironmentFile, Manifest, UnitFile};
use handoverd::model::name::{Owner, Srv, SrvSet};
use handoverd::model::needs::Needs;
use handoverd::model::placement::PlacedFile;
use handoverd::model::service::{BundleRecord, ServiceRecord};
use handoverd::model::volume::{DataSpec, FileSystem, Volume};
use handoverd::ports::{Commit, JobRecord, JournalEntry, Table, TableError};
use uuid::Uuid;

/// A table in a temporary folder, with the bundles 1 and 2 of `web` and `api` registered.
pub struct Fixture {
    pub table: SqliteTable,
    pub path: PathBuf,
    pub folder: tempfile::TempDir,
}

impl Fixture {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.db");
        let table = SqliteTable::open(&path).unwrap();
        for bundle in [bundle("web", 1), bundle("web", 2), bundle("api", 3)] {
            table.put_bundle(&bundle).await.unwrap();
        }
        Self { table, path, folder }
    }

    /// Closes the table and opens it again.
    pub fn reopen(self) -> Self {
        let Self { table, path, folder } = self;
        drop(table);
        let table = SqliteTable::open(&path).unwrap();
        Self { table, path, folder }
    }

    /// Deploys a service to guest 1 as generation 1.
    pub async fn deploy(&self, name: &str) -> ServiceRecord {
        let handover = self
            .table
            .begin(&job("deploy"), &handover(name, Kind::Deploy, 1))
            .await
            .unwrap();
        let row = service(name, 1, 1);
        self.commit(&handover, &row, None).await;
        self.table
            .finish(&done(&handover), &ended(&handover, "done"), &entry("end"))
            .await
            .unwrap();
        row
    }

    /// Begins a move of a service to guest 2 that gives it this generation.
    pub async fn begin_move(&self, name: &str, generation: u64) -> Handover {
        self.table
            .begin(&job("move"), &handover(name, Kind::Move, generation))
            .await
            .unwrap()
    }

    pub async fn commit(&self, handover: &Handover, row: &ServiceRecord, duty: Option<&Duty>) {
        self.table
            .commit(commit(handover, row, duty, &entry("commit")))
            .await
            .unwrap();
    }

    /// All of one column, read by another program.
    pub fn column(&self, sql: &str) -> Vec<String> {
        let other = rusqlite::Connection::open(&self.path).unwrap();
        let mut statement = other.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

pub fn commit<'a>(
    handover: &'a Handover,
    service: &'a ServiceRecord,
    duty: Option<&'a Duty>,
    entry: &'a JournalEntry,
) -> Commit<'a> {
    Commit {
        handover,
        service,
        duty,
        entry,
    }
}

pub fn id(name: &str) -> ServiceId {
    name.parse().unwrap()
}

pub fn digest(number: u8) -> Digest {
    Digest::from_sha256(&[number; 32])
}

pub fn guest(number: u128) -> GuestId {
    GuestId(Uuid::from_u128(number))
}

pub fn secret() -> PlacedFile {
    PlacedFile {
        path: "/etc/web/key".to_owned(),
        content: vec![0, 255, 10, 195],
        mode: 0o640,
        owner: "root".to_owned(),
        group: "web".to_owned(),
    }
}

/// What the source of a move has, before the target is given [`secret`].
pub fn old_secret() -> PlacedFile {
    PlacedFile {
        content: b"the key of the old copy".to_vec(),
        ..secret()
    }
}

pub fn bundle(name: &str, number: u8) -> BundleRecord {
    BundleRecord {
        digest: digest(number),
        size: 8192,
        manifest: Manifest {
            service: id(name),
            version: format!("1.{number}"),
            units: vec!["web@1.service".parse().unwrap()],
            check: Some(Check {
                probe: CheckProbe::Tcp("127.0.0.1".to_owned(), 80),
                interval: Duration::from_millis(500),
                timeout: Duration::from_secs(30),
                successes: 3,
            }),
            dns: Some(dns(name)),
            srv: Vec::new(),
            user: Some("web".to_owned()),
            config: Vec::new(),
            secrets: vec![EnvironmentFile {
                name: "key".to_owned(),
                path: "/etc/web/key".to_owned(),
                mode: 0o640,
                owner: "root".to_owned(),
                group: "web".to_owned(),
            }],
            ports: vec![80],
            data: Some(DataSpec {
                size: 1 << 30,
                filesystem: FileSystem::Xfs,
                mount_point: "/srv/web".to_owned(),
            }),
            needs: Needs {
                memory: Some(256 << 20),
                labels: vec!["ssd".parse().unwrap()],
                after: vec![id("db")],
                ..Needs::default()
            },
            overlap: true,
            movable: true,
        },
        units: vec![UnitFile {
            name: "web@.service".parse().unwrap(),
            text: "[Service]\nExecStart=/opt/web/bin/web \"%i\"\n".to_owned(),
        }],
        registered: 1_000 + u64::from(number),
    }
}

fn dns(name: &str) -> DnsEntry {
    DnsEntry {
        name: format!("{name}.svc.lab").parse().unwrap(),
        ttl: 30,
    }
}

/// A data volume.
pub fn volume(name: &str) -> Volume {
    Volume {
        host: "hv1".parse().unwrap(),
        path: format!("/pool/{name}.data.raw"),
        size: 1 << 30,
        filesystem: FileSystem::Xfs,
    }
}

/// A service's row on that guest.
pub fn service(name: &str, generation: u64, home: u128) -> ServiceRecord {
    ServiceRecord {
        volume: Some(volume(name)),
        id: id(name),
        bundle: digest(1),
        guest: guest(home),
        guest_name: format!("vm{home}"),
        host: "hv1".parse().unwrap(),
        addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        wanted: LifeState::Accessible,
        observed: LifeState::Running,
        observed_at: 5_000,
        enablement: Enablement::Disabled,
        dns: Some(dns(name)),
        generation: Generation(generation),
        uid: Some(998),
        frozen: None,
        files: vec![secret()],
    }
}

pub fn duty(name: &str, home: u128, generation: u64) -> Duty {
    Duty {
        service: id(name),
        guest: guest(home),
        digest: digest(1),
        generation: Generation(generation),
        serve_until: 9_000,
        files: vec![PlacedFile {
            content: vec![7; 3],
            ..secret()
        }],
    }
}

fn place(number: u128, file: PlacedFile) -> Place {
    Place {
        guest: guest(number),
        guest_name: format!("vm{number}"),
        host: "hv1".parse().unwrap(),
        digest: digest(1),
        files: vec![file],
    }
}

/// A handover with every field of its facts in use: a move from guest 1 to guest 2, all else on guest 1. In place, the
/// files stay as they are, unless the bundle is replaced.
pub fn handover(name: &str, kind: Kind, generation: u64) -> Handover {
    let source = match kind {
        Kind::Deploy => None,
        Kind::Move | Kind::Replace => Some(place(1, old_secret())),
        Kind::Start | Kind::Stop | Kind::Remove => Some(place(1, secret())),
    };
    Handover {
        id: HandoverId(Uuid::new_v4()),
        job: JobId(0),
        kind,
        service: id(name),
        source,
        target: place(if kind == Kind::Move { 2 } else { 1 }, secret()),
        generation: Generation(generation),
        state: State::first(kind),
        committed: false,
        reason: Some(Reason::new("CheckFailed", "it answers 503")),
        facts: Facts {
            name: Some(dns(name).name),
            ttl: 30,
            srv: vec![SrvSet {
                label: "_http._tcp".parse().unwrap(),
                records: vec![Srv {
                    priority: 1,
                    weight: 2,
                    port: 8080,
                }],
            }],
            overlap: true,
            life: LifeState::Accessible,
            observed_at: Some(1_500),
            observed_row: None,
            observed: Some(LifeState::Accessible),
            down: false,
            enablement: Enablement::Enabled,
            uid: Some(998),
            target_addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            old_addresses: vec!["192.0.2.6".parse().unwrap()],
            old_ttl: 60,
            lowering: Some(Lowering {
                from: 60,
                to: 5,
                sent_at: Some(2_000),
                spread_at: Some(2_100),
                given_up: false,
            }),
            lead: Some(Lead {
                sent_at: Some(2_200),
                given_up: true,
            }),
            held_by: Some(JobId(9)),
            old_owner: Some(Owner {
                generation: Generation(generation),
                host: "hv1".parse().unwrap(),
                guest: guest(1),
                after: None,
            }),
            claim_sent: true,
            claimed_from: vec![ClaimedFrom {
                ownership: None,
                addresses: vec!["10.77.0.9".parse().unwrap()],
            }],
            claim_again: false,
            claim_seen: false,
            take_over: true,
            sent: false,
            published_at: Some(4_000),
            drain: Some(7_000),
            spread_at: Some(4_500),
            unasked: vec!["ns2: no route".to_owned()],
            displaced: None,
            standby: true,
            source_dead: true,
            volume: Some(volume(name)),
            volume_made: true,
            delete_data: true,
            silent: Some(Since {
                guest: guest(1),
                at: 1_600,
            }),
            revoked: Some(Since {
                guest: guest(1),
                at: 1_700,
            }),
            gap_began: Some(1_800),
            gap: Some(250),
            retire_owed: true,
        },
    }
}

/// The handover, at this goal.
pub fn at(handover: &Handover, goal: Goal) -> Handover {
    Handover {
        state: State::At {
            direction: Direction::Forward,
            goal,
            phase: Phase::Acting,
            tries: 2,
        },
        ..handover.clone()
    }
}

pub fn done(handover: &Handover) -> Handover {
    Handover {
        state: State::Done { owed: true },
        ..handover.clone()
    }
}

pub fn undone(handover: &Handover) -> Handover {
    Handover {
        state: State::Undone,
        ..handover.clone()
    }
}

pub fn stuck(handover: &Handover) -> Handover {
    Handover {
        state: State::Stuck {
            direction: Direction::Back,
            goal: Goal::Publish,
        },
        ..handover.clone()
    }
}

pub fn job(operation: &str) -> JobRecord {
    JobRecord {
        id: JobId(0),
        operation: operation.to_owned(),
        object: "web".to_owned(),
        source: "vm1".to_owned(),
        target: "vm2".to_owned(),
        started_by: "uid 0".to_owned(),
        started: 2_000,
        finished: None,
        result: None,
        error_name: String::new(),
        error_details: String::new(),
    }
}

/// The job of a handover, ended with this result.
pub fn ended(handover: &Handover, result: &str) -> JobRecord {
    JobRecord {
        id: handover.job,
        finished: Some(3_000),
        result: Some(result.to_owned()),
        error_name: "CheckFailed".to_owned(),
        error_details: "it answers 503".to_owned(),
        ..job("move")
    }
}

pub fn entry(text: &str) -> JournalEntry {
    JournalEntry {
        at: 2_500,
        step: "stage".to_owned(),
        text: text.to_owned(),
    }
}

pub fn assert_conflict(outcome: Result<(), TableError>, part: &str) {
    match outcome {
        Err(TableError::Conflict(text)) => assert!(text.contains(part), "{text:?} lacks {part:?}"),
        other => panic!("{part}: {other:?}"),
    }
}
