//! The data volume of a service: made at a deploy, given to the target alone, found again after every fault.

use super::goals::{Goal, Kind};
use super::protocol::Rule;
use super::record::{Place, Reason};
use super::run::Run;
use super::verdict::{self, Seen};
use super::world::StepError;
use crate::model::disk::DiskRole;
use crate::model::guest::CopyState;
use crate::model::volume::PlacedData;
use crate::ports::{GuestStep, Half};

type Act = Result<(), StepError>;
type Look = Result<Seen, StepError>;

impl Run<'_> {
    /// Whether the target has the volume in both definitions, and a new one its file system.
    pub(super) async fn look_adopted(&mut self) -> Look {
        let (place, placement) = self.target_copy();
        let Some(data) = &placement.data else {
            return Ok(Seen::Holds);
        };
        if self.volume_path().is_err() {
            return Ok(Seen::missing("the volume is not made yet"));
        }
        let path = self.volume_path()?;
        let domain = self.inspect(&place).await?;
        if !domain.summary.is_running() {
            return Ok(Seen::Never(Reason::new(
                "Unsuitable",
                format!(
                    "guest {} is not running any more ({})",
                    place.guest_name,
                    domain.summary.state.as_str()
                ),
            )));
        }
        if let Some(other) = verdict::other_source(&domain, &data.serial, &path) {
            return Ok(Seen::Never(Reason::new(
                "VolumeChanged",
                format!(
                    "{} has {other} where the data volume {path} is to be; it is not touched",
                    place.guest_name
                ),
            )));
        }
        if verdict::disk_halves(&domain, &data.serial) != (true, true) {
            return Ok(Seen::missing(format!(
                "{} lacks the data volume",
                place.guest_name
            )));
        }
        if self.handover.kind != Kind::Deploy {
            return Ok(Seen::Holds);
        }
        let copy = self.copy(&place, &placement).await?;
        Ok(
            match copy.data.as_ref().and_then(|data| data.filesystem.clone()) {
                Some(found) if found == data.filesystem.as_str() => Seen::Holds,
                Some(found) => Seen::Never(other_filesystem(&path, &found, data)),
                None if self.handover.facts.volume_made => {
                    Seen::missing("the data volume has no file system")
                }
                None if copy.data.is_some_and(|data| data.device) => Seen::Never(without_filesystem(&path)),
                None => Seen::missing(format!("the data volume has not come up in {}", place.guest_name)),
            },
        )
    }

    /// Makes the volume (at a deploy), gives it to the target, and makes its file system.
    pub(super) async fn adopt(&mut self) -> Act {
        let (place, placement) = self.target_copy();
        let Some(data) = placement.data.clone() else {
            return Ok(());
        };
        self.runs_nowhere_else().await?;
        if self.handover.kind == Kind::Deploy {
            self.make_volume(&place).await?;
        }
        let path = self.volume_path()?;
        self.give_disk(Goal::Adopt, &place, DiskRole::Volume, &data.serial, path)
            .await?;
        // One that was there before has somebody's data on it, also where its file system cannot be recognised any more.
        if self.handover.facts.volume_made {
            self.step(Goal::Adopt, &place, &placement, GuestStep::Format)
                .await?;
        }
        Ok(())
    }

    /// `Ok` unless another guest that still owes a copy of the service has it, or is asleep: what it had when it was saved, it
    /// opens and runs again when it wakes, and does not wake while another guest has its volume.
    pub(super) async fn runs_nowhere_else(&self) -> Act {
        let (service, target) = (&self.handover.service, self.handover.target.guest);
        // Without its volume a copy does not run; QEMU's lock keeps that from a second guest which is awake.
        let bundles = match self.handover.facts.volume {
            Some(_) => &[][..],
            None => &self.every_serial,
        };
        for duty in self.world.table.duties().await? {
            if duty.service != *service || duty.guest == target {
                continue;
            }
            let Some(domain) = self.world.hypervisor.inspect(duty.guest).await? else {
                continue;
            };
            let name = &domain.summary.name;
            if domain.summary.managed_save && !domain.is_active() {
                return Err(StepError::Failed(verdict::asleep(name, &domain).text));
            }
            if verdict::any_halves(&domain, bundles.iter()).0 {
                let text = format!("an old copy of {service} on {name} is still to be retired");
                return Err(StepError::Failed(text));
            }
        }
        Ok(())
    }

    async fn make_volume(&mut self, place: &Place) -> Act {
        let Some(volume) = self.handover.facts.volume.clone() else {
            return Ok(());
        };
        let (hypervisor, service) = (&self.world.hypervisor, self.handover.service.clone());
        let there = hypervisor.volume(&volume.host, &service).await?;
        if there.is_none() && !self.handover.facts.volume_made {
            // Before it is there, so that an undo knows that it may go.
            self.handover.facts.volume_made = true;
            self.journal(
                Goal::Adopt,
                format!("makes a data volume of {} bytes on {}", volume.size, volume.host),
            )
            .await?;
        }
        let path = hypervisor
            .make_volume(&volume.host, &service, volume.size)
            .await?;
        if volume.path != path {
            if let Some(volume) = &mut self.handover.facts.volume {
                volume.path.clone_from(&path);
            }
            self.journal(
                Goal::Adopt,
                format!("{} keeps its data in {path}", place.guest_name),
            )
            .await?;
        }
        Ok(())
    }

    /// Whether the volume is taken from the target again; one that this handover made is gone.
    pub(super) async fn look_unadopted(&mut self) -> Look {
        let (place, placement) = self.target_copy();
        let Some(data) = &placement.data else {
            return Ok(Seen::Holds);
        };
        let domain = self.inspect(&place).await?;
        if domain.summary.managed_save && !domain.is_active() {
            // The image may have the volume, and would open it again.
            return Err(StepError::Failed(
                verdict::asleep(&place.guest_name, &domain).text,
            ));
        }
        if verdict::disk_halves(&domain, &data.serial) != (false, false) {
            return Ok(Seen::missing(format!("{} has the data volume", place.guest_name)));
        }
        if self.handover.facts.volume_made
            && let Some(volume) = &self.handover.facts.volume
        {
            let hypervisor = &self.world.hypervisor;
            let left = hypervisor.volume(&volume.host, &self.handover.service).await?;
            return Ok(Seen::holds_if(
                left.is_none(),
                "the new data volume is in the pool",
            ));
        }
        Ok(Seen::Holds)
    }

    /// Takes the volume from the target: config first, then live.
    pub(super) async fn unadopt(&mut self) -> Act {
        let (place, placement) = self.target_copy();
        let Some(data) = &placement.data else {
            return Ok(());
        };
        let hypervisor = &self.world.hypervisor;
        let domain = self.inspect(&place).await?;
        let (live, config) = verdict::disk_halves(&domain, &data.serial);
        if live && self.handover.facts.standby && domain.is_active() {
            // The disks of a standby start it: it is stopped before its volume goes.
            match self.step(Goal::Adopt, &place, &placement, GuestStep::Stop).await {
                Err(StepError::Failed(why)) => {
                    self.wait_for_silence(Goal::Adopt, &place, &why).await?;
                }
                other => other?,
            }
        }
        let config_first = self.keeps(Rule::ConfigFirst);
        if config && config_first {
            hypervisor.take(place.guest, Half::Config, &data.serial).await?;
        }
        if live {
            hypervisor.take(place.guest, Half::Live, &data.serial).await?;
        }
        if config && !config_first {
            hypervisor.take(place.guest, Half::Config, &data.serial).await?;
        }
        if self.handover.facts.volume_made
            && let Some(volume) = &self.handover.facts.volume
        {
            hypervisor
                .delete_volume(&volume.host, &self.handover.service)
                .await?;
        }
        Ok(())
    }

    /// A removal deletes the data only if it was told to.
    pub(super) async fn discard_volume(&mut self) -> Act {
        let Some(volume) = self.handover.facts.volume.clone() else {
            return Ok(());
        };
        if !self.handover.facts.delete_data {
            let text = format!("the data volume {} stays on {}", volume.path, volume.host);
            return self.journal(Goal::Forget, text).await;
        }
        self.journal(Goal::Forget, format!("deletes the data volume {}", volume.path))
            .await?;
        self.let_go_of_volume().await?;
        self.world
            .hypervisor
            .delete_volume(&volume.host, &self.handover.service)
            .await?;
        Ok(())
    }
}

