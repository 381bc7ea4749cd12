//! The inside of a simulated guest: systemd's rules (design section 3), and what each guest step does there.

use super::world::{Power, SimCopy, SimDefinition, SimGuest, SimUnits, SimWorld};
use crate::model::guest::{CopyState, DataState, UnitState};
use crate::model::ids::{Attempt, GuestId, ServiceId};
use crate::model::life::Enablement;
use crate::model::placement::Placement;
use crate::model::service::Millis;
use crate::ports::{GuestStep, PortError};

/// How long systemd waits for a device that a starting unit needs (DefaultDeviceTimeoutSec).
const DEVICE_TIMEOUT: Millis = 90_000;

impl SimCopy {
    /// Whether systemd would have the units up, given these disks.
    fn can_run(&self, live: &SimDefinition, bound_to_data: bool) -> bool {
        let Some(units) = &self.units else { return false };
        let has = |serial: &String| live.disks.contains_key(serial);
        let data = units.data.as_ref().is_none_or(has) || !bound_to_data;
        !self.masked && has(&units.serial) && data
    }

    fn start(&mut self, live: &SimDefinition, bound_to_data: bool) -> bool {
        let started = !self.running && self.can_run(live, bound_to_data);
        if started {
            self.running = true;
            self.failed = false;
            self.waits_until = None;
            self.down_since_boot = false;
            self.was_up = true;
            self.mounted = self.units.as_ref().map(|units| units.serial.clone());
            let data = self.units.as_ref().and_then(|units| units.data.as_ref());
            self.data_mounted = data.is_some_and(|serial| live.disks.contains_key(serial));
        }
        started
    }

    fn stop(&mut self) {
        self.running = false;
        self.mounted = None;
        self.data_mounted = false;
        self.waits_until = None;
    }

    fn state_of(&self, units: &SimUnits) -> &'static str {
        let ours = self.units.as_ref().is_some_and(|own| own.names == units.names);
        match (self.running && ours, self.failed && ours) {
            (true, _) => "active",
            (false, true) => "failed",
            (false, false) => "inactive",
        }
    }
}

impl SimWorld {
    /// systemd after a disk came or went: what is bound to a disk that is gone stops.
    pub fn disks_changed(&mut self, id: GuestId, arrived: Option<&str>) {
        let (now, bound) = (self.now, self.rules.bound_to_data);
        let Some(guest) = self.guests.get_mut(&id).map(|guest| &mut **guest) else {
            return;
        };
        if guest.power != Power::Up {
            return;
        }
        let mut started = Vec::new();
        for (service, copy) in &mut guest.copies {
            let has = |serial: &String| guest.live.disks.contains_key(serial);
            let data = copy.units.as_ref().and_then(|units| units.data.clone());
            if copy.mounted.as_ref().is_some_and(|serial| !has(serial)) {
                copy.stop();
            }
            if copy.data_mounted && data.as_ref().is_some_and(|serial| !has(serial)) {
                copy.data_mounted = false;
                if bound {
                    copy.stop();
                }
            }
            let waits = copy.waits_until.is_some_and(|until| until > now);
            if arrived.is_some() && copy.linked.as_deref() == arrived {
                if copy.start(&guest.live, bound) {
                    started.push(service.clone());
                } else if !copy.running && !copy.masked && copy.units.is_some() {
                    copy.waits_until = Some(now.saturating_add(DEVICE_TIMEOUT));
                }
            } else if waits && data.as_deref() == arrived && copy.start(&guest.live, bound) {
                started.push(service.clone());
            }
        }
        self.wrote(id, &started);
    }

    /// systemd at the end of a boot, or of a reboot: what the disks want starts.
    pub fn boot_ended(&mut self, id: GuestId) {
        let (now, bound) = (self.now, self.rules.bound_to_data);
        let Some(guest) = self.guests.get_mut(&id).map(|guest| &mut **guest) else {
            return;
        };
        guest.power = Power::Up;
        let mut started = Vec::new();
        for (service, copy) in &mut guest.copies {
            let was_there = copy.units.is_some();
            let linked = copy.linked.clone();
            let wanted = linked.is_some_and(|serial| guest.live.disks.contains_key(&serial));
            if wanted && copy.start(&guest.live, bound) {
                started.push(service.clone());
            } else {
                copy.down_since_boot = was_there && !wanted;
                copy.waits_until = wanted.then(|| now.saturating_add(DEVICE_TIMEOUT));
            }
        }
        self.wrote(id, &started);
    }

