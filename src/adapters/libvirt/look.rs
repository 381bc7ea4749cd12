//! Reading domains: listing a host, and finding one guest by its UUID wherever it is at this moment.

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

use super::domain_xml::{self, DomainXml};
use super::ffi;
use super::host::Host;
use super::link::Call;
use super::{LibvirtHosts, failure::Failure};
use crate::model::guest::{DomainState, GuestDomain, GuestSummary};
use crate::model::ids::{GuestId, HostId};
use crate::ports::PortError;

/// A guest as one host has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presence {
    /// It has a QEMU process there, perhaps an incoming migration's.
    pub(super) active: bool,
    /// It has a persistent definition there.
    pub(super) persistent: bool,
}

/// Where a guest is, of all hosts that answered.
pub(super) struct Whereabouts<'a> {
    guest: GuestId,
    present: Vec<(&'a Host, Presence)>,
    silent: Vec<PortError>,
}

impl<'a> Whereabouts<'a> {
    /// The one host where the guest is active; `None` if it is active on none, and every host said so.
    ///
    /// `Unavailable` while it is active on two (somebody migrates it) and while a host that does not answer might
    /// have it.
    pub(super) fn active(&self) -> Result<Option<&'a Host>, PortError> {
        let mut active = self.present.iter().filter(|(_, presence)| presence.active);
        match (active.next(), active.next()) {
            (Some((host, _)), None) => Ok(Some(host)),
            (Some((one, _)), Some((other, _))) => Err(PortError::unavailable(format!(
                "guest {} is active on {} and on {}: somebody migrates it; try again when it has arrived",
                self.guest, one.id, other.id
            ))),
            (None, _) => self.all_answered().map(|()| None),
        }
    }

    /// Every host that has a persistent definition of the guest.
    pub(super) fn defining(&self) -> impl Iterator<Item = &'a Host> {
        self.present
            .iter()
            .filter(|(_, presence)| presence.persistent)
            .map(|(host, _)| *host)
    }

    /// An error if a host did not answer: it proves nothing about the guest.
    pub(super) fn all_answered(&self) -> Result<(), PortError> {
        match self.silent.first() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl LibvirtHosts {
    /// Asks every host for the guest, at this moment.
    pub(super) async fn locate(&self, guest: GuestId) -> Whereabouts<'_> {
        let mut whereabouts = Whereabouts {
            guest,
            present: Vec::new(),
            silent: Vec::new(),
        };
        for (host, answer) in self.on_every_host(|host| host.presence(guest)).await {
            match answer {
                Ok(Some(presence)) => whereabouts.present.push((host, presence)),
                Ok(None) => {}
                Err(error) => whereabouts.silent.push(error),
            }
        }
        whereabouts
    }

    /// A fresh look at the guest on the host that says most about it: where it runs, where it is active at all, where
    /// it is defined. `Ok(None)` only if every host answered and none knows it.
    pub(super) async fn look(&self, guest: GuestId) -> Result<Option<GuestDomain>, PortError> {
        let mut silent = None;
        let mut seen = Vec::new();
        for (_, answer) in self.on_every_host(|host| host.look(guest)).await {
            match answer {
                Ok(domain) => seen.extend(domain),
                Err(error) => silent = Some(error),
            }
        }
        let rank = |domain: &GuestDomain| (domain.summary.is_running(), domain.live.is_some());
        match (seen.into_iter().max_by_key(rank), silent) {
            (Some(domain), _) => Ok(Some(domain)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }
}

impl LibvirtHosts {
    /// The guest as every host has it; an error if a host does not answer.
    pub(super) async fn look_everywhere(&self, guest: GuestId) -> Result<Vec<GuestDomain>, PortError> {
        let mut all = Vec::new();
        for (_, answer) in self.on_every_host(|host| host.look(guest)).await {
            all.extend(answer?);
        }
        Ok(all)
    }
}

impl Host {
    /// Every domain of this host.
    pub(super) async fn list(&self) -> Result<Vec<GuestSummary>, PortError> {
        let id = self.id.clone();
        let call = Call::reads("list its guests", self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let mut summaries = Vec::new();
                for domain in connection.list_all_domains(0)? {
                    // A domain that has gone since the listing is no error.
                    if let Some(found) = gone_is_none(read(&domain, &id))? {
                        summaries.push(found.summary);
                    }
                }
                Ok(summaries)
            })
            .await
    }

    async fn look(&self, guest: GuestId) -> Result<Option<GuestDomain>, PortError> {
        let id = self.id.clone();
        let call = Call::reads(format!("look at guest {guest}"), self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let Some(domain) = lookup(connection, guest)? else {
                    return Ok(None);
                };
                gone_is_none(read(&domain, &id))
            })
            .await
    }

    async fn presence(&self, guest: GuestId) -> Result<Option<Presence>, PortError> {
        let call = Call::reads(format!("look for guest {guest}"), self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let Some(domain) = lookup(connection, guest)? else {
                    return Ok(None);
                };
                gone_is_none(presence(&domain).map_err(Failure::from))
            })
            .await
    }
}

