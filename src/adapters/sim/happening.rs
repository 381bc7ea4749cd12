//! What happens to a simulated world without the daemon's doing: power, hands, networks, and messages that arrive late.

use super::part::Part;
use super::world::{Power, SimDefinition, SimWorld};
use crate::model::disk::DiskRole;
use crate::model::ids::{Attempt, GuestId, HandoverId, HostId};
use crate::model::lifecycle::ShutoffReason;
use crate::model::name::{NameChange, Ownership};
use crate::model::placement::Placement;
use crate::model::service::Millis;
use crate::ports::{GuestStep, Swapped};

/// How long a guest boots.
pub const BOOT: Millis = 8_000;

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Happening {
    /// A guest's QEMU is gone.
    Die(GuestId),
    /// A guest powers off, or is shut down.
    PowerOff(GuestId),
    /// Somebody destroys a guest.
    Destroy(GuestId),
    /// A guest that is off is started from its persistent definition, or from its managed-save image.
    Boot(GuestId),
    /// The boot with this number has come to its end.
    Booted(GuestId, u64),
    /// A guest reboots with its disks as they are.
    WarmReboot(GuestId),
    /// A guest's kernel hangs: nothing in it answers or lets go of a disk, and its QEMU runs.
    Hang(GuestId),
    /// A guest's agent falls silent.
    AgentSilent(GuestId),
    /// A guest's agent answers again.
    AgentSpeaks(GuestId),
    /// The zone's primary does not answer.
    NamesDown,
    /// The zone's primary answers again.
    NamesUp,
    /// One of the zone's other servers, by its index, has what the primary has.
    Transferred(usize),
    /// One of the zone's other servers does not answer.
    SecondaryDown(usize),
    /// It answers again, with what the primary has.
    SecondaryUp(usize),
    /// A host's libvirtd is killed.
    HostDown(HostId),
    /// A host's libvirtd is back.
    HostUp(HostId),
    /// Somebody saves a running guest (`virsh managedsave`).
    Save(GuestId),
    /// Somebody takes an external snapshot of a guest, which moves the source of its volumes.
    Snapshot(GuestId),
    /// Somebody defines a guest anew with the XML that they kept.
    DefineOld(GuestId),
    /// Somebody migrates a guest to another host.
    Migrate(GuestId, HostId),
    /// What runs in a guest stops answering its checks.
    ChecksFail(GuestId),
    /// It answers them again.
    ChecksPass(GuestId),
    /// A message arrives that its sender has given up.
    Arrives(Message),
}

/// A message under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// A DNS UPDATE.
    Update(Part<NameChange>),
    /// A guest script, sent in this boot of the guest.
    Script {
        /// To whom.
        guest: GuestId,
        /// The guest's boot in which it was sent: it dies with it.
        boot: u64,
        /// The copy that it is about.
        placement: Part<Placement>,
        /// The step.
        step: GuestStep,
        /// Its attempt number.
        attempt: Attempt,
    },
}

