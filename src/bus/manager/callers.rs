//! Who calls, and what they are shown.

use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath};

use super::Manager;
use crate::bus::authority::Caller;
use crate::bus::error::BusError;
use crate::bus::server;
use crate::model::ids::JobId;

impl Manager {
    /// Who calls, if they may do `verb`; else that is audited.
    pub(super) async fn caller(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        verb: &str,
    ) -> Result<Caller, BusError> {
        let asked = self.authority.check(connection, header, verb).await;
        if let Err(refusal) = &asked {
            tracing::warn!(verb, %refusal, "refused");
            let now = self.requests.world.clock.now();
            let who = header.sender().map(ToString::to_string).unwrap_or_default();
            let audit = self
                .requests
                .world
                .table
                .audit(now, &who, verb, &refusal.to_string())
                .await;
            if let Err(error) = audit {
                tracing::warn!(%error, "the audit cannot be written");
            }
        }
        Ok(asked?)
    }

    /// The path of a job whose object is there when the caller reads it.
    pub(super) async fn shown(&self, connection: &Connection, id: JobId) -> OwnedObjectPath {
        server::shown(connection, &self.requests, self.authority, id).await
    }
}
