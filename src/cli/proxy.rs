//! The D-Bus interface as handoverctl calls it; documented in `packaging/dbus/org.handoverd1.xml`.

use std::collections::HashMap;

use zbus::{Fd, OwnedObjectPath, OwnedVariant, Variant};

/// `a{sv}` as it is sent.
pub type Options<'a> = HashMap<&'a str, Variant<'a>>;

/// `a{sv}` as it comes.
pub type Properties = HashMap<String, OwnedVariant>;

/// A guest whose death would leave services without a home: UUID, name, how many it has, which have none.
pub type HomelessRow = (String, String, u32, Vec<String>);

/// The daemon's bus name.
pub const BUS_NAME: &str = "org.handoverd1";

/// Its root object.
pub const ROOT: &str = "/org/handoverd1";

/// Interface of the root object.
pub const MANAGER: &str = "org.handoverd1.Manager";

/// Interface of a job.
pub const JOB: &str = "org.handoverd1.Job";

/// Interface of a guest.
pub const GUEST: &str = "org.handoverd1.Guest";

/// Interface of a service.
pub const SERVICE: &str = "org.handoverd1.Service";

/// Requests and lists. Whatever changes something lets polkit ask the user.
#[zbus::proxy(
    interface = "org.handoverd1.Manager",
    default_service = "org.handoverd1",
    default_path = "/org/handoverd1"
)]
pub trait Manager {
    #[zbus(allow_interactive_auth)]
    async fn register_bundle(&self, image: Fd<'_>, options: Options<'_>) -> zbus::Result<String>;

    #[zbus(allow_interactive_auth)]
    async fn deploy(&self, bundle: &str, target: &str, options: Options<'_>)
    -> zbus::Result<OwnedObjectPath>;

    #[zbus(allow_interactive_auth)]
    async fn remove(&self, service: &str, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    #[zbus(allow_interactive_auth)]
    async fn start(&self, service: &str, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    #[zbus(allow_interactive_auth)]
    async fn stop(&self, service: &str, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    #[zbus(allow_interactive_auth, name = "Move")]
    async fn move_object(
        &self,
        object: &str,
        target: &str,
        options: Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;

    #[zbus(allow_interactive_auth)]
    async fn plan(&self, object: &str, target: &str, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    async fn what_if(
        &self,
        event: &str,
        guest: &str,
        options: Options<'_>,
    ) -> zbus::Result<Vec<(String, Vec<(String, Properties)>)>>;

    async fn why(&self, service: &str) -> zbus::Result<Properties>;

    #[zbus(allow_interactive_auth)]
    async fn freeze(&self, reason: &str, options: Options<'_>) -> zbus::Result<()>;

    #[zbus(allow_interactive_auth)]
    async fn thaw(&self, options: Options<'_>) -> zbus::Result<()>;

    #[zbus(allow_interactive_auth)]
    async fn set_maintenance(
        &self,
        kind: &str,
        name: &str,
        state: &str,
        options: Options<'_>,
    ) -> zbus::Result<Vec<(String, u64, String)>>;

    #[zbus(allow_interactive_auth)]
    async fn rebalance(&self, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    #[zbus(property)]
    fn balance(&self) -> zbus::Result<String>;

    #[zbus(property)]
    fn frozen(&self) -> zbus::Result<(u64, String)>;

    #[zbus(property)]
    fn version(&self) -> zbus::Result<String>;

    #[zbus(property)]
    fn host(&self) -> zbus::Result<String>;

    #[zbus(property)]
    fn audit_summary(&self) -> zbus::Result<(u64, u32, HashMap<String, u32>)>;

    #[zbus(property)]
    fn audit_copies(&self) -> zbus::Result<(u32, u32, u32, u32)>;

    #[zbus(property)]
    fn open_work(&self) -> zbus::Result<(u32, u32, u32)>;

    #[zbus(property)]
    fn homeless(&self) -> zbus::Result<(u64, Vec<HomelessRow>)>;

    #[zbus(allow_interactive_auth)]
    async fn upgrade(
        &self,
        service: &str,
        bundle: &str,
        options: Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;

    async fn list_services(&self, filter: Options<'_>) -> zbus::Result<Vec<(String, Properties)>>;

    async fn list_guests(&self, filter: Options<'_>) -> zbus::Result<Vec<(String, Properties)>>;

    async fn list_bundles(&self, filter: Options<'_>) -> zbus::Result<Vec<(String, Properties)>>;

    #[zbus(allow_interactive_auth)]
    async fn audit(&self, options: Options<'_>) -> zbus::Result<Vec<(String, Properties)>>;

    async fn job_journal(&self, job: u64) -> zbus::Result<Vec<(u64, String, String)>>;

    async fn list_jobs(&self, filter: Options<'_>) -> zbus::Result<Vec<(u64, Properties)>>;
}

/// One plan.
#[zbus::proxy(interface = "org.handoverd1.Plan", default_service = "org.handoverd1")]
pub trait Plan {
    #[zbus(allow_interactive_auth)]
    async fn apply(&self, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    #[zbus(property)]
    fn object(&self) -> zbus::Result<String>;

    #[zbus(property)]
    fn target(&self) -> zbus::Result<String>;

    #[zbus(property)]
    fn load(&self) -> zbus::Result<String>;

    #[zbus(property)]
    fn expected_ms(&self) -> zbus::Result<u64>;

    #[zbus(property)]
    fn entries(&self) -> zbus::Result<Vec<(String, Properties)>>;
}

/// One job.
#[zbus::proxy(interface = "org.handoverd1.Job", default_service = "org.handoverd1")]
pub trait Job {
    #[zbus(allow_interactive_auth)]
    async fn cancel(&self) -> zbus::Result<()>;

    #[zbus(allow_interactive_auth)]
    async fn resume(&self) -> zbus::Result<()>;

    #[zbus(allow_interactive_auth)]
    async fn abandon(&self) -> zbus::Result<()>;
}
