//! What a monitor wants to know, out of the daemon's properties and objects: it asks no guest anything.

use std::collections::BTreeMap;

use serde::Serialize;
use zbus::fdo::{ManagedObjects, ObjectManagerProxy};

use super::client::{Call, Client, limited};
use super::exit::Failure;
use super::proxy::{BUS_NAME, GUEST, Properties, ROOT, SERVICE};
use super::rows::{Frozen, Reader};

/// Life states that services can be in: each is told, although none may be in it.
const LIFE_STATES: [&str; 4] = ["accessible", "running", "stopped", "failed"];

/// Everything that is measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Measures {
    /// The daemon's version.
    pub version: String,
    /// Its host.
    pub host: String,
    /// How many services were seen last in each life state.
    pub services: BTreeMap<String, u32>,
    /// How many jobs run.
    pub jobs_running: u32,
    /// How many jobs wait for an operator.
    pub jobs_stuck: u32,
    /// How many old copies are still to be drained or removed.
    pub duties: u32,
    /// Whether no service is moved by itself.
    pub frozen: Frozen,
    /// The last audit of all services; `None`: there was none yet.
    pub audit: Option<Audit>,
    /// Since when services have, or lack, a spare home as they do, in milliseconds since 1970; `None`: that was not looked at yet.
    pub homes_since: Option<u64>,
    /// The guests, by name.
    pub guests: Vec<GuestMeasures>,
}

/// What the last audit came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// When it began, in milliseconds since 1970.
    pub at: u64,
    /// How many services it looked at.
    pub services: u32,
    /// How many findings are left, by kind.
    pub findings: BTreeMap<String, u32>,
    /// How many services that are to run have so many running copies: `0`, `1`, `2+`, `unknown`.
    pub copies: BTreeMap<&'static str, u32>,
}

/// One guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GuestMeasures {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// How the daemon sees it; empty: it has no services, and is not watched.
    pub watch: String,
    /// How many services it has.
    pub services: usize,
    /// How many of them would have no home if it died.
    pub homeless: usize,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// The share of its scarcest resource that is used, where it is known.
    pub load: Option<f64>,
}

impl Client {
    /// Reads everything that is measured.
    ///
    /// # Errors
    /// The daemon cannot be reached, or is of a version that does not measure.
    pub async fn measures(&self) -> Result<Measures, Failure> {
        let manager = self.manager();
        let (jobs_running, jobs_stuck, duties) = limited(Call::Read, manager.open_work()).await?;
        let (at, services, findings) = limited(Call::Read, manager.audit_summary()).await?;
        let (none, one, more, unknown) = limited(Call::Read, manager.audit_copies()).await?;
        let (since, _) = limited(Call::Read, manager.homeless()).await?;
        let audit = (at > 0).then(|| Audit {
            at,
            services,
            findings: findings.into_iter().collect(),
            copies: BTreeMap::from([("0", none), ("1", one), ("2+", more), ("unknown", unknown)]),
        });
        let objects = self.objects().await?;
        Ok(Measures {
            version: limited(Call::Read, manager.version()).await?,
            host: limited(Call::Read, manager.host()).await?,
            services: by_life_state(of_interface(&objects, SERVICE)),
            jobs_running,
            jobs_stuck,
            duties,
            frozen: self.frozen().await?,
            audit,
            homes_since: (since > 0).then_some(since),
            guests: guests(of_interface(&objects, GUEST)),
        })
    }

    async fn objects(&self) -> Result<ManagedObjects, Failure> {
        let manager = ObjectManagerProxy::builder(self.connection())
            .destination(BUS_NAME)
            .path(ROOT)
            .build()
            .await?;
        let objects = async { Ok(manager.get_managed_objects().await?) };
        limited(Call::Read, objects).await
    }
}

fn of_interface<'o>(
    objects: &'o ManagedObjects,
    interface: &'static str,
) -> impl Iterator<Item = &'o Properties> {
    let interfaces = objects.values().flatten();
    interfaces
        .filter(move |(name, _)| name.as_str() == interface)
        .map(|(_, properties)| properties)
}

fn by_life_state<'o>(services: impl Iterator<Item = &'o Properties>) -> BTreeMap<String, u32> {
    let mut counts: BTreeMap<String, u32> =
        LIFE_STATES.iter().map(|state| ((*state).to_owned(), 0)).collect();
    for service in services {
        let count = counts.entry(Reader(service).text("LifeState")).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

fn guests<'o>(objects: impl Iterator<Item = &'o Properties>) -> Vec<GuestMeasures> {
    let mut all: Vec<GuestMeasures> = objects
        .map(|guest| {
            let read = Reader(guest);
            GuestMeasures {
                uuid: read.text("Uuid"),
                name: read.text("Name"),
                host: read.text("Host"),
                watch: read.text("WatchState"),
                services: read.texts("Services").len(),
                homeless: read.texts("Homeless").len(),
                maintenance: read.filled("Maintenance").is_some(),
                load: read.fraction("Load").filter(|load| *load >= 0.0),
            }
        })
        .collect();
    all.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    all
}
