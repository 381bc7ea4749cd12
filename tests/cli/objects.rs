//! The objects of the made-up handoverd.

use std::sync::atomic::Ordering::SeqCst;

use zbus::interface;

use super::fake::{Dict, Refusal, Script, Shared, dict};

/// The fake's only job, number 7.
pub struct Job(pub Shared);

#[interface(name = "org.handoverd1.Job")]
impl Job {
    async fn cancel(&self) -> Result<(), Refusal> {
        self.0.log("Cancel".into());
        self.0.cancel.notify_one();
        if self.0.script == Script::PastCommit {
            return Err(Refusal::NotCancelable("the name points at g2 already".into()));
        }
        Ok(())
    }

    async fn resume(&self) {
        self.0.log("Resume".into());
        self.0.resume.notify_one();
    }

    async fn abandon(&self) {
        self.0.log("Abandon".into());
    }

    async fn journal(&self) -> Vec<(u64, String, String)> {
        journal()
    }

    #[zbus(property)]
    async fn id(&self) -> u64 {
        if self.0.published.load(SeqCst) {
            self.0.read.notify_one();
        }
        7
    }

    #[zbus(property)]
    async fn operation(&self) -> &str {
        "move"
    }

    #[zbus(property)]
    async fn object(&self) -> &str {
        match self.0.script {
            Script::Batch | Script::Empty => "g1",
            _ => "web",
        }
    }

    #[zbus(property)]
    async fn source(&self) -> &str {
        "g1"
    }

    #[zbus(property)]
    async fn target(&self) -> &str {
        "g2"
    }

    #[zbus(property)]
    async fn started(&self) -> u64 {
        1_700_000_000_000
    }

    #[zbus(property)]
    async fn finished(&self) -> u64 {
        self.0.state().finished
    }

    #[zbus(property)]
    async fn state(&self) -> String {
        self.0.state().state.clone()
    }

    #[zbus(property)]
    async fn step(&self) -> String {
        self.0.state().step.clone()
    }

    #[zbus(property)]
    async fn waiting(&self) -> String {
        self.0.state().waiting.clone()
    }

    #[zbus(property)]
    async fn progress(&self) -> f64 {
        0.5
    }

    #[zbus(property)]
    async fn progress_valid(&self) -> bool {
        true
    }

    #[zbus(property)]
    async fn gap_ms(&self) -> i64 {
        self.0.gap.load(SeqCst)
    }

    #[zbus(property)]
    async fn members(&self) -> Vec<(String, String, String, u64, String, String)> {
        match self.0.script {
            Script::Batch => members(),
            _ => Vec::new(),
        }
    }

    #[zbus(property)]
    async fn result(&self) -> String {
        self.0.state().result.clone()
    }

    #[zbus(property)]
    async fn error_name(&self) -> String {
        self.0.state().error_name.clone()
    }

    #[zbus(property)]
    async fn error_details(&self) -> String {
        self.0.state().error_details.clone()
    }
}

/// The fake's only service, `web`.
pub struct Service(pub Shared);

#[interface(name = "org.handoverd1.Service")]
impl Service {
    #[zbus(property)]
    async fn id(&self) -> &str {
        "web"
    }

    #[zbus(property)]
    async fn generation(&self) -> u64 {
        self.0.generation.load(SeqCst)
    }

    #[zbus(property)]
    async fn volume(&self) -> (&str, &str, u64, &str, &str) {
        ("hv1", "/pool/web.data.raw", 1 << 30, "ext4", "/srv/web")
    }
}

/// The journal of the one job: an entry of a step stands at its end.
pub fn journal() -> Vec<(u64, String, String)> {
    vec![
        (1_700_000_000_000, "reserve".into(), "begun".into()),
        (
            1_700_000_000_400,
            "reserve".into(),
            "reserve -> stage: holds".into(),
        ),
        (1_700_000_002_300, "stage".into(), "stage -> done: holds".into()),
    ]
}

/// The members of the one batch.
fn members() -> Vec<(String, String, String, u64, String, String)> {
    let member = |service: &str, target: &str, job, result: &str, details: &str| {
        (
            service.to_owned(),
            target.to_owned(),
            "it is the least loaded that fits".to_owned(),
            job,
            result.to_owned(),
            details.to_owned(),
        )
    };
    vec![
        member("web", "g2", 8, "done", ""),
        member("api", "g3", 9, "failed", "port 80 refuses (CheckFailed)"),
    ]
}

/// What the fake's audit finds: of all services one finding of web, of one service none. With `repair` it is repaired.
pub fn findings(repair: bool, one: bool) -> Vec<(String, Dict)> {
    if one {
        return Vec::new();
    }
    let pairs = vec![
        ("kind", "disk-missing".into()),
        ("rule", "one-truth".into()),
        ("guest", "6f2c0a52-0000-4000-8000-000000000002".into()),
        ("guest_name", "g2".into()),
        (
            "what",
            "g2 lacks the bundle disk in its persistent definition".into(),
        ),
        ("table", "accessible, enabled, on g2".into()),
        ("dns", "10.77.0.102".into()),
        ("libvirt", "g2 has bundle live".into()),
        ("guests", "g2: web.service active (running)".into()),
        ("copies", 1u32.into()),
        ("copies_unasked", 0u32.into()),
        ("remedy", "when-told".into()),
        ("repair", "give-disk".into()),
        ("remedy_text", "gives g2 the bundle disk again".into()),
        ("outcome", if repair { "done" } else { "" }.into()),
        ("outcome_text", "".into()),
    ];
    vec![("web".to_owned(), dict(pairs))]
}

/// The rows of guests, with what is in the way there if that was asked for.
pub fn guests(probed: bool) -> Vec<(String, Dict)> {
    let mut pairs = vec![
        ("name", "g2".into()),
        ("host", "hv1".into()),
        ("state", "running".into()),
        ("agent", "disconnected".into()),
        ("address", "10.77.0.102".into()),
        ("addresses", vec!["10.77.0.102"].into()),
        ("persistent", "yes".into()),
        ("services", vec!["web"].into()),
    ];
    if probed {
        pairs.push(("obstacles", vec![("no-agent", "it does not answer")].into()));
    }
    vec![("6f2c0a52-0000-4000-8000-000000000002".to_owned(), dict(pairs))]
}

/// Whether it is frozen after these calls.
pub fn frozen(calls: &[String]) -> (u64, String) {
    match calls.last().and_then(|call| call.strip_prefix("Freeze ")) {
        Some(reason) => (1, format!("uid 0 froze it ({reason})")),
        None => Default::default(),
    }
}
