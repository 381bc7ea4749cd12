//! The invariants of design section 5, over what is true in a simulated world.

use std::collections::BTreeSet;
use std::fmt;

use super::table::SimTable;
use super::world::{Power, SimGuest, SimWorld};
use crate::handover::goals::{Goal, Kind};
use crate::handover::machine::{Direction, State};
use crate::handover::record::Handover;
use crate::handover::verdict;
use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::grant::Grant;
use crate::model::ids::{GuestId, ServiceId};
use crate::model::life::{Enablement, LifeState};
use crate::model::name::{NameRecords, Ownership};
use crate::model::service::ServiceRecord;
use crate::model::standby::StandbyState;
use crate::plan::errand::wanted;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in design section 5.
    pub invariant: u8,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.text)
    }
}

struct Found(Vec<Violation>);

impl Found {
    fn unless(&mut self, holds: bool, invariant: u8, text: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation {
                invariant,
                text: text(),
            });
        }
    }
}

/// What must hold at every moment.
pub fn always(world: &SimWorld) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    for table in world.tables.values() {
        for row in table.services.values() {
            never_zero(world, table, row, &mut found);
            stopped_stays_stopped(world, table, row, &mut found);
            nothing_lost(world, table, row, &mut found);
            never_two_copies(world, table, row, &mut found);
        }
        standbys_run_nothing(world, table, &mut found);
    }
    never_two_writers(world, &mut found);
    every_guest_boots(world, &mut found);
    for text in &world.late_effects {
        found.unless(false, 6, || text.clone());
    }
    found.0
}

/// Invariant 1: every address that the name gave within its TTL answers, as far as its guest runs.
fn never_zero(world: &SimWorld, table: &SimTable, row: &ServiceRecord, found: &mut Found) {
    let Some(name) = row.dns.as_ref().map(|dns| &dns.name) else {
        return;
    };
    let overlap = table.bundles.get(&row.bundle).is_some_and(|b| b.manifest.overlap);
    let meant = row.wanted == LifeState::Accessible && row.enablement == Enablement::Enabled;
    if !meant
        || !overlap
        || row.volume.is_some()
        || table
            .latest(&row.id)
            .is_some_and(|(h, open)| interrupts(h, open || row.frozen.is_some()))
    {
        return;
    }
    let moved = table.latest(&row.id).is_some_and(|(h, _)| h.kind == Kind::Move);
    let addresses = match moved {
        true => world.zone.believed(name, world.now),
        false => world.zone.read(name).addresses,
    };
    for address in addresses {
        let Some((_, guest)) = world.guest_at(address) else {
            continue;
        };
        let copy = guest.copies.get(&row.id);
        let excused =
            copy.is_some_and(|copy| copy.down_since_boot || copy.failed) || !guest.touched.is_empty();
        found.unless(
            guest.power != Power::Up || guest.serves(&row.id) || excused,
            1,
            || {
                format!(
                    "{name} leads to {} ({address}), which is up, and nothing answers there",
                    guest.name
                )
            },
        );
    }
}

/// Whether the service was down already, and against its will, when the handover began.
fn had_failed(handover: &Handover) -> bool {
    handover.facts.was_down_unwanted()
}

/// Whether a handover, `open` or stuck, is not a planned move of a service that is up.
fn interrupts(handover: &Handover, open: bool) -> bool {
    match handover.kind {
        Kind::Move => {
            let up = handover.facts.observed.is_none_or(LifeState::wants_running);
            handover.facts.source_dead || !up
        }
        Kind::Replace | Kind::Stop | Kind::Remove => open || had_failed(handover),
        Kind::Deploy | Kind::Start => open,
    }
}

/// Invariant 2: a volume is open in at most one guest; its service runs once, and never without it.
fn never_two_writers(world: &SimWorld, found: &mut Found) {
    for (path, volume) in &world.volumes {
        let openers: Vec<&str> = world
            .guests
            .values()
            .filter(|guest| guest.is_active())
            .filter(|guest| {
                guest
                    .live
                    .disks
                    .values()
                    .any(|d| d.role == DiskRole::Volume && d.base == *path)
            })
            .map(|guest| guest.name.as_str())
            .collect();
        found.unless(openers.len() < 2, 2, || {
            format!("{path} is open in {}", openers.join(" and "))
        });
        let mut runs = Vec::new();
        for guest in world
            .guests
            .values()
            .filter(|guest| guest.serves(&volume.service))
        {
            runs.push(guest.name.as_str());
            let data = guest
                .copies
                .get(&volume.service)
                .and_then(|copy| copy.units.as_ref()?.data.as_ref());
            let has = data.is_none_or(|serial| guest.live.disks.contains_key(serial));
            found.unless(has, 2, || {
                format!("{} runs on {} without its volume", volume.service, guest.name)
            });
        }
        found.unless(runs.len() < 2, 2, || {
            format!("{} runs on {}", volume.service, runs.join(" and "))
        });
    }
}

