//! A `named` of the test's own: a foreground child with a folder and a port of its own, killed when dropped.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use handoverd::adapters::dns::{DnsPrimaries, KeyAlgorithm, TsigKey, Zone};
use handoverd::model::name::{NameChange, NameRecords, Ownership};
use handoverd::ports::NameServer;
use tempfile::TempDir;

/// The secret of `handoverd-key`, which may change svc.lab. and nothing else.
pub const SECRET: &str = "aGFuZG92ZXJkLXRlc3RzLXNlY3JldC1vZi0zMi1ieXRlcw==";

/// How long a `named` may take until it answers; it takes a fraction of a second on an idle machine.
const START: Duration = Duration::from_secs(30);

/// A running `named`, primary of svc.lab. and other.lab.
pub struct Named {
    folder: TempDir,
    port: u16,
    /// Stands in the zone, so that another server on the same port is not taken for this one.
    token: String,
    child: Child,
}

impl Named {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        // Between the look for a free port and named's own listening another process may take the port: try again.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let token = uuid::Uuid::new_v4().to_string();
            let port = free_port();
            lay_out(folder.path(), port, &token);
            let child = spawn(folder.path(), port);
            let mut named = Self {
                folder,
                port,
                token,
                child,
            };
            if named.answers_within(START).await {
                return named;
            }
            eprintln!("named did not come up on port {port}:\n{}", named.log());
        }
        panic!("named did not come up in five attempts");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
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
        self.child = spawn(self.folder.path(), self.port);
        assert!(
            self.answers_within(START).await,
            "named did not come back:\n{}",
            self.log()
        );
    }

    /// svc.lab., other.lab. and missing.lab. (which it does not serve) with the right key.
    pub fn primaries(&self) -> DnsPrimaries {
        self.primaries_with(Some(&key("handoverd-key", SECRET)))
    }

    /// The same with another key, or none.
    pub fn primaries_with(&self, key: Option<&TsigKey>) -> DnsPrimaries {
        let zones = ["svc.lab", "other.lab", "missing.lab"]
            .map(|zone| Zone {
                name: zone.parse().unwrap(),
                server: self.address(),
                key: key.cloned(),
            })
            .to_vec();
        DnsPrimaries::new(zones, Duration::from_secs(10))
    }

    /// What it wrote to stderr.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("named.log")).unwrap_or_default()
    }

    /// Polls until it serves our token; false if it ends or the time is over.
    async fn answers_within(&mut self, limit: Duration) -> bool {
        let primaries = self.primaries();
        let name = "instance.svc.lab".parse().unwrap();
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(records) = primaries.read(&name).await
                && records.ownership == [self.token.clone()]
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("log of named:\n{}", self.log());
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(folder: &Path, port: u16) -> Child {
    let log = fs::File::create(folder.join("named.log")).unwrap();
    // -n 1: one worker is enough, and many run at once.
    let spawned = Command::new("named")
        .args(["-g", "-n", "1", "-c"])
        .arg(folder.join("named.conf"))
        .args(["-p", &port.to_string()])
        // Debian keeps it in sbin, which is not in everybody's PATH.
        .env("PATH", path_with_sbin())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "named is missing: apt-get install --no-install-recommends {}",
            include_str!("packages.txt").replace('\n', " ")
        ),
        Err(error) => panic!("named cannot be started: {error}"),
    }
}

fn path_with_sbin() -> String {
    format!(
        "{}:/usr/sbin:/usr/local/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}

fn lay_out(folder: &Path, port: u16, token: &str) {
    let here = folder.display();
    let config = format!(
        r#"
options {{
    directory "{here}";
    pid-file "{here}/named.pid";
    session-keyfile "{here}/session.key";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    reuseport no;
    recursion no;
    notify no;
    dnssec-validation no;
    empty-zones-enable no;
    minimal-responses yes;
    max-cache-size 2m;
}};
controls {{ }};
key "handoverd-key" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
key "other-key" {{ algorithm hmac-sha256; secret "b3RoZXI="; }};
zone "svc.lab" {{ type primary; file "svc.lab.zone"; update-policy {{ grant handoverd-key zonesub ANY; }}; }};
zone "other.lab" {{ type primary; file "other.lab.zone"; update-policy {{ grant other-key zonesub ANY; }}; }};
"#
    );
    let zone = |records: &str| {
        format!(
            "$TTL 30\n@ IN SOA ns hostmaster 1 3600 600 86400 5\n@ IN NS ns\nns IN A 127.0.0.1\n\
             _handover.instance IN TXT \"{token}\"\n{records}"
        )
    };
    fs::write(folder.join("named.conf"), config).unwrap();
    fs::write(
        folder.join("svc.lab.zone"),
        zone("alias IN CNAME ns\nmail IN MX 10 ns\n"),
    )
    .unwrap();
    fs::write(folder.join("other.lab.zone"), zone("")).unwrap();
}

/// A hmac-sha256 key.
pub fn key(name: &str, secret: &str) -> TsigKey {
    TsigKey::new(name.parse().unwrap(), KeyAlgorithm::HmacSha256, secret).unwrap()
}

/// The ownership `g=<generation> host=<host> guest=…`.
pub fn owned(generation: u64, host: &str) -> Ownership {
    let guest = "6f1d5a2e-0000-4000-8000-000000000001";
    format!("g={generation} host={host} guest={guest}")
        .parse()
        .unwrap()
}

/// A first publication of `name` at `address` with generation 1 and TTL 5.
pub fn create(name: &str, address: &str) -> NameChange {
    NameChange {
        name: name.parse().unwrap(),
        expect_ownership: None,
        expect_addresses: Some(vec![]),
        ownership: Some(owned(1, "hv1")),
        addresses: Some((vec![address.parse().unwrap()], 5)),
    }
}

/// A move from generation 1 at `from` to generation 2 at `to`.
pub fn swap(name: &str, from: &str, to: &str) -> NameChange {
    NameChange {
        expect_ownership: Some(owned(1, "hv1")),
        expect_addresses: Some(vec![from.parse().unwrap()]),
        ownership: Some(owned(2, "hv2")),
        ..create(name, to)
    }
}

/// What stands after `change` with TTL 5.
pub fn state(ownership: &Ownership, addresses: &[&str]) -> NameRecords {
    NameRecords {
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ttl: if addresses.is_empty() { 0 } else { 5 },
        cname: None,
        ownership: vec![ownership.to_string()],
    }
}