impl SimWorld {
    /// Does what happens.
    pub fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Die(guest) => self.die(*guest, ShutoffReason::Crashed),
            Happening::PowerOff(guest) => self.die(*guest, ShutoffReason::Shutdown),
            Happening::Destroy(guest) => self.die(*guest, ShutoffReason::Destroyed),
            Happening::Boot(guest) => self.boot(*guest),
            Happening::Booted(guest, boots) => {
                let same = self.guests.get(guest);
                if same.is_some_and(|g| g.power == Power::Booting && g.boots == *boots) {
                    self.boot_ended(*guest);
                }
            }
            Happening::WarmReboot(guest) => {
                if self.guests.get(guest).is_some_and(|g| g.power == Power::Up) {
                    self.kernel_ended(*guest);
                    self.begin_boot(*guest);
                }
            }
            Happening::Hang(guest) => self.hang(*guest),
            Happening::AgentSilent(guest) => self.set_agent(*guest, false),
            Happening::AgentSpeaks(guest) => self.set_agent(*guest, true),
            Happening::ChecksFail(guest) => self.set_health(*guest, false),
            Happening::ChecksPass(guest) => self.set_health(*guest, true),
            Happening::NamesDown => self.zone.answers = false,
            Happening::NamesUp => self.zone.answers = true,
            Happening::Transferred(index) => self.transferred(*index),
            Happening::SecondaryDown(index) => self.set_secondary(*index, false),
            Happening::SecondaryUp(index) => {
                self.set_secondary(*index, true);
                self.transferred(*index);
            }
            Happening::HostDown(host) => self.set_host(host, false),
            Happening::HostUp(host) => self.set_host(host, true),
            Happening::Save(guest) => {
                if let Some(guest) = self.guests.get_mut(guest)
                    && guest.power == Power::Up
                {
                    guest.power = Power::Asleep;
                }
            }
            Happening::Snapshot(guest) => self.snapshot(*guest),
            Happening::DefineOld(guest) => self.define_old(*guest),
            Happening::Migrate(guest, to) => self.migrate(*guest, to),
            Happening::Arrives(message) => self.arrives(message),
        }
    }

    fn set_agent(&mut self, guest: GuestId, speaks: bool) {
        if let Some(guest) = self.guests.get_mut(&guest) {
            guest.agent_speaks = speaks;
        }
    }

    fn set_health(&mut self, guest: GuestId, healthy: bool) {
        if let Some(guest) = self.guests.get_mut(&guest) {
            for copy in guest.copies.values_mut() {
                copy.healthy = healthy;
            }
        }
    }

    fn set_secondary(&mut self, index: usize, answers: bool) {
        if let Some(server) = self.zone.secondaries.get_mut(index) {
            server.answers = answers;
        }
    }

    fn set_host(&mut self, host: &HostId, answers: bool) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.answers = answers;
        }
    }

    fn die(&mut self, id: GuestId, reason: ShutoffReason) {
        self.kernel_ended(id);
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.power = Power::Off;
            guest.off = reason;
            guest.live = SimDefinition::default();
        }
    }

    /// A kernel that hangs is as one whose boot never comes to its end.
    fn hang(&mut self, id: GuestId) {
        if self.guests.get(&id).is_some_and(|guest| guest.power != Power::Up) {
            return;
        }
        self.kernel_ended(id);
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.power = Power::Booting;
            guest.boots = guest.boots.saturating_add(1);
        }
    }

    fn begin_boot(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        guest.power = Power::Booting;
        guest.boots = guest.boots.saturating_add(1);
        let booted = Happening::Booted(id, guest.boots);
        self.schedule(BOOT, booted);
    }

    fn boot(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get(&id) else { return };
        let next = match guest.power {
            Power::Off => self.without_missing(guest.configs.get(&guest.host).cloned().unwrap_or_default()),
            Power::Asleep => guest.live.clone(),
            Power::Booting | Power::Up => return,
        };
        let was_asleep = guest.power == Power::Asleep;
        if self.rules.image_lock && self.locked_out(id, &next).is_some() {
            // QEMU does not start: another guest has the volume.
            return;
        }
        if was_asleep && self.lacks_file(&next) {
            // libvirt refuses to restore memory without one of its disks.
            return;
        }
        if was_asleep {
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.power = Power::Up;
            }
            return;
        }
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.live = next;
            guest.booted_with = guest.touched.clone();
        }
        self.begin_boot(id);
    }

    /// The volume of a definition that another guest has open.
    pub fn locked_out(&self, id: GuestId, definition: &SimDefinition) -> Option<String> {
        let mut volumes = definition.disks.values().filter(|d| d.role == DiskRole::Volume);
        let locked = volumes.find(|disk| self.opener(&disk.base, id).is_some())?;
        Some(locked.base.clone())
    }

    fn snapshot(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id).map(|guest| &mut **guest) else {
            return;
        };
        if !guest.is_active() {
            return;
        }
        let config = guest.configs.get_mut(&guest.host);
        for definition in [Some(&mut guest.live), config].into_iter().flatten() {
            for (serial, disk) in &mut definition.disks {
                if disk.role == DiskRole::Volume {
                    disk.source = format!("{}.snap", disk.base);
                    guest.touched.insert(serial.clone());
                }
            }
        }
    }

    fn define_old(&mut self, id: GuestId) {
        if let Some(guest) = self.guests.get_mut(&id).map(|guest| &mut **guest) {
            let (old, host) = (guest.old_xml.clone(), guest.host.clone());
            let now = guest.configs.insert(host, old).unwrap_or_default();
            let all = now.disks.keys().chain(guest.old_xml.disks.keys());
            let changed = all.filter(|serial| now.disks.get(*serial) != guest.old_xml.disks.get(*serial));
            guest.touched.extend(changed.cloned());
        }
    }

    fn migrate(&mut self, id: GuestId, to: &HostId) {
        let up = [self.guests.get(&id).map(|g| &g.host), Some(to)]
            .into_iter()
            .flatten()
            .all(|host| self.hosts.get(host).is_some_and(|host| host.answers));
        if let Some(guest) = self.guests.get_mut(&id)
            && guest.power == Power::Up
            && up
        {
            // `--persistent --undefinesource`: libvirt defines it there by what runs.
            guest.host = to.clone();
            guest.configs = [(to.clone(), guest.live.clone())].into();
        }
    }

    /// Whether a change only claims a name that nobody had, and whose service has been removed by now: nothing is left that
    /// would tell the server that the claim is late.
    fn claims_what_was_removed(&self, change: &NameChange) -> bool {
        let first = change.expect_ownership.is_none() && change.addresses.is_none();
        let mut rows = self.tables.values().flat_map(|table| table.services.values());
        first && !rows.any(|row| row.dns.as_ref().is_some_and(|dns| dns.name == change.name))
    }

    fn arrives(&mut self, message: &Message) {
        match message {
            Message::Update(change) => {
                let ended = author(change).is_some_and(|id| self.has_ended(id));
                let done = self.zone.answers && self.update(change) == Swapped::Yes;
                if ended && done && self.claims_what_was_removed(change) {
                    self.claimed_late.insert(change.name.clone());
                } else if ended && done {
                    self.late_effects.push(format!(
                        "a late UPDATE of {} (to {}) was applied after its handover had ended",
                        change.name,
                        change
                            .ownership
                            .as_ref()
                            .map(ToString::to_string)
                            .unwrap_or_default()
                    ));
                }
            }
            Message::Script {
                guest,
                boot,
                placement,
                step,
                attempt,
            } => {
                let alive = self
                    .guests
                    .get(guest)
                    .is_some_and(|g| g.boots == *boot && g.agent_speaks);
                if alive {
                    // Refused or not, nobody waits for the answer.
                    drop(self.step(*guest, placement, *step, *attempt));
                }
            }
        }
    }

    fn has_ended(&self, id: HandoverId) -> bool {
        self.tables.values().any(|table| {
            table.handovers.values().any(|row| {
                let job = table.jobs.get(&row.handover.job);
                row.handover.id == id
                    && job.is_some_and(|job| job.result.as_deref().is_some_and(|r| r != "stuck"))
            })
        })
    }
}

/// The handover that sent an UPDATE, where its text tells.
fn author(change: &NameChange) -> Option<HandoverId> {
    [&change.ownership, &change.expect_ownership]
        .into_iter()
        .flatten()
        .find_map(|text| match text {
            Ownership::Claimed(id, _) | Ownership::Aborted(id, _) => Some(*id),
            Ownership::Free(_) => None,
        })
}
