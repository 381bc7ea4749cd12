//! Guests and services as the planner sees them: plain values, looked at once, from which everything is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::load::{Load, Share};
use crate::model::ids::{Generation, GuestId, HostId, ServiceId};
use crate::model::life::LifeState;
use crate::model::needs::{Label, Needs, Resources};
use crate::model::obstacle::Obstacle;
use crate::model::service::Millis;

/// A guest that may become a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestView {
    /// Its UUID.
    pub id: GuestId,
    /// Its libvirt name.
    pub name: String,
    /// The host where it is.
    pub host: HostId,
    /// What its services may need in all.
    pub capacity: Resources,
    /// Its smoothed load; `None`: not known, then only what its services need counts.
    pub load: Option<Load>,
    /// Its labels, from the configuration or its metadata.
    pub labels: BTreeSet<Label>,
    /// What keeps every service from it ([`super::preflight`]): not running, no agent, …
    pub obstacles: Vec<Obstacle>,
    /// Why and how long yet it (or its host) is in maintenance, for people; `None`: it is not.
    pub maintenance: Option<String>,
}

/// A service that may be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// Its home; `None`: it is not deployed yet.
    pub home: Option<GuestId>,
    /// It came there so lately that its home's load hardly shows it yet.
    pub settling: bool,
    /// The target of a handover that is under way.
    pub going: Option<GuestId>,
    /// Its generation in the service table.
    pub generation: Generation,
    /// The life state that it keeps: the wanted one, unless it was seen to have failed.
    pub wanted: LifeState,
    /// When its life state was last seen.
    pub observed_at: Millis,
    /// Its manifest allows moving it.
    pub movable: bool,
    /// Why it is frozen (a stuck handover).
    pub frozen: Option<String>,
    /// What it asks of a guest.
    pub needs: Needs,
    /// What it was measured to use; `None`: not known.
    pub measured: Option<Resources>,
    /// Guests where it is installed without its disk.
    pub standbys: Vec<GuestId>,
    /// A guest with an old copy of the current bundle that still serves (its drain is open).
    pub draining: Option<GuestId>,
    /// What a probe found in the way of this service on particular guests.
    pub obstacles: BTreeMap<GuestId, Vec<Obstacle>>,
    /// How long its last handovers took.
    pub expected: Option<Duration>,
}

impl ServiceView {
    /// What it is reckoned to add to a guest's load: what it was measured to use, else what its manifest says.
    pub fn weight(&self) -> Resources {
        self.measured.unwrap_or_else(|| self.needs.weight())
    }
}

/// All guests and services, indexed. The order in which they are given does not matter.
#[derive(Debug, Clone)]
pub struct Cluster {
    guests: Vec<GuestView>,
    services: Vec<ServiceView>,
    /// For each guest: what the services there and on their way there need.
    taken: Vec<Resources>,
    /// For each guest: what the services on their way there, and those that came lately, will add to its load.
    coming: Vec<Resources>,
    /// For each guest: the services whose home it is.
    residents: Vec<Vec<usize>>,
    together: BTreeMap<usize, BTreeSet<usize>>,
    apart: BTreeMap<usize, BTreeSet<usize>>,
}

impl Cluster {
    /// Indexes guests and services. Of two with the same id the first counts: a guest that is being migrated is listed by
    /// both hosts.
    pub fn of(mut guests: Vec<GuestView>, mut services: Vec<ServiceView>) -> Self {
        guests.sort_by_key(|guest| guest.id);
        guests.dedup_by_key(|guest| guest.id);
        services.sort_by(|a, b| a.id.cmp(&b.id));
        services.dedup_by(|a, b| a.id == b.id);
        let mut cluster = Self {
            taken: vec![Resources::NONE; guests.len()],
            coming: vec![Resources::NONE; guests.len()],
            residents: vec![Vec::new(); guests.len()],
            guests,
            services,
            together: BTreeMap::new(),
            apart: BTreeMap::new(),
        };
        for index in 0..cluster.services.len() {
            cluster.index(index);
        }
        cluster
    }

    fn index(&mut self, index: usize) {
        let service = &self.services[index];
        let (demand, weight) = (service.needs.demand(), service.weight());
        let home = service.home.and_then(|id| self.guest_index(id));
        let going = service.going.and_then(|id| self.guest_index(id));
        let find = |names: &[ServiceId]| -> Vec<usize> {
            names.iter().filter_map(|id| self.service_index(id)).collect()
        };
        let (together, apart) = (find(&service.needs.affinity), find(&service.needs.anti_affinity));
        if let Some(home) = home {
            self.taken[home] = self.taken[home].plus(demand);
            if service.settling {
                self.coming[home] = self.coming[home].plus(weight);
            }
            self.residents[home].push(index);
        }
        if let Some(going) = going.filter(|going| Some(*going) != home) {
            self.taken[going] = self.taken[going].plus(demand);
            self.coming[going] = self.coming[going].plus(weight);
        }
        for (pairs, others) in [(&mut self.together, together), (&mut self.apart, apart)] {
            for other in others {
                pairs.entry(index).or_default().insert(other);
                pairs.entry(other).or_default().insert(index);
            }
        }
    }

