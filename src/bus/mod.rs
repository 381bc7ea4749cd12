//! The D-Bus API `org.handoverd1` (design section 7; the interface XML is `packaging/dbus/org.handoverd1.xml`).

pub mod authority;
pub mod error;
pub mod job;
pub mod manager;
pub mod objects;
pub mod options;
pub mod plan;
pub mod server;
pub mod values;

use zbus::OwnedObjectPath;

use crate::model::ids::{GuestId, JobId, ServiceId};

/// The well-known name.
pub const NAME: &str = "org.handoverd1";
/// The root object.
pub const ROOT: &str = "/org/handoverd1";

/// The path of a job.
pub fn job_path(id: JobId) -> OwnedObjectPath {
    path(&format!("{ROOT}/job/{id}"))
}

/// The path of a plan; its id has letters and digits only.
pub fn plan_path(id: &str) -> OwnedObjectPath {
    path(&format!("{ROOT}/plan/{id}"))
}

/// The path of a service: everything but letters and digits is written `_xx` (as systemd does).
pub fn service_path(id: &ServiceId) -> OwnedObjectPath {
    use std::fmt::Write as _;
    let mut out = format!("{ROOT}/service/");
    for byte in id.as_str().bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else if write!(out, "_{byte:02x}").is_err() {
            // Writing to a String cannot fail.
            break;
        }
    }
    path(&out)
}

/// The path of a guest: its UUID with `_` for `-`.
pub fn guest_path(id: GuestId) -> OwnedObjectPath {
    path(&format!("{ROOT}/guest/{}", id.to_string().replace('-', "_")))
}

/// Every text made above is a valid path; the root stands in for what cannot happen.
fn path(text: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_with_dashes_and_dots_get_distinct_paths() {
        assert_eq!(
            service_path(&"web".parse().unwrap()).as_str(),
            "/org/handoverd1/service/web"
        );
        assert_eq!(
            service_path(&"my-app.v2".parse().unwrap()).as_str(),
            "/org/handoverd1/service/my_2dapp_2ev2"
        );
        assert_ne!(
            service_path(&"a-b".parse().unwrap()),
            service_path(&"a_b".parse().unwrap())
        );
        assert_eq!(job_path(JobId(7)).as_str(), "/org/handoverd1/job/7");
    }
}
