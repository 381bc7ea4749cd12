//! Rows of standbys, and what a handover does with the one on its target.

use async_trait::async_trait;
use rusqlite::{Row, Transaction, params};

use super::rows::{self, Dropped, Outcome, from_sql, parse, to_sql};
use super::{SqliteTable, attempt, handovers};
use crate::handover::goals::Kind;
use crate::handover::record::Handover;
use crate::model::ids::{Attempt, GuestId, ServiceId};
use crate::model::standby::{Installed, Standby, StandbyState};
use crate::ports::{StandbyTable, TableError};

const STANDBY: &str = "SELECT service, guest, guest_name, digest, link, state, attempt, files FROM standby";

fn standby(tx: &Transaction<'_>, row: &Row<'_>) -> Outcome<Standby> {
    let text = |column: &str| -> Outcome<String> { Ok(row.get(column)?) };
    let (service, guest) = (text("service")?, text("guest")?);
    let what = |column: &str| format!("the standby of service {service} on guest {guest}, {column},");
    Ok(Standby {
        installed: Installed {
            digest: parse(&what("digest"), &text("digest")?)?,
            link: parse(&what("link"), &text("link")?)?,
            files: rows::get_files(tx, row.get("files")?)?,
        },
        state: parse(&what("state"), &text("state")?)?,
        attempt: Attempt(from_sql(&what("attempt"), row.get("attempt")?)?),
        guest_name: text("guest_name")?,
        service: parse(&what("service"), &service)?,
        guest: parse(&what("guest"), &guest)?,
    })
}

/// Writes the row before anything is done there.
fn touch(tx: &Transaction<'_>, standby: &Standby) -> Outcome<Attempt> {
    handovers::check_free(tx, &standby.service)?;
    check_no_copy(tx, standby)?;
    let attempt = attempt(tx, &standby.service)?;
    let files = rows::put_files(tx, &standby.installed.files)?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO standby (service, guest, digest, link, state, attempt, files, guest_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        standby.service.as_str(),
        standby.guest.to_string(),
        standby.installed.digest.as_str(),
        standby.installed.link.as_str(),
        standby.state.as_str(),
        to_sql("attempt", attempt.0)?,
        files,
        standby.guest_name,
    ])?;
    Ok(attempt)
}

/// Refuses a guest that has a copy: the service's home, and one where an old copy is to be retired.
fn check_no_copy(tx: &Transaction<'_>, standby: &Standby) -> Outcome<()> {
    let taken = tx
        .prepare_cached(
            "SELECT 1 FROM service WHERE id = ?1 AND guest = ?2
             UNION ALL SELECT 1 FROM duty WHERE service = ?1 AND guest = ?2",
        )?
        .exists(params![standby.service.as_str(), standby.guest.to_string()])?;
    if taken {
        return Err(TableError::Conflict(format!(
            "guest {} has a copy of {}: it is no standby now",
            standby.guest_name, standby.service
        )));
    }
    Ok(())
}

/// What a handover that begins does with a standby on its target: from now on it is the handover's, and was its disk all
/// that it lacked?
pub fn take_over(tx: &Transaction<'_>, handover: &Handover) -> Outcome<bool> {
    if !matches!(handover.kind, Kind::Deploy | Kind::Move) {
        return Ok(false);
    }
    let target = &handover.target;
    let key = params![handover.service.as_str(), target.guest.to_string()];
    let sql = format!("{STANDBY} WHERE service = ?1 AND guest = ?2");
    let Some(found) = rows::first(tx, &sql, key, standby)? else {
        return Ok(false);
    };
    tx.prepare_cached("UPDATE standby SET state = ?3, attempt = 0 WHERE service = ?1 AND guest = ?2")?
        .execute(params![
            handover.service.as_str(),
            target.guest.to_string(),
            StandbyState::Changing.as_str()
        ])?;
    Ok(found.is_ready_with(&target.digest, &target.files))
}

/// A home is no standby.
pub fn came_home(tx: &Transaction<'_>, service: &ServiceId, guest: GuestId) -> Outcome<()> {
    tx.prepare_cached("DELETE FROM standby WHERE service = ?1 AND guest = ?2")?
        .execute(params![service.as_str(), guest.to_string()])?;
    Ok(())
}

#[async_trait]
impl StandbyTable for SqliteTable {
    async fn standbys(&self) -> Result<Vec<Standby>, TableError> {
        self.read(|tx| rows::all(tx, &format!("{STANDBY} ORDER BY service, guest"), [], standby))
            .await
    }

    async fn touch_standby(&self, standby: &Standby) -> Result<Attempt, TableError> {
        let standby = standby.clone();
        self.write(move |tx| touch(tx, &standby)).await
    }

    async fn standby_is_ready(
        &self,
        service: &ServiceId,
        guest: GuestId,
        attempt: Attempt,
    ) -> Result<(), TableError> {
        let service = service.clone();
        self.write_and_drop(move |tx| {
            let set = "UPDATE standby SET state = ?4 WHERE service = ?1 AND guest = ?2 AND attempt = ?3
                 AND state = ?5";
            tx.prepare_cached(set)?.execute(params![
                service.as_str(),
                guest.to_string(),
                to_sql("attempt", attempt.0)?,
                StandbyState::Ready.as_str(),
                StandbyState::Changing.as_str(),
            ])?;
            // Those that it had before.
            rows::drop_unused_files(tx)
        })
        .await
    }

    async fn forget_standby(
        &self,
        service: &ServiceId,
        guest: GuestId,
        attempt: Attempt,
    ) -> Result<(), TableError> {
        let service = service.clone();
        self.write_and_drop(move |tx| -> Outcome<Dropped> {
            tx.prepare_cached("DELETE FROM standby WHERE service = ?1 AND guest = ?2 AND attempt = ?3")?
                .execute(params![
                    service.as_str(),
                    guest.to_string(),
                    to_sql("attempt", attempt.0)?,
                ])?;
            rows::drop_unused_files(tx)
        })
        .await
    }
}