fn presence(domain: &Domain) -> Result<Presence, Error> {
    Ok(Presence {
        active: domain.is_active()?,
        persistent: domain.is_persistent()?,
    })
}

/// The domain with this UUID, if this host has it.
pub(super) fn lookup(connection: &Connect, guest: GuestId) -> Result<Option<Domain>, Error> {
    match connection.lookup_domain_by_uuid(Uuid::from_bytes(*guest.0.as_bytes())) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if error.code().is(ErrorNumber::NoDomain) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn gone_is_none<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Libvirt(error)) if error.code().is(ErrorNumber::NoDomain) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The live XML, or `None` if the domain is not active.
pub(super) fn live_xml(domain: &Domain) -> Result<Option<(String, DomainXml)>, Failure> {
    let xml = domain.xml_desc(0)?;
    let parsed = parse(domain, &xml)?;
    Ok(parsed.active.then_some((xml, parsed)))
}

/// The persistent XML, or `None` if the domain is transient.
pub(super) fn config_xml(domain: &Domain) -> Result<Option<(String, DomainXml)>, Failure> {
    if !domain.is_persistent()? {
        return Ok(None);
    }
    let xml = domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?;
    let parsed = parse(domain, &xml)?;
    Ok(Some((xml, parsed)))
}

/// Reads one half's or another's XML; the error names the domain.
pub(super) fn parse(domain: &Domain, xml: &str) -> Result<DomainXml, Failure> {
    domain_xml::parse(xml).map_err(|error| {
        let name = domain.name().unwrap_or_default();
        Failure::Port(PortError::refused(format!(
            "the XML of domain {name} cannot be read: {error}"
        )))
    })
}

fn read(domain: &Domain, host: &HostId) -> Result<GuestDomain, Failure> {
    let mut live = live_xml(domain)?.map(|(_, xml)| xml);
    let config = config_xml(domain)?.map(|(_, xml)| xml);
    // After the XML: a domain that stopped in between is told as stopped, without a live definition.
    let state = state(ffi::domain_state(domain)?.0);
    if matches!(state, DomainState::Shutoff | DomainState::Crashed) && !domain.is_active()? {
        live = None;
    }
    let controller = [&live, &config]
        .into_iter()
        .flatten()
        .find_map(|xml| xml.controller.clone());
    // As the controller: what is in force now, and of a guest that is off its definition.
    let labels = [&live, &config].into_iter().flatten().next();
    let labels = labels.map(|xml| xml.labels.clone()).unwrap_or_default();
    let summary = GuestSummary {
        id: GuestId(domain.uuid()?),
        name: domain.name()?,
        host: host.clone(),
        state,
        agent_connected: live.as_ref().is_some_and(|xml| xml.agent_connected),
        persistent: config.is_some(),
        managed_save: managed_save(domain)?,
        controller,
        labels,
    };
    Ok(GuestDomain {
        summary,
        live: live.map(|xml| xml.definition),
        config: config.map(|xml| xml.definition),
    })
}

/// Whether a managed-save image waits; a driver that has none says so by "not supported".
pub(super) fn managed_save(domain: &Domain) -> Result<bool, Error> {
    match domain.has_managed_save(0) {
        Ok(waits) => Ok(waits),
        Err(error) if error.code().is(ErrorNumber::NoSupport) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn state(number: u32) -> DomainState {
    match number {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => DomainState::Running,
        sys::VIR_DOMAIN_PAUSED => DomainState::Paused,
        sys::VIR_DOMAIN_SHUTDOWN => DomainState::ShuttingDown,
        sys::VIR_DOMAIN_SHUTOFF => DomainState::Shutoff,
        sys::VIR_DOMAIN_CRASHED => DomainState::Crashed,
        sys::VIR_DOMAIN_PMSUSPENDED => DomainState::Suspended,
        _ => DomainState::Unknown,
    }
}
