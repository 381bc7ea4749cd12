//! A made-up handoverd on a private bus, as packaging/dbus/org.handoverd1.xml describes it.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath, OwnedVariant, Variant, fdo, interface};

use super::bus::Bus;
use super::objects::{Job, Service};
use super::plans::{self, Plan};

pub type Dict = HashMap<String, OwnedVariant>;

const ROOT: &str = "/org/handoverd1";
const PLAN: &str = "/org/handoverd1/plan/3f9a1c";
const JOB: &str = "/org/handoverd1/job/7";

/// How the fake's job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// It is done.
    Done,
    /// Its check fails.
    Failed,
    /// It runs until it is cancelled, and then is.
    Cancelled,
    /// It runs until somebody tries to cancel it, refuses that, and is done.
    PastCommit,
    /// It never ends.
    Endless,
    /// It is done before anybody can read it; its object is gone.
    Gone,
    /// It is stuck until it is resumed, and then is done.
    Stuck,
    /// Its end is told by `JobRemoved` only.
    RemovedOnly,
    /// The daemon leaves the bus in the middle.
    Vanishes,
    /// It is a batch of which one of two services fails.
    Batch,
    /// It is a batch of a guest without services.
    Empty,
}

/// What the job's properties say.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub step: String,
    pub waiting: String,
    pub state: String,
    pub result: String,
    pub error_name: String,
    pub error_details: String,
    pub finished: u64,
}

