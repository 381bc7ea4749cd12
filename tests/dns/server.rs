//! A name server of the test's own: a foreground child with a folder and a port of its own, killed when dropped.

use std::fs;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use handoverd::adapters::dns::{DnsPrimaries, KeyAlgorithm, TsigKey, Zone};
use handoverd::ports::NameServer;
use hickory_proto::rr::RecordType;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::proxy::{Proxy, Treatment};
use crate::question;

/// The secret of the keys that may change svc.lab., second.lab. and 10.in-addr.arpa., and nothing else.
pub const SECRET: &str = "aGFuZG92ZXJkLXRlc3RzLXNlY3JldC1vZi0zMi1ieXRlcw==";

/// Their names and algorithms.
pub const KEYS: [(&str, KeyAlgorithm); 3] = [
    ("handoverd-key", KeyAlgorithm::HmacSha256),
    ("handoverd-384", KeyAlgorithm::HmacSha384),
    ("handoverd-512", KeyAlgorithm::HmacSha512),
];

/// The key that may change open.svc.lab. and what is below it, and nothing else.
pub const NARROW: &str = "narrow-key";

/// The zones that a primary serves. other.lab. may be changed only by a key that no test has; 10.in-addr.arpa. has the
/// PTR records.
pub const ZONES: [&str; 4] = ["svc.lab", "second.lab", "other.lab", "10.in-addr.arpa"];

/// For how many seconds a resolver remembers that a name is not there: the SOA's last field.
pub const NEGATIVE_TTL: u32 = 5;

/// After how many seconds a secondary asks the primary whether there is something new: the SOA's refresh.
pub const REFRESH: u32 = 5;

/// How long a server may take until it answers; it takes a fraction of a second on an idle machine.
const START: Duration = Duration::from_secs(30);

/// What a server is to the zones.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// Their primary; the NS records name a second server at 127.0.0.2, on the same port, if there is one.
    Primary {
        /// Whether there is.
        second: bool,
    },
    /// A secondary of svc.lab., which it transfers from the server at this address; told nothing, it asks every
    /// [`REFRESH`] seconds.
    Secondary(SocketAddr),
    /// A resolver that asks the server at this address about svc.lab.; of BIND's kind only.
    Resolver(SocketAddr),
}

/// Where a server is, and what it serves.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// Where it listens, by TCP and UDP.
    pub address: SocketAddr,
    /// What it is.
    pub role: Role,
}

impl Site {
    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A kind of name server.
pub trait Server: Send + Sync + 'static {
    /// The program, which is in a Debian package that `packages.txt` names.
    const PROGRAM: &'static str;

    /// Writes its configuration into the site's folder, where the zones' files are already.
    fn configure(site: &Site);

    /// The arguments that start it in the foreground, logging to stderr.
    fn arguments(site: &Site) -> Vec<String>;
}

/// A server of kind `S` that runs.
pub struct Running<S: Server> {
    site: Site,
    /// Stands in the zone, so that another server on the same port is not taken for this one.
    token: String,
    child: Child,
    kind: PhantomData<S>,
}

impl<S: Server> Running<S> {
    /// Starts a primary and waits until it answers.
    pub async fn start() -> Self {
        Self::start_as(Role::Primary { second: false }, &uuid::Uuid::new_v4().to_string()).await
    }

    /// Starts a primary and a secondary of svc.lab. that is also in its NS records. These carry no port, so the secondary
    /// is reached on its primary's by way of a proxy; BIND listens only on addresses that an interface has.
    pub async fn start_two() -> (Self, Self, Proxy) {
        let token = uuid::Uuid::new_v4().to_string();
        let primary = Self::start_as(Role::Primary { second: true }, &token).await;
        let secondary = Self::start_as(Role::Secondary(primary.address()), &token).await;
        let place = (IpAddr::from([127, 0, 0, 2]), primary.address().port()).into();
        let way = Proxy::at(place, secondary.address(), |_| Treatment::Pass).await;
        (primary, secondary, way)
    }

    /// Starts one in that role; `token` stands in the zone that it serves.
    pub async fn start_as(role: Role, token: &str) -> Self {
        // Between the look for a free port and the server's own listening another process may take it: try again.
        for _ in 0..5 {
            let site = Site {
                folder: tempfile::tempdir().unwrap(),
                address: free_address(),
                role,
            };
            write_zones(&site, token);
            S::configure(&site);
            let child = spawn::<S>(&site);
            let mut running = Self {
                site,
                token: token.to_owned(),
                child,
                kind: PhantomData,
            };
            if running.answers_within(START).await {
                return running;
            }
            eprintln!("{} did not come up:\n{}", S::PROGRAM, running.log());
        }
        panic!("{} did not come up in five attempts", S::PROGRAM);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.site.address
    }

