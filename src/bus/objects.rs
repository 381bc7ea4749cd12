//! `org.handoverd1.Service` and `org.handoverd1.Guest`: for watching.

use zbus::interface;

use super::values::life_state;
use crate::model::service::ServiceRecord;
use crate::requests::listing::GuestRow;

/// A service's object.
pub struct ServiceObject(pub ServiceRecord);

#[interface(interface = "org.handoverd1.Service")]
impl ServiceObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.0.id.to_string()
    }

    #[zbus(property)]
    fn bundle(&self) -> String {
        self.0.bundle.to_string()
    }

    #[zbus(property)]
    fn guest(&self) -> String {
        self.0.guest.to_string()
    }

    #[zbus(property)]
    fn guest_name(&self) -> String {
        self.0.guest_name.clone()
    }

    #[zbus(property)]
    fn host(&self) -> String {
        self.0.host.to_string()
    }

    #[zbus(property)]
    fn address(&self) -> String {
        self.0.address.map(|a| a.to_string()).unwrap_or_default()
    }

    #[zbus(property)]
    fn life_state(&self) -> &'static str {
        life_state(&self.0)
    }

    #[zbus(property)]
    fn wanted(&self) -> &'static str {
        self.0.wanted.as_str()
    }

    #[zbus(property)]
    fn name(&self) -> String {
        self.0
            .dns
            .as_ref()
            .map(|d| d.name.to_string())
            .unwrap_or_default()
    }

    #[zbus(property)]
    fn generation(&self) -> u64 {
        self.0.generation.0
    }

    #[zbus(property)]
    fn enablement(&self) -> &'static str {
        self.0.enablement.as_str()
    }

    #[zbus(property)]
    fn frozen(&self) -> String {
        self.0.frozen.clone().unwrap_or_default()
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
}
