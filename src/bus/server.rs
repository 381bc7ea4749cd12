//! Serves the API: the root object, and one object for each job, service and guest, kept in step with what is known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use zbus::fdo::{ObjectManager, Properties};
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, ObjectServer, OwnedObjectPath, connection};

use super::authority::Authority;
use super::job::JobObject;
use super::manager::Manager;
use super::objects::{GuestObject, ServiceObject};
use super::{NAME, ROOT, guest_path, job_path, service_path};
use crate::model::ids::JobId;
use crate::requests::Requests;
use crate::requests::jobs::JobEvent;
use crate::requests::listing::{GuestRow, ServiceRow};

/// How often services and guests are read again when nothing was said to have changed.
const REFRESH: Duration = Duration::from_secs(30);

/// Where the API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bus {
    /// The system bus, with polkit.
    System,
    /// The session bus, for the daemon's own user.
    Session,
    /// A bus at this address, for the daemon's own user.
    At(String),
}

/// Connects, serves the root object and takes the name.
///
/// # Errors
/// The bus cannot be reached, or the name is taken or not allowed.
pub async fn serve(bus: &Bus, requests: Arc<Requests>) -> zbus::Result<Connection> {
    let (builder, authority) = match bus {
        Bus::System => (connection::Builder::system(), Authority::Polkit),
        Bus::Session => (connection::Builder::session(), Authority::SameUser),
        Bus::At(address) => (
            connection::Builder::address(address.as_str()),
            Authority::SameUser,
        ),
    };
    let manager = Manager {
        requests: requests.clone(),
        authority,
    };
    let connection = builder
        .serve_at(ROOT, ObjectManager)
        .serve_at(ROOT, manager)
        .name(NAME)
        .build()
        .await?;
    let jobs = ShownJobs {
        connection: connection.clone(),
        requests: requests.clone(),
        authority,
        services: HashMap::new(),
    };
    tokio::spawn(jobs.keep_in_step());
    tokio::spawn(tell(
        connection.clone(),
        requests.evacuations.subscribe(),
        "Frozen",
    ));
    tokio::spawn(tell(connection.clone(), requests.homes.subscribe(), "Homeless"));
    let guests = ShownGuests {
        connection: connection.clone(),
        requests,
        guests: HashMap::new(),
    };
    tokio::spawn(guests.keep_in_step());
    Ok(connection)
}

/// Puts a job's object onto the bus, unless it is there: its path is only answered when it can be read.
///
/// # Errors
/// The connection is gone.
pub async fn offer(
    connection: &Connection,
    requests: &Arc<Requests>,
    authority: Authority,
    id: JobId,
) -> zbus::Result<()> {
    let Some(view) = requests.jobs.view(id) else {
        return Ok(());
    };
    let object = JobObject {
        id,
        view,
        requests: requests.clone(),
        authority,
    };
    connection
        .object_server()
        .at(job_path(id), object)
        .await
        .map(|_| ())
}

/// The path of a job whose object is there when the caller reads it.
pub async fn shown(
    connection: &Connection,
    requests: &Arc<Requests>,
    authority: Authority,
    id: JobId,
) -> OwnedObjectPath {
    if let Err(error) = offer(connection, requests, authority, id).await {
        tracing::warn!(%error, %id, "the job is not shown on the bus yet");
    }
    job_path(id)
}

/// Tells of a property of the root object as often as what it shows has changed.
async fn tell<T>(connection: Connection, mut shown: watch::Receiver<T>, property: &'static str) {
    let root = OwnedObjectPath::try_from(ROOT).unwrap_or_default();
    while shown.changed().await.is_ok() {
        let server = connection.object_server();
        if let Err(error) = changed::<Manager>(&connection, server, &root, &[property]).await {
            tracing::warn!(%error, property, "the bus was not told that it has changed");
        }
    }
}

/// A timer for reading again what nobody tells of.
fn refresh_timer() -> tokio::time::Interval {
    let mut timer = tokio::time::interval(REFRESH);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    timer
}

/// The jobs and services that are served, and what they told last. Only the table is read for them.
struct ShownJobs {
    connection: Connection,
    requests: Arc<Requests>,
    authority: Authority,
    services: HashMap<OwnedObjectPath, ServiceRow>,
}

