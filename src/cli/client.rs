//! The connection to the daemon: calls with deadlines, answers as values.

use std::future::Future;
use std::time::Duration;

use zbus::fdo::DBusProxy;
use zbus::message::Sequence;
use zbus::names::{OwnedUniqueName, WellKnownName};
use zbus::{Connection, OwnedObjectPath, Variant};

use super::events::Events;
use super::exit::{Failure, is_gone};
use super::job::{self, Job, JournalEntry};
use super::proxy::{BUS_NAME, JOB, JobProxy, ManagerProxy, Options, Properties};
use super::rows::{Bundle, Drain, Finding, Frozen, Guest, Service};

/// Limit for connecting, and for calls that only read.
const READ: Duration = Duration::from_secs(30);

/// Limit for calls that change something: polkit may ask somebody for a password meanwhile.
const CHANGE: Duration = Duration::from_secs(300);

/// Limit for calls that take long by their nature: a bundle is copied and hashed, guests are probed.
const LONG: Duration = Duration::from_secs(1800);

/// Rows that are asked for at once.
const PAGE: u32 = 500;

/// What kind of call is made, and so how long it may take.
#[derive(Debug, Clone, Copy)]
pub enum Call {
    /// It only reads.
    Read,
    /// It changes something.
    Change,
    /// It takes long by its nature.
    Long,
}

/// A connected client.
pub struct Client {
    connection: Connection,
    manager: ManagerProxy<'static>,
    owner: OwnedUniqueName,
}

impl Client {
    /// Connects to `bus` (`system`, `session`, or a D-Bus address) and finds the daemon, which the bus may have
    /// to start first.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] if there is no bus or no daemon.
    pub async fn connect(bus: &str) -> Result<Self, Failure> {
        let builder = match bus {
            "system" => zbus::connection::Builder::system(),
            "session" => zbus::connection::Builder::session(),
            address => zbus::connection::Builder::address(address),
        };
        let connection = limited(Call::Read, builder.build()).await?;
        let owner = limited(Call::Read, find_owner(&connection)).await?;
        let manager = ManagerProxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        Ok(Self {
            connection,
            manager,
            owner,
        })
    }

    /// Subscribes to the daemon's signals. A daemon that left between [`Client::connect`] and now is noticed.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] if the daemon or the bus is gone.
    pub async fn events(&self) -> Result<Events, Failure> {
        let events = limited(Call::Read, Events::subscribe(&self.connection, &self.owner)).await?;
        let now = limited(Call::Read, find_owner(&self.connection)).await?;
        if now == self.owner {
            Ok(events)
        } else {
            Err(Failure::Unreachable(
                "handoverd was restarted just now; try again".to_owned(),
            ))
        }
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The requests, to be called inside [`limited`].
    pub fn manager(&self) -> &ManagerProxy<'static> {
        &self.manager
    }