impl Run<'_> {
    /// Takes the volume from the guest of a removed service, where retiring has not come that far.
    async fn let_go_of_volume(&self) -> Act {
        let (place, placement) = self.source_copy()?;
        let (Some(data), Some(domain)) = (&placement.data, self.world.hypervisor.inspect(place.guest).await?)
        else {
            return Ok(());
        };
        if domain.summary.managed_save && !domain.is_active() {
            return Err(StepError::Failed(
                verdict::asleep(&place.guest_name, &domain).text,
            ));
        }
        let (live, config) = verdict::disk_halves(&domain, &data.serial);
        let hypervisor = &self.world.hypervisor;
        if config {
            hypervisor.take(place.guest, Half::Config, &data.serial).await?;
        }
        if live {
            hypervisor.take(place.guest, Half::Live, &data.serial).await?;
        }
        Ok(())
    }
}

/// Why the data volume is not mounted, where systemd tried.
pub(super) fn unmountable(copy: &CopyState) -> Option<String> {
    let data = copy.data.as_ref()?;
    let result = data.failed.as_ref()?;
    let found = match &data.filesystem {
        _ if !data.device => "its disk is not there".to_owned(),
        Some(found) => format!("{found} is on it"),
        None => "no file system is found on it".to_owned(),
    };
    Some(format!(
        "the file system of the data volume does not mount (result {result}; {found}); see its mount unit there, and \
         repair it with fsck from a guest in which it is not mounted"
    ))
}

fn without_filesystem(path: &str) -> Reason {
    Reason::new(
        "VolumeChanged",
        format!(
            "the data volume {path} was there before, and no file system is found on it; it is not formatted: repair it, or \
             delete it (virsh vol-delete {path}) if nothing on it is needed"
        ),
    )
}

fn other_filesystem(path: &str, found: &str, data: &PlacedData) -> Reason {
    Reason::new(
        "VolumeChanged",
        format!(
            "the data volume {path} has a file system {found}, and the manifest says {}; it is not formatted",
            data.filesystem.as_str()
        ),
    )
}
