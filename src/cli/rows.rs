//! What the daemon's lists say, as values. Keys that are missing are empty, keys that are not known are passed
//! over: the lists may grow.

use serde::Serialize;
use zbus::{OwnedVariant, Variant};

use super::proxy::Properties;

/// Whether services are moved that nobody asked to move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Frozen {
    /// Since when they are not, in milliseconds since 1970; 0: they are.
    pub since: u64,
    /// Why not; empty: they are.
    pub why: String,
}

/// What becomes of the services of a guest whose maintenance has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drain {
    /// The guest's name.
    pub guest: String,
    /// The job that moves them elsewhere.
    pub job: Option<u64>,
    /// Why there is none.
    pub error: Option<String>,
}

impl From<(String, u64, String)> for Drain {
    fn from((guest, job, error): (String, u64, String)) -> Self {
        Self {
            guest,
            job: (job > 0).then_some(job),
            error: (!error.is_empty()).then_some(error),
        }
    }
}

/// Reads single values out of an `a{sv}`.
pub struct Reader<'a>(pub &'a Properties);

impl Reader<'_> {
    /// A text; empty if it is missing or not a text.
    pub fn text(&self, key: &str) -> String {
        self.maybe_text(key).unwrap_or_default()
    }

    /// A text; `None` if it is missing or empty.
    pub fn filled(&self, key: &str) -> Option<String> {
        self.maybe_text(key).filter(|text| !text.is_empty())
    }

    fn maybe_text(&self, key: &str) -> Option<String> {
        self.0.get(key).and_then(text_of)
    }

    /// A number; 0 if it is missing or negative.
    pub fn number(&self, key: &str) -> u64 {
        self.0.get(key).and_then(number_of).unwrap_or_default()
    }

    /// A fraction, if it is there.
    pub fn fraction(&self, key: &str) -> Option<f64> {
        self.0.get(key).and_then(|value| f64::try_from(value).ok())
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Vec<String> {
        self.list(key)
    }

    /// A list of pairs of texts.
    pub fn pairs(&self, key: &str) -> Vec<(String, String)> {
        self.list(key)
    }

    /// A list of values of one type; empty if it is missing or of another.
    pub fn list<T>(&self, key: &str) -> Vec<T>
    where
        T: for<'v> TryFrom<Variant<'v>, Error: Into<zbus::Error>>,
    {
        let copy = self.0.get(key).and_then(|value| value.try_clone().ok());
        copy.and_then(|value| Vec::try_from(value).ok())
            .unwrap_or_default()
    }
}

/// The text in a value.
pub fn text_of(value: &OwnedVariant) -> Option<String> {
    <&str>::try_from(value).ok().map(str::to_owned)
}

/// The number in a value, of whatever width.
pub fn number_of(value: &OwnedVariant) -> Option<u64> {
    u64::try_from(value)
        .ok()
        .or_else(|| u32::try_from(value).ok().map(u64::from))
        .or_else(|| i64::try_from(value).ok().and_then(|n| u64::try_from(n).ok()))
        .or_else(|| i32::try_from(value).ok().and_then(|n| u64::try_from(n).ok()))
}

/// A row of `ListServices`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Service {
    /// Its id.
    pub id: String,
    /// The bundle's digest.
    pub bundle: String,
    /// The bundle's version.
    pub version: String,
    /// Its home guest's UUID.
    pub guest: String,
    /// Its home guest's name.
    pub guest_name: String,
    /// Its home guest's host.
    pub host: String,
    /// The first of its addresses.
    pub address: Option<String>,
    /// The addresses that are published or would be.
    pub addresses: Vec<String>,
    /// Its life state.
    pub life_state: String,
    /// What it is to be.
    pub wanted: String,
    /// What it was seen to be.
    pub observed: String,
    /// When it was seen so, in milliseconds since 1970.
    pub observed_at: u64,
    /// `enabled`, `disabled` or `masked`.
    pub enablement: String,
    /// Its DNS name.
    pub name: Option<String>,
    /// Raised by each commit.
    pub generation: u64,
    /// Why it is frozen, if it is.
    pub frozen: Option<String>,
    /// The guests where it is installed without its disk.
    pub standbys: Vec<Standby>,
    /// Its data volume, if it has one.
    pub volume: Option<Volume>,
}

/// A guest where a service is installed without its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Standby {
    /// The guest's name.
    pub guest: String,
    /// `ready`, `changing` or `dropping`.
    pub state: String,
}

