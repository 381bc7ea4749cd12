//! The data volume's part of a script: its values, and the functions that know of it.

use super::script::{Root, Unrenderable, path, set};
use crate::model::placement::Placement;

const DATA: &str = include_str!("scripts/data.sh");
const NO_DATA: &str = include_str!("scripts/no_data.sh");

/// Appends the values of the data volume; empty ones for a service without.
pub(super) fn values(out: &mut String, root: &Root, placement: &Placement) -> Result<(), Unrenderable> {
    let Some(data) = &placement.data else {
        set(out, "data_point", "");
        set(out, "data_unit", "");
        out.push_str("data_device=$device\n");
        return Ok(());
    };
    set(out, "data_point", path("data mount point", &data.mount_point)?);
    set(out, "data_unit", &data.mount_unit);
    set(out, "data_type", data.filesystem.as_str());
    let device = format!("{}{}", root.prefix, data.serial.device_path());
    set(out, "data_device", &device);
    // In the list of units, for its state.
    set(out, "also", &format!("{}\n", data.mount_unit));
    Ok(())
}

/// The functions that every script has, whether its service has a data volume or not.
pub(super) fn functions(placement: &Placement) -> &'static str {
    if placement.data.is_some() { DATA } else { NO_DATA }
}

/// What a guest needs for a data volume beyond what every guest needs, one program a line.
pub(super) fn tools(placement: &Placement) -> String {
    placement
        .data
        .as_ref()
        .map(|data| format!("blkid\nmount\nmkfs.{}", data.filesystem.as_str()))
        .unwrap_or_default()
}