/// What all objects of the fake share.
#[derive(Clone)]
pub struct Shared {
    pub script: Script,
    state: Arc<Mutex<State>>,
    calls: Arc<Mutex<Vec<String>>>,
    /// Its object is on the bus: the ObjectManager has read it, who reads it now is a client.
    pub published: Arc<AtomicBool>,
    pub read: Arc<Notify>,
    pub cancel: Arc<Notify>,
    pub resume: Arc<Notify>,
    pub generation: Arc<AtomicU64>,
    /// The job's gap in service in milliseconds; -1: none.
    pub gap: Arc<AtomicI64>,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn log(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

/// The fake daemon.
pub struct Fake {
    pub bus: Bus,
    shared: Shared,
    pub connection: Connection,
}

impl Fake {
    pub async fn start(script: Script) -> Self {
        let bus = Bus::start();
        let shared = Shared {
            script,
            state: Arc::default(),
            calls: Arc::default(),
            published: Arc::default(),
            read: Arc::default(),
            cancel: Arc::default(),
            resume: Arc::default(),
            generation: Arc::new(AtomicU64::new(4)),
            gap: Arc::new(AtomicI64::new(-1)),
        };
        let connection = zbus::connection::Builder::address(bus.address.as_str())
            .serve_at(ROOT, fdo::ObjectManager)
            .serve_at(ROOT, Manager(shared.clone()))
            .name("org.handoverd1")
            .build()
            .await
            .unwrap();
        Self {
            bus,
            shared,
            connection,
        }
    }

    /// The job's gap in service, in milliseconds.
    pub fn had_gap(&self, millis: i64) {
        self.shared.gap.store(millis, Ordering::SeqCst);
    }

    /// What was called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// Begins the job without a request, as if another client had asked.
    pub async fn begin_job(&self) {
        begin(&self.shared, &self.connection).await;
    }

    /// The service gets its next generation, and its object says so.
    pub async fn raise_generation(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        let path = "/org/handoverd1/service/web";
        let server = self.connection.object_server();
        server.at(path, Service(self.shared.clone())).await.unwrap();
        let service = server.interface::<_, Service>(path).await.unwrap();
        service
            .get()
            .await
            .generation_changed(service.signal_emitter())
            .await
            .unwrap();
    }
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.handoverd1.Error")]
pub enum Refusal {
    #[zbus(error)]
    Bus(zbus::Error),
    NoSuchGuest(String),
    AlreadyThere(String),
    NotCancelable(String),
}

pub fn dict(pairs: Vec<(&str, Variant<'static>)>) -> Dict {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.try_into().unwrap()))
        .collect()
}

/// Options as text, sorted, so that a test can compare them.
fn told(options: &Dict) -> String {
    let mut words: Vec<String> = options
        .iter()
        .map(|(key, value)| match (<&str>::try_from(value), key.as_str()) {
            (Ok(text), _) => format!("{key}={text}"),
            (_, "files") => {
                let files: HashMap<String, Vec<u8>> = value.try_clone().unwrap().try_into().unwrap();
                let mut files: Vec<_> = files.into_iter().collect();
                files.sort();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let words: Vec<_> = files
                    .iter()
                    .map(|(name, bytes)| format!("{name}:{}", text(bytes)))
                    .collect();
                format!("files={}", words.join(";"))
            }
            _ => match u32::try_from(value) {
                Ok(number) => format!("{key}={number}"),
                Err(_) => format!("{key}={value:?}"),
            },
        })
        .collect();
    words.sort();
    words.join(",")
}

pub async fn begin(shared: &Shared, connection: &Connection) -> OwnedObjectPath {
    let path: OwnedObjectPath = JOB.try_into().unwrap();
    *shared.state() = State {
        step: "stage".into(),
        state: "running".into(),
        ..State::default()
    };
    let emitter = SignalEmitter::new(connection, ROOT).unwrap();
    if shared.script == Script::Gone {
        *shared.state() = State {
            step: "record".into(),
            state: "finished".into(),
            result: "done".into(),
            finished: 1_700_000_002_300,
            ..State::default()
        };
        return path;
    }
    connection
        .object_server()
        .at(JOB, Job(shared.clone()))
        .await
        .unwrap();
    shared.published.store(true, Ordering::SeqCst);
    Manager::job_new(&emitter, 7, path.clone()).await.unwrap();
    tokio::spawn(play(shared.clone(), connection.clone()));
    path
}

/// The job's life. It waits until it was read once, so that a test sees every step.
async fn play(shared: Shared, connection: Connection) {
    shared.read.notified().await;
    let job = connection.object_server().interface::<_, Job>(JOB).await.unwrap();
    let emitter = job.signal_emitter();
    "start".clone_into(&mut shared.state().step);
    job.get().await.step_changed(emitter).await.unwrap();
    "its check".clone_into(&mut shared.state().waiting);
    job.get().await.waiting_changed(emitter).await.unwrap();
    let (result, error) = match shared.script {
        Script::Done | Script::Gone | Script::RemovedOnly => ("done", ("", "")),
        Script::Failed => ("failed", ("CheckFailed", "port 80 refuses")),
        Script::Batch => ("failed", ("Incomplete", "1 of 2 services of g1 were not moved")),
        Script::Empty => {
            "nothing to do".clone_into(&mut shared.state().step);
            ("done", ("", ""))
        }
        Script::Cancelled => {
            shared.cancel.notified().await;
            ("cancelled", ("", ""))
        }
        Script::PastCommit => {
            shared.cancel.notified().await;
            ("done", ("", ""))
        }
        Script::Stuck => {
            shared.resume.notified().await;
            ("done", ("", ""))
        }
        Script::Endless => return,
        Script::Vanishes => {
            connection.release_name("org.handoverd1").await.unwrap();
            return;
        }
    };
    // The result first, the rest after it in signals of their own: the order that is hardest for a client.
    {
        let mut state = shared.state();
        state.result = result.into();
        state.state = "finished".into();
        state.finished = 1_700_000_002_300;
        state.error_name = error.0.into();
        state.error_details = error.1.into();
    }
    if shared.script != Script::RemovedOnly {
        job.get().await.result_changed(emitter).await.unwrap();
        job.get().await.error_details_changed(emitter).await.unwrap();
    }
    let root = SignalEmitter::new(&connection, ROOT).unwrap();
    Manager::job_removed(&root, 7, JOB.try_into().unwrap(), result)
        .await
        .unwrap();
}

struct Manager(Shared);

impl Manager {
    fn row(&self) -> (u64, Dict) {
        let state = self.0.state().clone();
        let pairs = vec![
            ("operation", "move".into()),
            ("object", "web".into()),
            ("source", "g1".into()),
            ("target", "g2".into()),
            ("started_by", "root".into()),
            ("state", state.state.into()),
            ("step", state.step.into()),
            ("result", state.result.into()),
            ("error_name", state.error_name.into()),
            ("error_details", state.error_details.into()),
            ("started", 1_700_000_000_000u64.into()),
            ("finished", state.finished.into()),
            ("progress", 0.5.into()),
        ];
        (7, dict(pairs))
    }
}

#[interface(name = "org.handoverd1.Manager")]
impl Manager {
    async fn register_bundle(&self, image: OwnedFd, options: Dict) -> String {
        let mut text = String::new();
        std::fs::File::from(std::os::fd::OwnedFd::from(image))
            .read_to_string(&mut text)
            .unwrap();
        self.0.log(format!("RegisterBundle {text} {}", told(&options)));
        options["sha256"].try_clone().unwrap().try_into().unwrap()
    }

    async fn deploy(
        &self,
        bundle: &str,
        target: &str,
        options: Dict,
        #[zbus(connection)] connection: &Connection,
    ) -> OwnedObjectPath {
        self.0.log(format!("Deploy {bundle} {target} {}", told(&options)));
        begin(&self.0, connection).await
    }

    async fn upgrade(
        &self,
        service: &str,
        bundle: &str,
        options: Dict,
        #[zbus(connection)] connection: &Connection,
    ) -> OwnedObjectPath {
        self.0
            .log(format!("Upgrade {service} {bundle} {}", told(&options)));
        begin(&self.0, connection).await
    }

    async fn remove(
        &self,
        service: &str,
        options: Dict,
        #[zbus(connection)] connection: &Connection,
    ) -> OwnedObjectPath {
        self.0.log(format!("Remove {service} {}", told(&options)));
        begin(&self.0, connection).await
    }

    async fn stop(
        &self,
        service: &str,
        _options: Dict,
        #[zbus(connection)] connection: &Connection,
    ) -> OwnedObjectPath {
        self.0.log(format!("Stop {service}"));
        begin(&self.0, connection).await
    }

    #[zbus(name = "Move")]
    async fn move_object(
        &self,
        object: &str,
        target: &str,
        options: Dict,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refusal> {
        self.0.log(format!("Move {object} {target} {}", told(&options)));
        match target {
            "nowhere" => Err(Refusal::NoSuchGuest("no guest is called nowhere".into())),
            "g1" => Err(Refusal::AlreadyThere("web is on g1".into())),
            _ => Ok(begin(&self.0, connection).await),
        }
    }

    async fn plan(
        &self,
        object: &str,
        target: &str,
        options: Dict,
        #[zbus(connection)] connection: &Connection,
    ) -> OwnedObjectPath {
        self.0.log(format!("Plan {object} {target} {}", told(&options)));
        let path: OwnedObjectPath = PLAN.try_into().unwrap();
        let server = connection.object_server();
        server.at(&path, Plan(self.0.clone())).await.unwrap();
        path
    }

    async fn what_if(&self, event: &str, guest: &str, _options: Dict) -> Vec<(String, Vec<(String, Dict)>)> {
        self.0.log(format!("WhatIf {event} {guest}"));
        let one = ("g1".to_owned(), plans::entries());
        match guest {
            "" => vec![one, ("g2".to_owned(), vec![])],
            _ => vec![one],
        }
    }

    async fn why(&self, service: &str) -> Dict {
        self.0.log(format!("Why {service}"));
        plans::decision()
    }

    async fn freeze(&self, reason: &str, _options: Dict) {
        self.0.log(format!("Freeze {reason}"));
    }

    async fn thaw(&self, _options: Dict) {
        self.0.log("Thaw".to_owned());
    }

    #[zbus(property)]
    fn balance(&self) -> &'static str {
        "off"
    }

    #[zbus(property)]
    fn frozen(&self) -> (u64, String) {
        crate::objects::frozen(&self.0.calls.lock().unwrap())
    }

    async fn list_services(&self, filter: Dict) -> Vec<(String, Dict)> {
        let wanted = filter
            .get("service")
            .map(|value| <&str>::try_from(value).unwrap());
        let web = dict(vec![
            ("bundle", "ab".repeat(32).into()),
            ("version", "1.2".into()),
            ("guest", "6f2c0a52-0000-4000-8000-000000000002".into()),
            ("guest_name", "g2".into()),
            ("host", "hv1".into()),
            ("address", "10.77.0.102".into()),
            ("life_state", "accessible".into()),
            ("wanted", "accessible".into()),
            ("observed", "accessible".into()),
            ("observed_at", 1_700_000_000_000u64.into()),
            ("enablement", "enabled".into()),
            ("name", "web.lab.test".into()),
            ("generation", self.0.generation.load(Ordering::SeqCst).into()),
            ("frozen", "".into()),
            ("volume_host", "hv1".into()),
            ("volume_path", "/pool/web.data.raw".into()),
            ("volume_size", 1_073_741_824u64.into()),
            ("volume_filesystem", "ext4".into()),
            ("volume_mount", "/srv/web".into()),
        ]);
        let rows = vec![("web".to_owned(), web)];
        rows.into_iter()
            .filter(|(id, _)| wanted.is_none_or(|wanted| wanted == id))
            .collect()
    }

    async fn list_guests(&self, filter: Dict) -> Vec<(String, Dict)> {
        self.0.log(format!("ListGuests {}", told(&filter)));
        crate::objects::guests(filter.contains_key("probe"))
    }

    async fn list_bundles(&self, _filter: Dict) -> Vec<(String, Dict)> {
        let pairs = vec![
            ("service", "web".into()),
            ("version", "1.2".into()),
            ("size", 4096u64.into()),
            ("registered", 1_700_000_000_000u64.into()),
        ];
        vec![("ab".repeat(32), dict(pairs))]
    }

    async fn audit(&self, options: Dict) -> Vec<(String, Dict)> {
        self.0.log(format!("Audit {}", told(&options)));
        crate::objects::findings(options.contains_key("repair"), options.contains_key("service"))
    }

    #[zbus(property)]
    fn audit_summary(&self) -> (u64, u32, HashMap<String, u32>) {
        Default::default()
    }

    async fn job_journal(&self, _job: u64) -> Vec<(u64, String, String)> {
        crate::objects::journal()
    }

    async fn list_jobs(&self, filter: Dict) -> Vec<(u64, Dict)> {
        let before = filter
            .get("before")
            .map_or(u64::MAX, |value| u64::try_from(value).unwrap());
        let known = !self.0.state().state.is_empty();
        Some(self.row())
            .into_iter()
            .filter(|(id, _)| known && *id < before)
            .collect()
    }

    #[zbus(signal)]
    async fn job_new(emitter: &SignalEmitter<'_>, id: u64, job: OwnedObjectPath) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u64,
        job: OwnedObjectPath,
        result: &str,
    ) -> zbus::Result<()>;
}