/// The data volume of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Volume {
    /// The host in whose pool it is.
    pub host: String,
    /// Its path there.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its file system.
    pub filesystem: String,
    /// Where it is mounted in the guest.
    pub mount: String,
}

impl From<(String, Properties)> for Service {
    fn from((id, properties): (String, Properties)) -> Self {
        let read = Reader(&properties);
        Self {
            id,
            bundle: read.text("bundle"),
            version: read.text("version"),
            guest: read.text("guest"),
            guest_name: read.text("guest_name"),
            host: read.text("host"),
            address: read.filled("address"),
            addresses: read.texts("addresses"),
            life_state: read.text("life_state"),
            wanted: read.text("wanted"),
            observed: read.text("observed"),
            observed_at: read.number("observed_at"),
            enablement: read.text("enablement"),
            name: read.filled("name"),
            generation: read.number("generation"),
            frozen: read.filled("frozen"),
            standbys: read
                .pairs("standbys")
                .into_iter()
                .map(|(guest, state)| Standby { guest, state })
                .collect(),
            volume: read.filled("volume_path").map(|path| Volume {
                host: read.text("volume_host"),
                path,
                size: read.number("volume_size"),
                filesystem: read.text("volume_filesystem"),
                mount: read.text("volume_mount"),
            }),
        }
    }
}

/// One thing that keeps services from a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObstacleRow {
    /// A stable word, such as `no-agent`.
    pub word: String,
    /// What is in the way and what to do.
    pub text: String,
}

/// How loaded a guest is, each as a share from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Load {
    /// The largest of the others, by which guests are compared.
    pub score: f64,
    /// Of its virtual CPUs.
    pub cpu: f64,
    /// Of its memory.
    pub memory: f64,
    /// Of the last seconds, in which something waited for CPU, memory or IO.
    pub pressure: f64,
}

/// A row of `ListGuests`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Guest {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its state, such as `running`.
    pub state: String,
    /// Its agent: `connected`, `disconnected`, …
    pub agent: String,
    /// The address at which its services are published.
    pub address: Option<String>,
    /// All its addresses.
    pub addresses: Vec<String>,
    /// Whether it has a persistent definition: `yes` or `no`.
    pub persistent: String,
    /// What services may ask of it, such as `zone=a`.
    pub labels: Vec<String>,
    /// How long it is in maintenance yet, by whom and why.
    pub maintenance: Option<String>,
    /// How the daemon sees it, such as `up` or `dead`; empty: it has no services, and is not watched.
    pub watch: String,
    /// Those of its services that would have no home if it died.
    pub homeless: Vec<String>,
    /// How loaded it is, where that is known.
    pub load: Option<Load>,
    /// The services whose home it is.
    pub services: Vec<String>,
    /// What keeps services from it; only looked for with `--check`.
    pub obstacles: Vec<ObstacleRow>,
}

impl From<(String, Properties)> for Guest {
    fn from((uuid, properties): (String, Properties)) -> Self {
        let read = Reader(&properties);
        Self {
            uuid,
            name: read.text("name"),
            host: read.text("host"),
            state: read.text("state"),
            agent: read.text("agent"),
            address: read.filled("address"),
            addresses: read.texts("addresses"),
            persistent: read.text("persistent"),
            labels: read.texts("labels"),
            maintenance: read.filled("maintenance"),
            watch: read.text("watch"),
            homeless: read.texts("homeless"),
            load: read.fraction("load").map(|score| Load {
                score,
                cpu: read.fraction("load_cpu").unwrap_or_default(),
                memory: read.fraction("load_memory").unwrap_or_default(),
                pressure: read.fraction("load_pressure").unwrap_or_default(),
            }),
            services: read.texts("services"),
            obstacles: read
                .pairs("obstacles")
                .into_iter()
                .map(|(word, text)| ObstacleRow { word, text })
                .collect(),
        }
    }
}

/// A row of `ListBundles`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Bundle {
    /// Its sha256.
    pub digest: String,
    /// Its service.
    pub service: String,
    /// Its version.
    pub version: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was registered, in milliseconds since 1970.
    pub registered: u64,
}

impl From<(String, Properties)> for Bundle {
    fn from((digest, properties): (String, Properties)) -> Self {
        let read = Reader(&properties);
        Self {
            digest,
            service: read.text("service"),
            version: read.text("version"),
            size: read.number("size"),
            registered: read.number("registered"),
        }
    }
}