/// Invariant 2, for a service whose copies may not overlap.
fn never_two_copies(world: &SimWorld, table: &SimTable, row: &ServiceRecord, found: &mut Found) {
    let overlap = table.bundles.get(&row.bundle).is_none_or(|b| b.manifest.overlap);
    if overlap {
        return;
    }
    let serving = world.guests.values().filter(|guest| guest.serves(&row.id));
    let runs: Vec<&str> = serving
        .filter(|guest| guest.touched.is_empty() && guest.booted_with.is_empty())
        .map(|guest| guest.name.as_str())
        .collect();
    found.unless(runs.len() < 2, 2, || {
        format!("{} may not overlap, and runs on {}", row.id, runs.join(" and "))
    });
}

/// Invariants 2 and 3: a standby that no handover and no duty has to do with has no disk, and runs nothing.
fn standbys_run_nothing(world: &SimWorld, table: &SimTable, found: &mut Found) {
    for (service, id) in table.standbys.keys() {
        let Some(guest) = world.guests.get(id) else {
            continue;
        };
        let key = (service.clone(), *id);
        let concerned = table.duties.contains_key(&key)
            || table.unfinished().iter().any(|open| open.service == *service)
            || table
                .services
                .get(service)
                .is_some_and(|row| row.frozen.is_some());
        if concerned || !guest.touched.is_empty() {
            continue;
        }
        found.unless(!guest.serves(service), 2, || {
            format!("{} is a standby of {service}, and runs it", guest.name)
        });
        let serials = serials_of(table, service);
        let has = guest.live.disks.keys().any(|serial| serials.contains(serial));
        found.unless(!has, 3, || {
            format!("{} is a standby of {service}, and has its disk", guest.name)
        });
    }
}

/// Invariant 4.
fn stopped_stays_stopped(world: &SimWorld, table: &SimTable, row: &ServiceRecord, found: &mut Found) {
    let starting = table
        .latest(&row.id)
        .is_some_and(|(h, open)| (open || row.frozen.is_some()) && matches!(h.kind, Kind::Start));
    if row.wanted != LifeState::Stopped || starting {
        return;
    }
    for (guest_id, guest) in &world.guests {
        // An old copy that drained is being retired, or a move onto it is about to stop it.
        let owed = table.duties.contains_key(&(row.id.clone(), *guest_id))
            || table
                .latest(&row.id)
                .is_some_and(|(h, open)| (open || row.frozen.is_some()) && is_displacing(h, *guest_id));
        found.unless(!guest.serves(&row.id) || owed, 4, || {
            format!("{} is stopped, and runs on {}", row.id, guest.name)
        });
    }
}

/// Whether a handover has taken a duty on a guest over, and has neither dealt with the copy there nor given the duty back.
fn is_displacing(handover: &Handover, guest: GuestId) -> bool {
    let displaced = &handover.facts.displaced;
    displaced.as_ref().is_some_and(|duty| duty.guest == guest)
        && match handover.state {
            State::At { direction, goal, .. } | State::Stuck { direction, goal } => {
                direction == Direction::Back || matches!(goal, Goal::Reserve | Goal::Observe | Goal::Stage)
            }
            // Its end gives the duty back.
            State::Undone => true,
            State::Done { .. } => false,
        }
}

/// Invariant 5, as far as one moment tells: the volume and what was synced to it, and the bundle.
fn nothing_lost(world: &SimWorld, table: &SimTable, row: &ServiceRecord, found: &mut Found) {
    let removing = table.latest(&row.id).is_some_and(|(h, _)| h.facts.delete_data);
    if let Some(volume) = &row.volume
        && !removing
    {
        let there = world.volumes.get(&volume.path);
        let acknowledged = world.acknowledged.get(&volume.path).copied().unwrap_or(0);
        let whole = there.is_some_and(|v| v.filesystem.is_some() && v.synced >= acknowledged);
        found.unless(whole, 5, || {
            format!("the volume of {} has lost what was synced to it", row.id)
        });
    }
    found.unless(
        world
            .hosts
            .values()
            .any(|host| host.images.contains_key(&row.bundle)),
        5,
        || format!("the bundle of {} is in no pool", row.id),
    );
}

