//! Where on a guest a bundle disk goes: the same controller, unit and target name in both definitions.

use std::collections::BTreeSet;

use crate::model::disk::{DiskRole, DiskSerial, GuestDisk, ScsiAddress};
use crate::model::guest::{Definition, DomainDisk, GuestDomain};
use crate::model::obstacle::Obstacle;

/// The highest unit (LUN) of a virtio-scsi controller that libvirt accepts.
const MAX_UNIT: u32 = 16383;

/// Where a disk is to be given, and which controllers must be added for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSlot {
    /// The address, unused in both definitions.
    pub address: ScsiAddress,
    /// Target name such as `sdb`, after all others.
    pub target: String,
    /// The live definition lacks the controller.
    pub add_live_controller: bool,
    /// The persistent definition lacks the controller.
    pub add_config_controller: bool,
}

impl DiskSlot {
    /// The disk that sits there.
    pub fn disk(&self, role: DiskRole, serial: DiskSerial, source: String) -> GuestDisk {
        GuestDisk {
            role,
            serial,
            source,
            target: self.target.clone(),
            address: self.address,
        }
    }
}

/// Chooses the slot for a disk with this serial: where it already is in one of the definitions, else the lowest
/// unit that is free in both on the first virtio-scsi controller, else a controller of its own.
///
/// # Errors
/// [`Obstacle::NoScsiSlot`] when a controller would have to be hot-plugged and no PCIe port is free,
/// [`Obstacle::Transient`] without a persistent definition.
pub fn choose(domain: &GuestDomain, serial: &DiskSerial) -> Result<DiskSlot, Obstacle> {
    let config = domain.config.as_ref().ok_or(Obstacle::Transient)?;
    let live = domain.live.as_ref();
    let both: Vec<&Definition> = live.into_iter().chain([config]).collect();

    if let Some((disk, address)) = both
        .iter()
        .find_map(|d| d.disk(serial))
        .and_then(|disk| Some((disk, disk.scsi?)))
    {
        return Ok(DiskSlot {
            address,
            target: disk.target.clone(),
            add_live_controller: live.is_some_and(|d| !has_controller(d, address.controller)),
            add_config_controller: !has_controller(config, address.controller),
        });
    }

    let controller = controller_index(&both);
    let add_live_controller = live.is_some_and(|d| !has_controller(d, controller));
    if add_live_controller && live.is_some_and(|d| d.free_pcie_ports == 0) {
        return Err(Obstacle::NoScsiSlot);
    }
    let disks = || both.iter().flat_map(|d| d.disks.iter());
    let used: BTreeSet<u32> = disks()
        .filter_map(|d| d.scsi)
        .filter(|a| a.controller == controller)
        .map(|a| a.unit)
        .collect();
    let unit = (0..=MAX_UNIT)
        .find(|unit| !used.contains(unit))
        .ok_or(Obstacle::NoScsiSlot)?;
    Ok(DiskSlot {
        address: ScsiAddress { controller, unit },
        target: next_target(disks()),
        add_live_controller,
        add_config_controller: !has_controller(config, controller),
    })
}

fn has_controller(definition: &Definition, index: u32) -> bool {
    definition
        .scsi_controllers
        .iter()
        .any(|c| c.index == index && c.model == "virtio-scsi")
}

/// The first index that is virtio-scsi wherever it is defined, else the first that is defined nowhere.
fn controller_index(definitions: &[&Definition]) -> u32 {
    let all = || definitions.iter().flat_map(|d| d.scsi_controllers.iter());
    let indices: BTreeSet<u32> = all().map(|c| c.index).collect();
    let virtio = |index: &u32| {
        all()
            .filter(|c| c.index == *index)
            .all(|c| c.model == "virtio-scsi")
    };
    // Prefer one that both definitions have, so that nothing must be plugged.
    let everywhere = indices
        .iter()
        .copied()
        .find(|i| definitions.iter().all(|d| has_controller(d, *i)));
    everywhere
        .or_else(|| indices.iter().copied().find(virtio))
        .unwrap_or_else(|| (0..=u32::MAX).find(|i| !indices.contains(i)).unwrap_or(u32::MAX))
}

/// The `sd…` name after the last one in use (`sda`…`sdz`, `sdaa`…).
fn next_target<'a>(disks: impl Iterator<Item = &'a DomainDisk>) -> String {
    let last = disks
        .filter_map(|d| letters_to_number(d.target.strip_prefix("sd")?))
        .max();
    format!("sd{}", number_to_letters(last.map_or(0, |n| n + 1)))
}

fn letters_to_number(letters: &str) -> Option<u32> {
    if letters.is_empty() || letters.len() > 4 {
        return None;
    }
    let mut number = 0_u32;
    for byte in letters.bytes() {
        if !byte.is_ascii_lowercase() {
            return None;
        }
        number = number * 26 + u32::from(byte - b'a') + 1;
    }
    number.checked_sub(1)
}