/// A row of `Audit`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// The service that it is about, if one is known.
    pub service: Option<String>,
    /// A stable word, such as `disk-stray`.
    pub kind: String,
    /// The rule that it breaks, such as `one-truth`.
    pub rule: String,
    /// The guest's UUID, if it is about one.
    pub guest: Option<String>,
    /// That guest's name.
    pub guest_name: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What the table says.
    pub table: String,
    /// What the zone says.
    pub dns: String,
    /// What libvirt says.
    pub libvirt: String,
    /// What the guests say.
    pub guests: String,
    /// How many copies were seen running.
    pub copies: u64,
    /// In how many guests that could not be told.
    pub copies_unasked: u64,
    /// Who does something about it: `by-itself`, `when-told`, `operator`, `unknown`.
    pub remedy: String,
    /// What the daemon would do, such as `take-disk`.
    pub repair: Option<String>,
    /// What is to be done, for people.
    pub remedy_text: String,
    /// What was done: `done`, `remains`, or nothing.
    pub outcome: String,
    /// Why it remains.
    pub outcome_text: String,
}

impl Finding {
    /// Whether nothing of it is left.
    pub fn is_settled(&self) -> bool {
        self.outcome == "done"
    }
}

impl From<(String, Properties)> for Finding {
    fn from((service, properties): (String, Properties)) -> Self {
        let read = Reader(&properties);
        Self {
            service: (!service.is_empty()).then_some(service),
            kind: read.text("kind"),
            rule: read.text("rule"),
            guest: read.filled("guest"),
            guest_name: read.filled("guest_name"),
            what: read.text("what"),
            table: read.text("table"),
            dns: read.text("dns"),
            libvirt: read.text("libvirt"),
            guests: read.text("guests"),
            copies: read.number("copies"),
            copies_unasked: read.number("copies_unasked"),
            remedy: read.text("remedy"),
            repair: read.filled("repair"),
            remedy_text: read.text("remedy_text"),
            outcome: read.text("outcome"),
            outcome_text: read.text("outcome_text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(list: Vec<(&str, Variant<'static>)>) -> Properties {
        list.into_iter()
            .map(|(key, value)| (key.to_owned(), value.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_service_row_is_read_and_empty_texts_are_none() {
        let row = properties(vec![
            ("guest_name", "g1".into()),
            ("address", "".into()),
            ("generation", 4u64.into()),
            ("volume_path", "/pool/web.data.raw".into()),
            ("volume_size", 16_777_216u64.into()),
            ("new_in_a_later_version", true.into()),
        ]);
        let service = Service::from(("web".to_owned(), row));
        assert_eq!(service.id, "web");
        assert_eq!(service.guest_name, "g1");
        assert_eq!(service.address, None);
        assert_eq!(service.generation, 4);
        assert_eq!(service.name, None);
        let volume = service.volume.unwrap();
        assert_eq!(
            (volume.path.as_str(), volume.size),
            ("/pool/web.data.raw", 16_777_216)
        );
    }

    #[test]
    fn a_guest_row_with_lists_is_read() {
        let row = properties(vec![
            ("addresses", vec!["10.77.0.102", "fd00::2"].into()),
            ("obstacles", vec![("no-agent", "it does not answer")].into()),
            ("services", Vec::<String>::new().into()),
        ]);
        let guest = Guest::from(("u".to_owned(), row));
        assert_eq!(guest.addresses, ["10.77.0.102", "fd00::2"]);
        assert_eq!(guest.obstacles[0].word, "no-agent");
        assert_eq!(guest.obstacles[0].text, "it does not answer");
        assert!(guest.services.is_empty());
    }

    #[test]
    fn values_of_the_wrong_type_are_empty_not_an_error() {
        let row = properties(vec![("size", "big".into()), ("service", 1u32.into())]);
        let bundle = Bundle::from(("d".to_owned(), row));
        assert_eq!((bundle.size, bundle.service.as_str()), (0, ""));
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        for value in [Variant::from(7u64), 7u32.into(), 7i64.into(), 7i32.into()] {
            let row = properties(vec![("n", value)]);
            assert_eq!(Reader(&row).number("n"), 7);
        }
        let row = properties(vec![("n", (-1i32).into())]);
        assert_eq!(Reader(&row).number("n"), 0);
    }
}