    /// Kills it (SIGKILL, as a crash would) and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only where it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Kills it and starts it again on the same port with the same zones and journals.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = spawn::<S>(&self.site);
        assert!(
            self.answers_within(START).await,
            "{} did not come back:\n{}",
            S::PROGRAM,
            self.log()
        );
    }

    /// [`ZONES`] and missing.lab. (which it does not serve) with the right key.
    pub fn primaries(&self) -> DnsPrimaries {
        primaries_at(self.address(), Some(&key(KEYS[0].0, SECRET)))
    }

    /// The same with another key, or none.
    pub fn primaries_with(&self, key: Option<&TsigKey>) -> DnsPrimaries {
        primaries_at(self.address(), key)
    }

    /// What it wrote to stderr.
    fn log(&self) -> String {
        fs::read_to_string(self.site.folder().join("log")).unwrap_or_default()
    }

    /// Polls until it serves our token; false if it ends or the time is over.
    async fn answers_within(&mut self, limit: Duration) -> bool {
        let signs = matches!(self.site.role, Role::Primary { .. });
        let key = key(KEYS[0].0, SECRET);
        let primaries = primaries_at(self.address(), signs.then_some(&key));
        let name = "instance.svc.lab".parse().unwrap();
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if matches!(self.site.role, Role::Resolver(_)) {
                let asked = question::ask(self.address(), "instance.svc.lab.", RecordType::A);
                if timeout(Duration::from_millis(200), asked).await.is_ok() {
                    return true;
                }
            } else if let Ok(records) = primaries.read(&name).await
                && records.ownership == [self.token.clone()]
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl<S: Server> Drop for Running<S> {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", S::PROGRAM, self.log());
        }
    }
}

/// The zones at a server, or at something that stands before it.
pub fn primaries_at(address: SocketAddr, key: Option<&TsigKey>) -> DnsPrimaries {
    let zone = |name: &str| Zone::new(name.parse().unwrap(), address, key.cloned());
    let zones = ZONES.into_iter().chain(["missing.lab"]).map(zone).collect();
    DnsPrimaries::new(zones, Duration::from_secs(10))
}

/// A hmac-sha256 key.
pub fn key(name: &str, secret: &str) -> TsigKey {
    TsigKey::new(name.parse().unwrap(), KeyAlgorithm::HmacSha256, secret).unwrap()
}

/// A free port on 127.0.0.1.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn spawn<S: Server>(site: &Site) -> Child {
    let log = fs::File::create(site.folder().join("log")).unwrap();
    // Debian keeps them in sbin, which is not in everybody's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let spawned = Command::new(S::PROGRAM)
        .args(S::arguments(site))
        .env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "{} is missing: apt-get install --no-install-recommends {}",
            S::PROGRAM,
            include_str!("packages.txt").replace('\n', " ")
        ),
        Err(error) => panic!("{} cannot be started: {error}", S::PROGRAM),
    }
}

/// The file of a zone in a site's folder.
pub fn zone_file(zone: &str) -> String {
    format!("{zone}.zone")
}

fn write_zones(site: &Site, token: &str) {
    let Role::Primary { second } = site.role else {
        return;
    };
    for zone in ZONES {
        let mut text = format!(
            "$TTL 30\n@ IN SOA ns.svc.lab. hostmaster.svc.lab. 1 {REFRESH} 1 86400 {NEGATIVE_TTL}\n\
             @ IN NS ns.svc.lab.\n"
        );
        if zone == "svc.lab" {
            text.push_str("ns IN A 127.0.0.1\n");
            text.push_str("alias IN CNAME ns\nmail IN MX 10 ns\n");
            // A CNAME to a name with a label that is neither ASCII nor in xn-- form (RFC 1035 section 5.1).
            text.push_str("odd IN CNAME b\\195\\188ro.svc.lab.\n");
            text.push_str(&format!("_handover.instance IN TXT \"{token}\"\n"));
            if second {
                text.push_str("@ IN NS ns2\nns2 IN A 127.0.0.2\n");
            }
        }
        fs::write(site.folder().join(zone_file(zone)), text).unwrap();
    }
}