    /// All guests, by UUID.
    pub fn guests(&self) -> &[GuestView] {
        &self.guests
    }

    /// All services, by id.
    pub fn services(&self) -> &[ServiceView] {
        &self.services
    }

    /// One guest.
    pub fn guest(&self, id: GuestId) -> Option<&GuestView> {
        self.guest_index(id).map(|index| &self.guests[index])
    }

    /// One service.
    pub fn service(&self, id: &ServiceId) -> Option<&ServiceView> {
        self.service_index(id).map(|index| &self.services[index])
    }

    /// Keeps a service from a guest, whatever else would speak for it.
    pub fn bar(&mut self, service: &ServiceId, guest: GuestId, obstacle: Obstacle) {
        if let Some(index) = self.service_index(service) {
            let obstacles = &mut self.services[index].obstacles;
            obstacles.entry(guest).or_default().push(obstacle);
        }
    }

    /// The services whose home is this guest, by id.
    pub fn residents(&self, guest: GuestId) -> impl Iterator<Item = &ServiceView> {
        let residents = self.guest_index(guest).map(|index| &self.residents[index]);
        residents
            .into_iter()
            .flatten()
            .map(|index| &self.services[*index])
    }

    /// A guest's name for people; its UUID where it is not known.
    pub fn name_of(&self, guest: GuestId) -> String {
        self.guest(guest)
            .map_or_else(|| guest.to_string(), |guest| guest.name.clone())
    }

    pub(super) fn guest_index(&self, id: GuestId) -> Option<usize> {
        self.guests.binary_search_by_key(&id, |guest| guest.id).ok()
    }

    pub(super) fn service_index(&self, id: &ServiceId) -> Option<usize> {
        self.services.binary_search_by(|service| service.id.cmp(id)).ok()
    }

    /// Services that must be on the same guest as this one.
    pub(super) fn together(&self, service: usize) -> impl Iterator<Item = usize> + '_ {
        self.together.get(&service).into_iter().flatten().copied()
    }

    /// Services that must not be on the same guest as this one.
    pub(super) fn apart(&self, service: usize) -> impl Iterator<Item = usize> + '_ {
        self.apart.get(&service).into_iter().flatten().copied()
    }

    /// What is free on a guest: of its capacity, what no service there or on its way there needs; of memory, not more
    /// than its load leaves to those that are not there yet.
    pub(super) fn free(&self, guest: usize) -> Resources {
        let view = &self.guests[guest];
        let declared = view.capacity.minus(self.taken[guest]);
        match view.load {
            None => declared,
            Some(load) => {
                let measured = Share::WHOLE.minus(load.memory).part(view.capacity.memory);
                let measured = measured.saturating_sub(self.coming[guest].memory);
                Resources {
                    memory: declared.memory.min(measured),
                    cpu: declared.cpu,
                }
            }
        }
    }

    /// A guest's score if `more` came on top of what is there and on its way there: the larger of what it is measured to
    /// use and what its services say that they need.
    pub(super) fn score(&self, guest: usize, more: Resources) -> Share {
        self.score_after(guest, more, Resources::NONE)
    }

    /// As [`Cluster::score`], if `less` went away as well. Pressure is taken to ease by as much as the scarcest of what
    /// goes.
    pub(super) fn score_after(&self, guest: usize, more: Resources, less: Resources) -> Share {
        let view = &self.guests[guest];
        let coming = self.coming[guest].plus(more);
        let whole = view.capacity;
        let load = view.load.unwrap_or_default();
        let goes = (
            Share::of(less.cpu, whole.cpu),
            Share::of(less.memory, whole.memory),
        );
        let measured = Load {
            cpu: load.cpu.plus(Share::of(coming.cpu, whole.cpu)).minus(goes.0),
            memory: load
                .memory
                .plus(Share::of(coming.memory, whole.memory))
                .minus(goes.1),
            pressure: load.pressure.minus(goes.0.max(goes.1)),
        };
        let needed = self.taken[guest].plus(more).minus(less);
        let declared = Share::of(needed.cpu, whole.cpu).max(Share::of(needed.memory, whole.memory));
        measured.score().max(declared)
    }
}
