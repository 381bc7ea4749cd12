//! `org.handoverd1.Service` and `org.handoverd1.Guest`: for watching.

use zbus::interface;

use super::values::{fraction, life_state};
use crate::requests::listing::{GuestRow, ServiceRow};

/// A service's object.
pub struct ServiceObject(pub ServiceRow);

#[interface(interface = "org.handoverd1.Service")]
impl ServiceObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.0.service.id.to_string()
    }

    #[zbus(property)]
    fn bundle(&self) -> String {
        self.0.service.bundle.to_string()
    }

    #[zbus(property)]
    fn guest(&self) -> String {
        self.0.service.guest.to_string()
    }

    #[zbus(property)]
    fn guest_name(&self) -> String {
        self.0.service.guest_name.clone()
    }

    #[zbus(property)]
    fn host(&self) -> String {
        self.0.host.to_string()
    }

    #[zbus(property)]
    fn address(&self) -> String {
        self.0
            .service
            .address()
            .map(|a| a.to_string())
            .unwrap_or_default()
    }

    #[zbus(property)]
    fn addresses(&self) -> Vec<String> {
        super::values::texts(&self.0.service.addresses)
    }

    #[zbus(property)]
    fn life_state(&self) -> &'static str {
        life_state(&self.0)
    }

    #[zbus(property)]
    fn wanted(&self) -> &'static str {
        self.0.service.wanted.as_str()
    }

    #[zbus(property)]
    fn name(&self) -> String {
        self.0
            .service
            .dns
            .as_ref()
            .map(|d| d.name.to_string())
            .unwrap_or_default()
    }

    #[zbus(property)]
    fn generation(&self) -> u64 {
        self.0.service.generation.0
    }

    #[zbus(property)]
    fn enablement(&self) -> &'static str {
        self.0.service.enablement.as_str()
    }

    #[zbus(property)]
    fn frozen(&self) -> String {
        self.0.service.frozen.clone().unwrap_or_default()
    }

    /// Guests, and how far each is.
    #[zbus(property)]
    fn standbys(&self) -> Vec<(String, String)> {
        super::values::standbys(&self.0)
    }

    /// Host, path, size in bytes, file system, mount point; all empty without a data volume.
    #[zbus(property)]
    fn volume(&self) -> (String, String, u64, String, String) {
        match &self.0.service.volume {
            Some(volume) => (
                volume.host.to_string(),
                volume.path.clone(),
                volume.size,
                volume.filesystem.as_str().to_owned(),
                self.0.mount_point.clone(),
            ),
            None => Default::default(),
        }
    }
}

/// A guest's object.
pub struct GuestObject(pub GuestRow);

#[interface(interface = "org.handoverd1.Guest")]
impl GuestObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn uuid(&self) -> String {
        self.0.summary.id.to_string()
    }

    #[zbus(property)]
    fn name(&self) -> String {
        self.0.summary.name.clone()
    }

    #[zbus(property)]
    fn host(&self) -> String {
        self.0.summary.host.to_string()
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.0.summary.state.as_str()
    }

    #[zbus(property)]
    fn agent_state(&self) -> &'static str {
        self.0.agent
    }

    #[zbus(property)]
    fn addresses(&self) -> Vec<String> {
        self.0.addresses.iter().map(ToString::to_string).collect()
    }

    #[zbus(property)]
    fn services(&self) -> Vec<String> {
        self.0.services.clone()
    }

    #[zbus(property)]
    fn watch_state(&self) -> &'static str {
        self.0.watch
    }

    #[zbus(property)]
    fn homeless(&self) -> Vec<String> {
        self.0.homeless.clone()
    }

    /// How long it is in maintenance yet, by whom and why; empty: it is not.
    #[zbus(property(emits_changed_signal = "false"))]
    fn maintenance(&self) -> String {
        self.0.maintenance.clone().unwrap_or_default()
    }

    /// The share of its scarcest resource that is used, 0 to 1; negative where it is not known.
    #[zbus(property(emits_changed_signal = "false"))]
    fn load(&self) -> f64 {
        self.0.load.map_or(-1.0, |load| fraction(load.score()))
    }
}
