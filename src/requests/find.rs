//! What a text in a request means: a service, a guest, a bundle.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::Requests;
use super::refusal::Refusal;
use crate::model::guest::GuestSummary;
use crate::model::ids::ServiceId;
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::plan::classify::GuestName;

/// The shortest part of a digest that may name a bundle.
const SHORTEST_DIGEST: usize = 8;

impl Requests {
    /// The service with this id, if there is one.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_service(&self, text: &str) -> Result<Option<ServiceRecord>, Refusal> {
        match text.parse::<ServiceId>() {
            Ok(id) => Ok(self.world.table.service(&id).await?),
            Err(_not_an_id) => Ok(None),
        }
    }

    /// The service with this id.
    ///
    /// # Errors
    /// There is none.
    pub async fn service(&self, text: &str) -> Result<ServiceRecord, Refusal> {
        self.find_service(text)
            .await?
            .ok_or_else(|| Refusal::NoSuchService(text.to_owned()))
    }

    /// All guests of all hosts that answer; hosts that do not are logged.
    pub async fn guests(&self) -> Vec<GuestSummary> {
        let mut guests = Vec::new();
        for one in self.world.hypervisor.guests().await {
            match one {
                Ok(guest) => guests.push(guest),
                Err((host, error)) => tracing::warn!(%host, %error, "guests of a host are left out"),
            }
        }
        guests
    }

    /// The one guest with this name, UUID or address.
    ///
    /// # Errors
    /// There is none, or more than one; or no host answers at all.
    pub async fn guest(&self, text: &str) -> Result<GuestSummary, Refusal> {
        let wanted = GuestName::of(text);
        let listed = self.world.hypervisor.guests().await;
        let mut guests = Vec::new();
        let mut silent = None;
        for one in listed {
            match one {
                Ok(guest) => guests.push(guest),
                Err((host, error)) => silent = Some(format!("host {host} does not answer: {error}")),
            }
        }
        let mut addresses = HashMap::new();
        if let GuestName::Address(_) = wanted {
            let ask = guests
                .iter()
                .filter(|g| g.is_running() && g.agent_connected)
                .map(|g| async { (g.id, self.world.guest.addresses(g.id).await.unwrap_or_default()) });
            addresses = join_all(ask).await.into_iter().collect();
        }
        let found = wanted.select(&guests, |id| addresses.get(&id).cloned().unwrap_or_default());
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(silent.map_or_else(|| Refusal::NoSuchGuest(text.to_owned()), Refusal::Unavailable)),
            many => {
                let list: Vec<String> = many.iter().map(|g| format!("{} on {}", g.id, g.host)).collect();
                Err(Refusal::AmbiguousGuest(text.to_owned(), list.join(", ")))
            }
        }
    }

    /// The bundle meant by a digest, 8 or more of its first digits, or `service@version`.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn bundle(&self, text: &str) -> Result<BundleRecord, Refusal> {
        let bundles = self.world.table.bundles().await?;
        let by_version = text.rsplit_once('@');
        let mut found = bundles.into_iter().filter(|b| {
            let digits = text.len() >= SHORTEST_DIGEST && b.digest.as_str().starts_with(text);
            let version =
                by_version.is_some_and(|(s, v)| b.manifest.service.as_str() == s && b.manifest.version == v);
            digits || version
        });
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Refusal::AmbiguousBundle(text.to_owned())),
            (None, _) => Err(Refusal::NoSuchBundle(text.to_owned())),
        }
    }

    /// The bundle that a service runs.
    ///
    /// # Errors
    /// The table has lost it.
    pub async fn bundle_of(&self, service: &ServiceRecord) -> Result<BundleRecord, Refusal> {
        let bundle = self.world.table.bundle(&service.bundle).await?;
        bundle.ok_or_else(|| Refusal::NoSuchBundle(service.bundle.to_string()))
    }
}