/// Invariant 7: no persistent definition names a volume that another guest has open, unless somebody else put it there.
fn every_guest_boots(world: &SimWorld, found: &mut Found) {
    for (id, guest) in &world.guests {
        let config = guest.configs.get(&guest.host).into_iter();
        // One that was saved comes back with what it had.
        let saved = (guest.power == Power::Asleep).then_some(&guest.live);
        for (serial, disk) in config.chain(saved).flat_map(|definition| &definition.disks) {
            let locked = disk.role == DiskRole::Volume && world.opener(&disk.base, *id).is_some();
            found.unless(!locked || guest.touched.contains(serial), 7, || {
                format!(
                    "{} cannot boot: its definition names {}, which another guest has open",
                    guest.name, disk.base
                )
            });
        }
    }
}

/// Whether nothing of the daemons is under way: no handover open or stuck, no duty owed, nothing still to happen.
pub fn is_at_rest(world: &SimWorld) -> bool {
    world.agenda.is_empty()
        && world.tables.values().all(|table| {
            table.duties.is_empty()
                && standbys_are_kept(table)
                && table.jobs.values().all(|job| job.result.is_some())
                && table.stuck().is_empty()
        })
}

/// Whether every standby is ready, and as its service wants it.
fn standbys_are_kept(table: &SimTable) -> bool {
    table.standbys.values().all(|row| {
        let service = table.services.get(&row.service);
        row.state == StandbyState::Ready && service.is_some_and(|service| row.installed == wanted(service))
    })
}

/// Invariant 3, at rest with every guest up: table, zone, guests and definitions say the same.
pub fn one_truth(world: &SimWorld) -> Vec<Violation> {
    let mut found = Found(always(world));
    let mut names = BTreeSet::new();
    for table in world.tables.values() {
        let ids: BTreeSet<&ServiceId> = table.bundles.values().map(|b| &b.manifest.service).collect();
        for id in ids {
            let row = table.services.get(id);
            if let Some(row) = row {
                at_home(world, table, row, &mut found);
                if let Some(dns) = &row.dns {
                    names.insert(dns.name.clone());
                    let records = world.zone.read(&dns.name);
                    named(&records, row, &mut found);
                    let told = table.bundles.get(&row.bundle).map(|bundle| &bundle.manifest.srv);
                    found.unless(told.is_none_or(|told| *told == records.srv), 3, || {
                        format!("{} has the SRV records {:?}, not {told:?}", dns.name, records.srv)
                    });
                }
            }
            let serials = serials_of(table, id);
            for (guest_id, guest) in world
                .guests
                .iter()
                .filter(|(g, _)| Some(**g) != row.map(|r| r.guest))
            {
                let units = row.is_none_or(|row| !is_standby(table, row, *guest_id, guest));
                no_trace(world, *guest_id, guest, id, &serials, &mut found, units);
            }
        }
    }
    for (name, records) in &world.zone.names {
        // What a deploy leaves whose claim may have been under way; the next deploy takes its place.
        let withdrawn = matches!(verdict::owner_text(records), Some(Ownership::Aborted(_, None)));
        let left = withdrawn && records.addresses.is_empty();
        let late = world.claimed_late.contains(name) && records.addresses.is_empty();
        found.unless(names.contains(name) || left || late, 3, || {
            format!("{name} is in the zone, and no service has it")
        });
    }
    found.0
}

/// Whether a guest has just what a standby that the table calls ready has.
fn is_standby(table: &SimTable, row: &ServiceRecord, id: GuestId, guest: &SimGuest) -> bool {
    let standby = table.standbys.get(&(row.id.clone(), id));
    let (Some(standby), Some(copy)) = (standby, guest.copies.get(&row.id)) else {
        return false;
    };
    let wanted = wanted(row);
    standby.state == StandbyState::Ready
        && standby.installed == wanted
        && copy
            .units
            .as_ref()
            .is_some_and(|units| units.digest == wanted.digest && units.files == wanted.files)
        && copy.linked.is_some() == (wanted.link == Enablement::Enabled)
        && copy.masked == (wanted.link == Enablement::Masked)
}

fn serials_of(table: &SimTable, id: &ServiceId) -> BTreeSet<String> {
    let bundles = table.bundles.values().filter(|b| b.manifest.service == *id);
    let mut serials: BTreeSet<String> = bundles
        .map(|b| DiskSerial::of(id, &b.digest).as_str().to_owned())
        .collect();
    serials.insert(DiskSerial::of_volume(id).as_str().to_owned());
    serials
}