    /// What is lost with the kernel: processes, mounts, `/run`.
    pub fn kernel_ended(&mut self, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id).map(|guest| &mut **guest) else {
            return;
        };
        for copy in guest.copies.values_mut() {
            copy.stop();
            copy.failed = false;
            copy.was_up = false;
            copy.attempt = Attempt(0);
        }
    }

    /// A service that starts writes to its volume, and the write is synced.
    fn wrote(&mut self, id: GuestId, started: &[ServiceId]) {
        let Some(guest) = self.guests.get(&id) else { return };
        for service in started {
            let data = guest
                .copies
                .get(service)
                .filter(|copy| copy.data_mounted)
                .and_then(|copy| copy.units.as_ref()?.data.as_ref());
            if let Some(disk) = data.and_then(|serial| guest.live.disks.get(serial))
                && let Some(volume) = self.volumes.get_mut(&disk.base)
            {
                volume.synced = volume.synced.saturating_add(1);
                self.acknowledged.insert(disk.base.clone(), volume.synced);
            }
        }
    }

    /// A fresh look at a copy, as the script that ends every step takes it.
    pub fn copy_state(&self, id: GuestId, placement: &Placement) -> CopyState {
        let Some(guest) = self.guests.get(&id) else {
            return CopyState::default();
        };
        let nothing = SimCopy::default();
        let copy = guest.copies.get(&placement.service).unwrap_or(&nothing);
        let wanted = SimUnits::of(placement);
        let active = copy.state_of(&wanted);
        let installed = copy.units.as_ref().is_some_and(|own| own.digest == wanted.digest);
        let linked = copy.linked.as_ref() == Some(&wanted.serial) && !placement.links.is_empty();
        let on_live = |serial: &String| guest.live.disks.contains_key(serial);
        CopyState {
            units: wanted
                .names
                .iter()
                .map(|unit| UnitState {
                    unit: unit.clone(),
                    load: if copy.units.is_some() {
                        "loaded"
                    } else {
                        "not-found"
                    }
                    .to_owned(),
                    active: active.to_owned(),
                    sub: if active == "active" { "running" } else { "dead" }.to_owned(),
                    result: if active == "failed" {
                        "exit-code"
                    } else {
                        "success"
                    }
                    .to_owned(),
                })
                .collect(),
            device: on_live(&wanted.serial),
            mounted: copy.mounted.as_ref() == Some(&wanted.serial),
            installed,
            present: self.traces(guest, placement),
            links: if linked {
                u32::try_from(placement.links.len()).unwrap_or(u32::MAX)
            } else {
                0
            },
            enablement: match (copy.masked, linked) {
                (true, _) => Enablement::Masked,
                (false, true) => Enablement::Enabled,
                (false, false) => Enablement::Disabled,
            },
            was_up: copy.was_up,
            system: String::new(),
            files_differ: copy.units.as_ref().is_none_or(|own| own.files != wanted.files),
            uid: placement.user.as_ref().map(|_| 1000),
            data: wanted.data.as_ref().map(|serial| {
                let disk = guest.live.disks.get(serial);
                let volume = disk.and_then(|disk| self.volumes.get(&disk.base));
                DataState {
                    device: disk.is_some(),
                    mounted: copy.data_mounted,
                    filesystem: volume
                        .and_then(|volume| volume.filesystem)
                        .map(|found| found.as_str().to_owned()),
                    failed: None,
                }
            }),
        }
    }

    fn traces(&self, guest: &SimGuest, placement: &Placement) -> Vec<String> {
        let copy = guest.copies.get(&placement.service);
        match copy.is_some_and(|copy| copy.units.is_some()) {
            true => placement
                .unit_files
                .iter()
                .map(|file| file.path.clone())
                .collect(),
            false => Vec::new(),
        }
    }

    /// Runs a step under the guest's attempt rule, and tells what the look at its end sees.
    ///
    /// # Errors
    /// A higher attempt was seen here (`Refused`), or the guest is not up (`Unavailable`).
    pub fn step(
        &mut self,
        id: GuestId,
        placement: &Placement,
        step: GuestStep,
        attempt: Attempt,
    ) -> Result<CopyState, PortError> {
        let (attempts, bound) = (self.rules.attempts, self.rules.bound_to_data);
        let guest = self
            .guests
            .get_mut(&id)
            .filter(|guest| guest.power == Power::Up)
            .map(|guest| &mut **guest)
            .ok_or_else(|| PortError::unavailable(format!("the agent of {id} does not answer")))?;
        let copy = guest.copies.entry(placement.service.clone()).or_default();
        if attempts && attempt < copy.attempt {
            return Err(PortError::refused(format!(
                "{}: attempt {} is older than {}, which {} has seen",
                placement.service, attempt.0, copy.attempt.0, guest.name
            )));
        }
        copy.attempt = copy.attempt.max(attempt);
        let link = |copy: &mut SimCopy, enablement: Enablement| {
            copy.linked = (enablement == Enablement::Enabled && copy.units.is_some())
                .then(|| placement.serial.as_str().to_owned());
        };
        let mut started = false;
        match step {
            GuestStep::Install => {
                copy.units = Some(SimUnits::of(placement));
                copy.linked = None;
                copy.healthy = true;
            }
            GuestStep::Link(enablement) => {
                link(copy, enablement);
                copy.masked = enablement == Enablement::Masked && copy.units.is_some();
            }
            GuestStep::Start(enablement) => {
                copy.masked = false;
                link(copy, enablement);
                started = copy.start(&guest.live, bound);
            }
            GuestStep::Stop => {
                copy.linked = None;
                copy.stop();
            }
            GuestStep::Pause => copy.stop(),
            GuestStep::Supersede => {}
            GuestStep::Format => {
                let data = placement.data.as_ref();
                let disk = data.and_then(|data| guest.live.disks.get(data.serial.as_str()));
                if let (Some(disk), Some(data)) = (disk, data)
                    && let Some(volume) = self.volumes.get_mut(&disk.base)
                    && volume.filesystem.is_none()
                {
                    volume.filesystem = Some(data.filesystem);
                }
            }
            GuestStep::Uninstall => {
                copy.stop();
                *copy = SimCopy {
                    attempt: copy.attempt,
                    ..SimCopy::default()
                };
            }
        }
        if started {
            self.wrote(id, std::slice::from_ref(&placement.service));
        }
        Ok(self.copy_state(id, placement))
    }
}
