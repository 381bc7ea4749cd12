//! The plans and decisions of the made-up handoverd.

use zbus::{Connection, OwnedObjectPath, interface};

use super::fake::{Dict, Script, Shared, begin, dict};

/// The fake's only plan.
pub struct Plan(pub Shared);

#[interface(name = "org.handoverd1.Plan")]
impl Plan {
    async fn apply(
        &self,
        _options: Dict,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refused> {
        self.0.log("Apply".into());
        match self.0.script {
            Script::Gone => Err(Refused::PlanOutdated(
                "plan 3f9a1c cannot be begun: g2 is gone".into(),
            )),
            _ => Ok(begin(&self.0, connection).await),
        }
    }

    #[zbus(property)]
    async fn object(&self) -> &str {
        "g1"
    }

    #[zbus(property)]
    async fn target(&self) -> &str {
        "spread"
    }

    #[zbus(property)]
    async fn load(&self) -> &str {
        ""
    }

    #[zbus(property)]
    async fn expected_ms(&self) -> u64 {
        9_000
    }

    #[zbus(property)]
    async fn entries(&self) -> Vec<(String, Dict)> {
        entries()
    }
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.handoverd1.Error")]
pub enum Refused {
    #[zbus(error)]
    Bus(zbus::Error),
    PlanOutdated(String),
}

/// One service with a home, one without.
pub fn entries() -> Vec<(String, Dict)> {
    let web = dict(vec![
        ("source", "g1".into()),
        ("target", "g2".into()),
        ("why", "it is the least loaded that fits".into()),
        ("life_state", "accessible".into()),
        ("name", "web.lab.test".into()),
        ("expected_ms", 4_200u64.into()),
        ("load_before", 0.1.into()),
        ("load_after", 0.2.into()),
        (
            "rejected",
            vec![("g3", "it would do; its load would be 30 %")].into(),
        ),
    ]);
    let api = dict(vec![
        ("source", "g1".into()),
        ("target", "".into()),
        ("why", "no guest fits".into()),
        ("life_state", "stopped".into()),
        ("rejected", vec![("g2, g3", "it lacks the label ssd")].into()),
    ]);
    vec![("web".to_owned(), web), ("api".to_owned(), api)]
}

/// The last decision about any service.
pub fn decision() -> Dict {
    dict(vec![
        ("at", 1_700_000_000_000u64.into()),
        ("who", "root".into()),
        ("what", "move g1 spread".into()),
        ("decision", "g2: it is the least loaded that fits; job 7".into()),
        ("inputs", vec![("g3", "it lacks the label ssd")].into()),
    ])
}