fn named(records: &NameRecords, row: &ServiceRecord, found: &mut Found) {
    let owner = match verdict::owner_text(records) {
        Some(Ownership::Free(owner)) => owner.guest == row.guest && owner.generation == row.generation,
        _ => false,
    };
    if let Some(dns) = &row.dns {
        found.unless(records.ttl == dns.ttl, 3, || {
            format!(
                "{} has a TTL of {} s, not of {} s",
                dns.name, records.ttl, dns.ttl
            )
        });
    }
    found.unless(owner && records.addresses == row.addresses, 3, || {
        format!(
            "the table has {} on {}, the zone says {}",
            row.id,
            row.guest_name,
            verdict::describe(records)
        )
    });
}

fn at_home(world: &SimWorld, table: &SimTable, row: &ServiceRecord, found: &mut Found) {
    let (id, name) = (&row.id, &row.guest_name);
    let Some(guest) = world.guests.get(&row.guest) else {
        return;
    };
    let bundle = DiskSerial::of(id, &row.bundle).as_str().to_owned();
    let volume = DiskSerial::of_volume(id).as_str().to_owned();
    let config = guest.configs.get(&guest.host).cloned().unwrap_or_default();
    let mut wanted = vec![&bundle];
    wanted.extend(row.volume.as_ref().map(|_| &volume));
    for serial in &wanted {
        let by_hand = guest.touched.contains(*serial);
        found.unless(guest.live.disks.contains_key(*serial) || by_hand, 3, || {
            format!("{id} is at home on {name}, and its disk {serial} is not in the live definition")
        });
        found.unless(config.disks.contains_key(*serial) || by_hand, 3, || {
            format!("{id} is at home on {name}, and its disk {serial} is not in the persistent definition")
        });
    }
    for serial in serials_of(table, id)
        .iter()
        .filter(|serial| !wanted.contains(serial))
    {
        let left = guest.live.disks.contains_key(serial) || config.disks.contains_key(serial);
        found.unless(!left || guest.touched.contains(serial), 3, || {
            format!("the disk {serial} of another bundle of {id} is left on {name}")
        });
    }
    let copy = guest.copies.get(id).cloned().unwrap_or_default();
    let installed = copy
        .units
        .as_ref()
        .is_some_and(|units| units.digest == row.bundle);
    found.unless(installed, 3, || format!("{id} is not installed on {name}"));
    let wants = row.wanted.wants_running();
    let linked = wants && row.enablement == Enablement::Enabled;
    found.unless(copy.linked.is_some() == linked, 3, || {
        format!(
            "{id} on {name}: wants link {:?}, wanted {}",
            copy.linked, row.wanted
        )
    });
    found.unless(copy.masked == (row.enablement == Enablement::Masked), 3, || {
        format!(
            "{id} on {name}: masked is {}, enablement {}",
            copy.masked,
            row.enablement.as_str()
        )
    });
    let excused = copy.down_since_boot || copy.failed || !guest.touched.is_empty();
    let runs = guest.serves(id);
    found.unless(!runs || copy.mounted.as_ref() == Some(&bundle), 3, || {
        format!("{id} runs on {name} from another bundle than the table's")
    });
    found.unless(runs == wants || (!runs && excused), 3, || {
        format!("{id} on {name}: running is {runs}, wanted {}", row.wanted)
    });
}

fn no_trace(
    world: &SimWorld,
    id: GuestId,
    guest: &SimGuest,
    service: &ServiceId,
    serials: &BTreeSet<String>,
    found: &mut Found,
    units: bool,
) {
    let name = &guest.name;
    found.unless(!guest.serves(service), 3, || {
        format!("a copy of {service} runs on {name} ({id})")
    });
    for serial in serials {
        let by_hand = guest.touched.contains(serial);
        let live = guest.live.disks.contains_key(serial);
        let config = guest
            .configs
            .values()
            .any(|config| config.disks.contains_key(serial));
        found.unless((!live && !config) || by_hand, 3, || {
            let half = if live { "live" } else { "persistent" };
            format!("the disk {serial} of {service} is left in the {half} definition of {name}")
        });
    }
    for path in world.grants.keys() {
        let theirs = Grant::named_by(path).is_some_and(|g| g.guest == id && g.service == *service);
        found.unless(!theirs || world.needs_file(id, path), 3, || {
            format!("the file {path} of a grant of {service} is left")
        });
    }
    let copy = guest.copies.get(service);
    let left = units && copy.is_some_and(|c| c.units.is_some() || c.linked.is_some() || c.masked);
    found.unless(!left, 3, || format!("units of {service} are left on {name}"));
}
