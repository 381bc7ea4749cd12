//! Plans and decisions, as the daemon tells them.

use serde::Serialize;
use zbus::OwnedObjectPath;

use super::client::{Call, Client, limited};
use super::exit::{Failure, is_gone};
use super::proxy::{Options, PlanProxy, Properties};
use super::rows::Reader;

/// Beginning of a plan's object path.
const PATH_PREFIX: &str = "/org/handoverd1/plan/";

/// A guest that was not taken for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its name.
    pub guest: String,
    /// Every reason.
    pub why: String,
}

/// One service of a plan.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Entry {
    /// Its id.
    pub service: String,
    /// The name of the guest where it is.
    pub source: String,
    /// The name of the guest that it would go to; `None`: no guest fits.
    pub target: Option<String>,
    /// Why there, or why nowhere.
    pub why: String,
    /// The life state that it has and would have.
    pub life_state: String,
    /// How old the look at its life state is, in milliseconds, where it is older than it should be.
    pub stale_ms: Option<u64>,
    /// Its DNS name.
    pub name: Option<String>,
    /// The target's load before and with it, 0 to 1; `None` where that is not known.
    pub load: Option<(f64, f64)>,
    /// How long its last handovers took, in milliseconds.
    pub expected_ms: Option<u64>,
    /// The guests that were not taken.
    pub rejected: Vec<Rejected>,
}

impl From<(String, Properties)> for Entry {
    fn from((service, properties): (String, Properties)) -> Self {
        let read = Reader(&properties);
        let some = |key| Some(read.number(key)).filter(|number| *number > 0);
        Self {
            service,
            source: read.text("source"),
            target: read.filled("target"),
            why: read.text("why"),
            life_state: read.text("life_state"),
            stale_ms: some("stale_ms"),
            name: read.filled("name"),
            load: read.fraction("load_before").zip(read.fraction("load_after")),
            expected_ms: some("expected_ms"),
            rejected: read
                .pairs("rejected")
                .into_iter()
                .map(|(guest, why)| Rejected { guest, why })
                .collect(),
        }
    }
}

/// A plan: decided, and not begun.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Plan {
    /// What `apply` takes.
    pub id: String,
    /// What is moved: a service, or the name of a guest.
    pub object: String,
    /// Where to: a guest or a strategy.
    pub target: String,
    /// How the targets' load is known, for people.
    pub load: String,
    /// How long all of it is expected to take, in milliseconds.
    pub expected_ms: Option<u64>,
    /// The services, in the order in which they would begin.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// How many services have no guest that fits.
    pub fn homeless(&self) -> usize {
        self.entries.iter().filter(|entry| entry.target.is_none()).count()
    }
}

/// The last decision about a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The service.
    pub service: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who asked.
    pub who: String,
    /// What was asked for.
    pub what: String,
    /// What was decided, and why.
    pub decision: String,
    /// What it was decided from.
    pub inputs: Vec<Input>,
}

/// One thing that a decision was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// A guest, or a setting.
    pub of: String,
    /// What was known of it.
    pub known: String,
}

/// If a guest dies: what would become of its services.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Loss {
    /// The guest's name.
    pub guest: String,
    /// Its services.
    pub entries: Vec<Entry>,
}

impl Client {
    /// A plan for an object, which is a service or a guest.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn plan(&self, object: &str, target: &str, options: Options<'_>) -> Result<Plan, Failure> {
        let path = limited(Call::Long, self.manager().plan(object, target, options)).await?;
        let proxy = self.plan_proxy(&path).await?;
        let entries = limited(Call::Read, proxy.entries()).await?;
        let expected = limited(Call::Read, proxy.expected_ms()).await?;
        Ok(Plan {
            id: path.strip_prefix(PATH_PREFIX).unwrap_or(&path).to_owned(),
            object: limited(Call::Read, proxy.object()).await?,
            target: limited(Call::Read, proxy.target()).await?,
            load: limited(Call::Read, proxy.load()).await?,
            expected_ms: (expected > 0).then_some(expected),
            entries: entries.into_iter().map(Entry::from).collect(),
        })
    }

    /// A plan that was made before.
    ///
    /// # Errors
    /// `NoSuchPlan`, or the daemon cannot be reached.
    pub async fn known_plan(&self, plan: &str) -> Result<PlanProxy<'_>, Failure> {
        let none = || {
            Failure::refused(
                "NoSuchPlan",
                format!("there is no plan {plan} (any more); make one with `handoverctl plan`"),
            )
        };
        if plan.is_empty() || !plan.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(none());
        }
        let path = OwnedObjectPath::try_from(format!("{PATH_PREFIX}{plan}")).map_err(|_| none())?;
        let proxy = self.plan_proxy(&path).await?;
        match limited(Call::Read, async { Ok(proxy.object().await) }).await? {
            Err(error) if is_gone(&error) => Err(none()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(proxy),
        }
    }

    async fn plan_proxy(&self, path: &OwnedObjectPath) -> Result<PlanProxy<'_>, Failure> {
        Ok(PlanProxy::builder(self.connection())
            .path(path.clone())
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?)
    }

    /// What would become of a guest's services if it died; of every guest's without a name.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn what_if_dies(&self, guest: Option<&str>) -> Result<Vec<Loss>, Failure> {
        let call = self
            .manager()
            .what_if("dies", guest.unwrap_or_default(), Options::new());
        let rows = limited(Call::Read, call).await?;
        Ok(rows
            .into_iter()
            .map(|(guest, entries)| Loss {
                guest,
                entries: entries.into_iter().map(Entry::from).collect(),
            })
            .collect())
    }

    /// The last decision about a service.
    ///
    /// # Errors
    /// `NoSuchService`, `NoDecision`, or the daemon cannot be reached.
    pub async fn why(&self, service: &str) -> Result<Decision, Failure> {
        let told: Properties = limited(Call::Read, self.manager().why(service)).await?;
        let read = Reader(&told);
        Ok(Decision {
            service: service.to_owned(),
            at: read.number("at"),
            who: read.text("who"),
            what: read.text("what"),
            decision: read.text("decision"),
            inputs: read
                .pairs("inputs")
                .into_iter()
                .map(|(of, known)| Input { of, known })
                .collect(),
        })
    }
}