impl ShownJobs {
    async fn keep_in_step(mut self) {
        let mut events = self.requests.jobs.subscribe();
        let mut timer = refresh_timer();
        loop {
            let told = tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.on_job(event).await,
                    Err(RecvError::Lagged(_)) => Ok(()),
                    Err(RecvError::Closed) => return,
                },
                _ = timer.tick() => self.refresh().await,
            };
            if let Err(error) = told {
                tracing::warn!(%error, "the bus was not told of a change");
            }
        }
    }

    async fn on_job(&mut self, event: JobEvent) -> zbus::Result<()> {
        let emitter = SignalEmitter::new(&self.connection, ROOT)?;
        match event {
            JobEvent::New(id) => {
                self.show_job(id).await?;
                Manager::job_new(&emitter, id.0, job_path(id)).await
            }
            JobEvent::Changed(id) => self.show_job(id).await,
            JobEvent::Ended(id, result) => {
                self.refresh().await?;
                Manager::job_removed(&emitter, id.0, job_path(id), &result).await
            }
            JobEvent::Gone(id) => self
                .connection
                .object_server()
                .remove::<JobObject, _>(job_path(id))
                .await
                .map(|_| ()),
        }
    }

    async fn show_job(&self, id: JobId) -> zbus::Result<()> {
        let Some(view) = self.requests.jobs.view(id) else {
            return Ok(());
        };
        let path = job_path(id);
        let server = self.connection.object_server();
        if let Ok(shown) = server.interface::<_, JobObject>(&path).await {
            let before = std::mem::replace(&mut shown.get_mut().await.view, view.clone());
            let mut names = Vec::new();
            let r = |a: bool, name: &'static str, names: &mut Vec<&'static str>| {
                if a {
                    names.push(name);
                }
            };
            r(
                before.record.finished != view.record.finished,
                "Finished",
                &mut names,
            );
            r(before.record.result != view.record.result, "State", &mut names);
            r(before.step != view.step, "Step", &mut names);
            r(before.waiting != view.waiting, "Waiting", &mut names);
            r(
                (before.progress - view.progress).abs() > f64::EPSILON,
                "Progress",
                &mut names,
            );
            r(before.cancelable != view.cancelable, "Cancelable", &mut names);
            r(before.gap != view.gap, "GapMs", &mut names);
            r(before.members != view.members, "Members", &mut names);
            r(
                before.record.error_name != view.record.error_name,
                "ErrorName",
                &mut names,
            );
            r(
                before.record.error_details != view.record.error_details,
                "ErrorDetails",
                &mut names,
            );
            r(before.record.result != view.record.result, "Result", &mut names);
            return changed::<JobObject>(&self.connection, server, &path, &names).await;
        }
        offer(&self.connection, &self.requests, self.authority, id).await
    }

    /// Reads the services again, and tells what is new, changed or gone.
    async fn refresh(&mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        if let Ok(rows) = self.requests.service_rows(None, None, usize::MAX).await {
            let now: HashMap<_, _> = rows
                .into_iter()
                .map(|row| (service_path(&row.service.id), row))
                .collect();
            for path in self.services.keys().filter(|path| !now.contains_key(*path)) {
                server.remove::<ServiceObject, _>(path).await?;
            }
            for (path, service) in &now {
                match self.services.get(path) {
                    Some(before) if before == service => {}
                    Some(_) => {
                        let shown = server.interface::<_, ServiceObject>(path).await?;
                        shown.get_mut().await.0 = service.clone();
                        let names = [
                            "Bundle",
                            "Guest",
                            "GuestName",
                            "Host",
                            "Address",
                            "Addresses",
                            "LifeState",
                            "Wanted",
                            "Name",
                            "Generation",
                            "Enablement",
                            "Frozen",
                            "Standbys",
                            "Volume",
                        ];
                        changed::<ServiceObject>(&self.connection, server, path, &names).await?;
                    }
                    None => {
                        server.at(path, ServiceObject(service.clone())).await?;
                    }
                }
            }
            self.services = now;
        }
        Ok(())
    }
}

/// The guests that are served, and what they told last. A task of their own: their agents may take seconds to
/// answer, and no job is to wait for that.
struct ShownGuests {
    connection: Connection,
    requests: Arc<Requests>,
    guests: HashMap<OwnedObjectPath, GuestRow>,
}

impl ShownGuests {
    async fn keep_in_step(mut self) {
        let mut events = self.requests.jobs.subscribe();
        let mut timer = refresh_timer();
        loop {
            let now = tokio::select! {
                event = events.recv() => match event {
                    Ok(JobEvent::Ended(..)) | Err(RecvError::Lagged(_)) => true,
                    Ok(_) => false,
                    Err(RecvError::Closed) => return,
                },
                _ = timer.tick() => true,
            };
            if now && let Err(error) = self.refresh().await {
                tracing::warn!(%error, "the bus was not told of a change");
            }
        }
    }

    /// Reads the guests again, and tells what is new, changed or gone.
    async fn refresh(&mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        if let Ok(rows) = self.requests.guest_rows(None, false).await {
            let now: HashMap<_, _> = rows.into_iter().map(|g| (guest_path(g.summary.id), g)).collect();
            for path in self.guests.keys().filter(|path| !now.contains_key(*path)) {
                server.remove::<GuestObject, _>(path).await?;
            }
            for (path, guest) in &now {
                match self.guests.get(path) {
                    Some(before) if before == guest => {}
                    Some(before) => {
                        let shown = server.interface::<_, GuestObject>(path).await?;
                        shown.get_mut().await.0 = guest.clone();
                        // A load is never twice the same, nor how long a maintenance lasts yet: who wants them, reads them.
                        let before = GuestRow {
                            load: guest.load,
                            maintenance: guest.maintenance.clone(),
                            ..before.clone()
                        };
                        if before == *guest {
                            continue;
                        }
                        let names = [
                            "Name",
                            "Host",
                            "State",
                            "AgentState",
                            "Addresses",
                            "Services",
                            "WatchState",
                            "Homeless",
                        ];
                        changed::<GuestObject>(&self.connection, server, path, &names).await?;
                    }
                    None => {
                        server.at(path, GuestObject(guest.clone())).await?;
                    }
                }
            }
            self.guests = now;
        }
        Ok(())
    }
}

/// Sends PropertiesChanged for these properties of an object, with their values as they are now.
async fn changed<I: Interface>(
    connection: &Connection,
    server: &ObjectServer,
    path: &OwnedObjectPath,
    names: &[&'static str],
) -> zbus::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let interface = server.interface::<_, I>(path).await?;
    let emitter = SignalEmitter::new(connection, path)?;
    let object = interface.get().await;
    let mut values = HashMap::new();
    for name in names {
        let header = None;
        if let Some(Ok(value)) = object.get(name, server, connection, header, &emitter).await {
            values.insert(*name, value.into());
        }
    }
    Properties::properties_changed(&emitter, I::name(), values, Default::default()).await
}