    /// All services, or the one of that id, or those of one guest.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn services(
        &self,
        service: Option<&str>,
        guest: Option<&str>,
    ) -> Result<Vec<Service>, Failure> {
        let mut all: Vec<Service> = Vec::new();
        loop {
            let after = all.last().map(|row| row.id.clone());
            let mut filter = Options::from([("limit", Variant::from(PAGE))]);
            put(&mut filter, "service", service);
            put(&mut filter, "guest", guest);
            put(&mut filter, "after", after.as_deref());
            let page = limited(Call::Read, self.manager.list_services(filter)).await?;
            let full = page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
            let known = all.len();
            for row in page.into_iter().map(Service::from) {
                if !all.iter().any(|old| old.id == row.id) {
                    all.push(row);
                }
            }
            // A page without news would be asked for without end.
            if !full || all.len() == known {
                return Ok(all);
            }
        }
    }

    /// All guests, or one; `probe`: with what keeps services from them.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn guests(&self, guest: Option<&str>, probe: bool) -> Result<Vec<Guest>, Failure> {
        let mut filter = Options::new();
        put(&mut filter, "guest", guest);
        put(&mut filter, "probe", probe.then_some("yes"));
        let call = if probe { Call::Long } else { Call::Read };
        let rows = limited(call, self.manager.list_guests(filter)).await?;
        Ok(rows.into_iter().map(Guest::from).collect())
    }

    /// What an audit finds, of all services or of one; with `repair` also what became of it.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn audit(&self, service: Option<&str>, repair: bool) -> Result<Vec<Finding>, Failure> {
        let mut options = Options::new();
        put(&mut options, "service", service);
        put(&mut options, "repair", repair.then_some("yes"));
        let rows = limited(Call::Long, self.manager.audit(options)).await?;
        Ok(rows.into_iter().map(Finding::from).collect())
    }

    /// Keeps services of guests that die where they are.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn freeze(&self, reason: &str) -> Result<(), Failure> {
        limited(Call::Change, self.manager.freeze(reason, Options::new())).await
    }

    /// Lets services of guests that die go elsewhere again.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn thaw(&self) -> Result<(), Failure> {
        limited(Call::Change, self.manager.thaw(Options::new())).await
    }

    /// Begins or ends the maintenance of a guest or host: the guests that are drained. Guests are looked into for that.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn set_maintenance(
        &self,
        kind: &str,
        name: &str,
        state: &str,
        options: Options<'_>,
    ) -> Result<Vec<Drain>, Failure> {
        let asked = self.manager.set_maintenance(kind, name, state, options);
        Ok(limited(Call::Long, asked)
            .await?
            .into_iter()
            .map(Drain::from)
            .collect())
    }

    /// Whether that is frozen.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn frozen(&self) -> Result<Frozen, Failure> {
        let (since, why) = limited(Call::Read, self.manager.frozen()).await?;
        Ok(Frozen { since, why })
    }

    /// How the evening out of loads by itself stands, for people; `None`: it is not configured.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn balance(&self) -> Result<Option<String>, Failure> {
        let told = limited(Call::Read, self.manager.balance()).await?;
        Ok(Some(told).filter(|told| told != "off"))
    }

    /// All registered bundles.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn bundles(&self) -> Result<Vec<Bundle>, Failure> {
        let rows = limited(Call::Read, self.manager.list_bundles(Options::new())).await?;
        Ok(rows.into_iter().map(Bundle::from).collect())
    }

    /// At most `limit` jobs, those below number `before` if one is given, newest first.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn jobs(
        &self,
        service: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Job>, Failure> {
        let mut filter = Options::from([("limit", Variant::from(limit))]);
        put(&mut filter, "service", service);
        if let Some(before) = before {
            filter.insert("before", before.into());
        }
        let rows = limited(Call::Read, self.manager.list_jobs(filter)).await?;
        let mut jobs: Vec<Job> = rows.into_iter().map(Job::from).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        Ok(jobs)
    }

    /// The job's properties and where the answer stood among the signals; `None` if its object is gone.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn job_object(&self, path: &str) -> Result<Option<(Job, Sequence)>, Failure> {
        let body = (JOB,);
        let call = self.connection.call_method(
            Some(BUS_NAME),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "GetAll",
            &body,
        );
        let reply = match in_time(Call::Read, call).await? {
            Ok(reply) => reply,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let properties: Properties = reply.body().deserialize()?;
        let mut job = Job::from_properties(&properties);
        if let Some(id) = job::id_of(path) {
            job.id = id;
        }
        Ok(Some((job, reply.recv_position())))
    }

    /// The job's row in the table of jobs.
    ///
    /// # Errors
    /// `NoSuchJob`, or the daemon cannot be reached.
    pub async fn job_row(&self, id: u64) -> Result<Job, Failure> {
        let rows = self.jobs(None, id.checked_add(1), 1).await?;
        rows.into_iter().find(|job| job.id == id).ok_or_else(|| {
            Failure::refused(
                "NoSuchJob",
                format!("there is no job {id}; see `handoverctl jobs`"),
            )
        })
    }

    /// The job, from its object or else from the table.
    ///
    /// # Errors
    /// `NoSuchJob`, or the daemon cannot be reached.
    pub async fn job(&self, id: u64) -> Result<Job, Failure> {
        match self.job_object(&job::path_of(id)).await? {
            Some((job, _)) => Ok(job),
            None => self.job_row(id).await,
        }
    }

    /// The job's journal, which is kept for good.
    ///
    /// # Errors
    /// What the daemon refused, or that it cannot be reached.
    pub async fn journal(&self, id: u64) -> Result<Vec<JournalEntry>, Failure> {
        match in_time(Call::Read, self.manager.job_journal(id)).await? {
            Ok(rows) => Ok(rows
                .into_iter()
                .map(|(at, step, text)| JournalEntry { at, step, text })
                .collect()),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the job to cancel.
    ///
    /// # Errors
    /// `NotCancelable`, `NoSuchJob`, or the daemon cannot be reached.
    pub async fn cancel(&self, id: u64) -> Result<(), Failure> {
        let proxy = self.job_proxy(id).await?;
        let answer = in_time(Call::Change, proxy.cancel()).await?;
        self.explain(id, answer, "NotCancelable").await
    }

    /// Asks a stuck job to try again.
    ///
    /// # Errors
    /// A refusal, `NoSuchJob`, or the daemon cannot be reached.
    pub async fn resume(&self, id: u64) -> Result<(), Failure> {
        let proxy = self.job_proxy(id).await?;
        let answer = in_time(Call::Change, proxy.resume()).await?;
        self.explain(id, answer, "NotStuck").await
    }

    /// Asks to give a stuck job up.
    ///
    /// # Errors
    /// A refusal, `NoSuchJob`, or the daemon cannot be reached.
    pub async fn abandon(&self, id: u64) -> Result<(), Failure> {
        let proxy = self.job_proxy(id).await?;
        let answer = in_time(Call::Change, proxy.abandon()).await?;
        self.explain(id, answer, "NotStuck").await
    }

    /// Turns "no such object" into what became of the job.
    async fn explain(&self, id: u64, answer: zbus::Result<()>, name: &str) -> Result<(), Failure> {
        match answer {
            Err(error) if is_gone(&error) => {
                let job = self.job_row(id).await?;
                Err(Failure::refused(
                    name,
                    format!("job {id} has ended ({})", job.result),
                ))
            }
            other => Ok(other?),
        }
    }

    async fn job_proxy(&self, id: u64) -> Result<JobProxy<'_>, Failure> {
        Ok(JobProxy::builder(&self.connection)
            .path(job::path_of(id))
            .build()
            .await?)
    }
}

