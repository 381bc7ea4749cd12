//! `org.handoverd1.Plan`.

use std::sync::Arc;

use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, fdo, interface};

use super::authority::{Authority, Caller};
use super::error::BusError;
use super::server;
use super::values::{self, Options, Row, known_only};
use crate::requests::Requests;
use crate::requests::plans::Plan;

/// A plan's object.
pub struct PlanObject {
    /// What it is called.
    pub id: String,
    /// What requests become.
    pub requests: Arc<Requests>,
    /// Who may.
    pub authority: Authority,
}

impl PlanObject {
    fn plan(&self) -> fdo::Result<Plan> {
        let gone = || fdo::Error::UnknownObject(format!("plan {} is not kept any more", self.id));
        self.requests.plans.get(&self.id).ok_or_else(gone)
    }
}

#[interface(interface = "org.handoverd1.Plan")]
impl PlanObject {
    /// Begins it as it was shown.
    #[zbus(out_args("job"))]
    async fn apply(
        &self,
        options: Options,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, BusError> {
        let Caller(who) = self.authority.check(connection, &header, "move").await?;
        known_only(&options, &[])?;
        let id = self.requests.apply(&self.id, &who).await?;
        Ok(server::shown(connection, &self.requests, self.authority, id).await)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.id.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn object(&self) -> fdo::Result<String> {
        Ok(self.plan()?.object)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn target(&self) -> fdo::Result<String> {
        Ok(self.plan()?.decided.told)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn made(&self) -> fdo::Result<u64> {
        Ok(self.plan()?.made)
    }

    /// Over everything that the plan relies on: it is another one where any of that is.
    #[zbus(property(emits_changed_signal = "const"))]
    fn generation(&self) -> fdo::Result<u64> {
        Ok(self.plan()?.decided.plan.fingerprint.0)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn load(&self) -> fdo::Result<String> {
        Ok(self.plan()?.decided.load)
    }

    /// 0: nothing is known of it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn expected_ms(&self) -> fdo::Result<u64> {
        Ok(self.plan()?.decided.expected.map_or(0, values::millis))
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn entries(&self) -> fdo::Result<Vec<(String, Row)>> {
        let plan = self.plan()?;
        let row = |entry| values::entry_row(entry);
        Ok(plan.decided.entries.iter().map(row).collect())
    }
}