fn number_to_letters(number: u32) -> String {
    let mut rest = number + 1;
    let mut letters = Vec::new();
    while rest > 0 {
        let digit = u8::try_from((rest - 1) % 26).unwrap_or(0);
        letters.push(char::from(b'a' + digit));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::guest::{DomainState, GuestSummary, ScsiController};

    fn disk(target: &str, scsi: Option<(u32, u32)>) -> DomainDisk {
        DomainDisk {
            target: target.into(),
            bus: if scsi.is_some() { "scsi" } else { "virtio" }.into(),
            serial: None,
            source: None,
            scsi: scsi.map(|(controller, unit)| ScsiAddress { controller, unit }),
        }
    }

    fn definition(disks: Vec<DomainDisk>, controllers: &[(u32, &str)], free: u32) -> Definition {
        Definition {
            disks,
            scsi_controllers: controllers
                .iter()
                .map(|(index, model)| ScsiController {
                    index: *index,
                    model: (*model).into(),
                })
                .collect(),
            machine: "pc-q35-7.2".into(),
            free_pcie_ports: free,
        }
    }

    fn domain(live: Option<Definition>, config: Option<Definition>) -> GuestDomain {
        GuestDomain {
            summary: GuestSummary {
                id: "6f1d5a2e-0000-4000-8000-000000000001".parse().unwrap(),
                name: "g1".into(),
                host: "hv1".parse().unwrap(),
                state: DomainState::Running,
                agent_connected: true,
                persistent: config.is_some(),
                managed_save: false,
                controller: None,
                labels: Vec::new(),
            },
            live,
            config,
        }
    }

    fn serial() -> DiskSerial {
        DiskSerial::of(&"web".parse().unwrap(), &"0".repeat(64).parse().unwrap())
    }

    #[test]
    fn the_lowest_unit_that_is_free_in_both_definitions_is_taken() {
        let live = definition(
            vec![disk("vda", None), disk("sda", Some((0, 0)))],
            &[(0, "virtio-scsi")],
            0,
        );
        let config = definition(
            vec![disk("vda", None), disk("sdc", Some((0, 1)))],
            &[(0, "virtio-scsi")],
            0,
        );
        let slot = choose(&domain(Some(live), Some(config)), &serial()).unwrap();
        assert_eq!(
            slot.address,
            ScsiAddress {
                controller: 0,
                unit: 2
            }
        );
        assert_eq!(slot.target, "sdd");
        assert!(!slot.add_live_controller && !slot.add_config_controller);
    }

    #[test]
    fn a_disk_that_one_definition_has_goes_to_the_same_place_in_the_other() {
        let mut mine = disk("sdb", Some((0, 5)));
        mine.serial = Some(serial().as_str().into());
        let live = definition(vec![mine], &[(0, "virtio-scsi")], 0);
        let config = definition(vec![], &[(0, "virtio-scsi")], 0);
        let slot = choose(&domain(Some(live), Some(config)), &serial()).unwrap();
        assert_eq!((slot.address.unit, slot.target.as_str()), (5, "sdb"));
    }

    #[test]
    fn a_controller_of_another_model_is_not_used() {
        let d = || definition(vec![], &[(0, "lsilogic")], 1);
        let slot = choose(&domain(Some(d()), Some(d())), &serial()).unwrap();
        assert_eq!(
            slot.address,
            ScsiAddress {
                controller: 1,
                unit: 0
            }
        );
        assert!(slot.add_live_controller && slot.add_config_controller);
    }

    #[test]
    fn without_a_controller_and_without_a_free_port_there_is_no_slot() {
        let d = || definition(vec![], &[], 0);
        assert_eq!(
            choose(&domain(Some(d()), Some(d())), &serial()),
            Err(Obstacle::NoScsiSlot)
        );
        // A guest that is off gets the controller at its next boot.
        assert!(choose(&domain(None, Some(d())), &serial()).is_ok());
    }

    #[test]
    fn a_transient_domain_has_no_slot() {
        let live = definition(vec![], &[(0, "virtio-scsi")], 1);
        assert_eq!(
            choose(&domain(Some(live), None), &serial()),
            Err(Obstacle::Transient)
        );
    }

    #[test]
    fn target_names_go_on_after_sdz() {
        for (number, letters) in [
            (0, "a"),
            (25, "z"),
            (26, "aa"),
            (51, "az"),
            (52, "ba"),
            (701, "zz"),
            (702, "aaa"),
        ] {
            assert_eq!(number_to_letters(number), letters);
            assert_eq!(letters_to_number(letters), Some(number));
        }
    }
}