fn put<'a>(options: &mut Options<'a>, key: &'a str, value: Option<&'a str>) {
    if let Some(value) = value {
        options.insert(key, value.into());
    }
}

async fn find_owner(connection: &Connection) -> zbus::Result<OwnedUniqueName> {
    let bus = DBusProxy::new(connection).await?;
    let name = WellKnownName::from_static_str(BUS_NAME)?;
    match bus.get_name_owner(name.clone().into()).await {
        Ok(owner) => Ok(owner),
        Err(zbus::fdo::Error::NameHasNoOwner(_)) => {
            bus.start_service_by_name(name.clone(), 0).await?;
            Ok(bus.get_name_owner(name.into()).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A call within its limit; a failure is what the command ends with.
///
/// # Errors
/// See [`Failure`]'s conversions; [`Failure::Unreachable`] when time is over.
pub async fn limited<T>(call: Call, future: impl Future<Output = zbus::Result<T>>) -> Result<T, Failure> {
    Ok(in_time(call, future).await??)
}

async fn in_time<T>(
    call: Call,
    future: impl Future<Output = zbus::Result<T>>,
) -> Result<zbus::Result<T>, Failure> {
    let limit = match call {
        Call::Read => READ,
        Call::Change => CHANGE,
        Call::Long => LONG,
    };
    tokio::time::timeout(limit, future).await.map_err(|_| {
        Failure::Unreachable(format!(
            "no answer within {} s; see `systemctl status handoverd`",
            limit.as_secs()
        ))
    })
}

/// A job's number out of the path that a request returned.
///
/// # Errors
/// The path is not a job's.
pub fn job_number(path: &OwnedObjectPath) -> Result<u64, Failure> {
    job::id_of(path.as_str()).ok_or_else(|| {
        Failure::Unreachable(format!(
            "handoverd returned {path} where a job was due; is it of another version?"
        ))
    })
}
