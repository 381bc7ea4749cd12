//! Domain XML, read and written: pure, no libvirt call in here.
//!
//! What is read follows libvirt's "Domain XML format" (formatdomain). libvirt fills in controllers, PCI addresses
//! and machine types when a domain is defined, so what it returns is complete; nothing is guessed.

use std::collections::BTreeSet;

use roxmltree::{Document, Node};

use crate::model::disk::{DiskRole, DiskSerial, GuestDisk, ScsiAddress};
use crate::model::grant::Grant;
use crate::model::guest::{Definition, DomainDisk, ScsiController};
use crate::model::needs::Label;

/// The name of the virtio-serial port behind which qemu-guest-agent listens.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";

/// The namespace of our element in a domain's `<metadata>`.
pub const METADATA_URI: &str = "urn:handoverd:domain:1";

/// The namespace of an operator's element with the domain's labels. Its own, for libvirt keeps one element for each
/// namespace, and ours is written by the daemon.
const LABELS_URI: &str = "urn:handoverd:labels:1";

/// Slots of an i440fx machine's only PCI bus that are taken as usable at most. The bus has 32; slots 0 and 1 belong
/// to the chipset, and two more are left alone for a video card and what libvirt adds by itself.
const I440FX_SLOTS: u32 = 28;

/// Why a domain XML cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDomainXml {
    /// It is not XML.
    #[error("it is not well-formed XML: {0}")]
    NotXml(String),
    /// An element or attribute that libvirt always writes is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
}

/// What one domain XML says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainXml {
    /// Whether it describes a running machine: libvirt gives `<domain id=…>` only then. This, not a question asked a
    /// moment before, tells whether a text is the live or the persistent definition.
    pub active: bool,
    /// Disks, controllers, machine, free ports.
    pub definition: Definition,
    /// Whether libvirt holds a channel to the agent; always `false` in a persistent definition.
    pub agent_connected: bool,
    /// The daemon that controls the domain, as its metadata says.
    pub controller: Option<String>,
    /// The labels in its metadata; what is no label is left out.
    pub labels: Vec<Label>,
}

/// A disk as it can be named to libvirt when it is to be detached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskHandle {
    /// `<alias name>`: always there in a live definition, in a persistent one only if it was set by a user (`ua-…`).
    pub alias: Option<String>,
    /// The whole `<disk>` element, as libvirt wrote it.
    pub xml: String,
}

/// Reads a domain XML as libvirt gives it.
pub fn parse(xml: &str) -> Result<DomainXml, BadDomainXml> {
    let document = document(xml)?;
    let domain = domain(&document)?;
    let devices = child(domain, "devices").ok_or(BadDomainXml::Missing("<devices>"))?;
    let machine = child(domain, "os")
        .and_then(|os| child(os, "type"))
        .and_then(|os_type| os_type.attribute("machine"))
        .unwrap_or_default();
    Ok(DomainXml {
        active: domain.has_attribute("id"),
        definition: Definition {
            disks: children(devices, "disk").map(disk).collect(),
            scsi_controllers: children(devices, "controller")
                .filter(|node| node.attribute("type") == Some("scsi"))
                .filter_map(scsi_controller)
                .collect(),
            machine: machine.to_owned(),
            free_pcie_ports: free_ports(devices),
        },
        labels: metadata(domain, LABELS_URI, "labels")
            .and_then(|node| node.text())
            .into_iter()
            .flat_map(str::split_whitespace)
            .filter_map(|word| word.parse().ok())
            .collect(),
        controller: metadata(domain, METADATA_URI, "controller")
            .and_then(|node| node.attribute("host"))
            .map(str::to_owned),
        agent_connected: children(devices, "channel")
            .filter_map(|channel| child(channel, "target"))
            .any(|target| {
                target.attribute("name") == Some(AGENT_PORT) && target.attribute("state") == Some("connected")
            }),
    })
}

/// Finds the disk with this serial, so that it can be detached; `None` if the definition has none.
pub fn find_disk(xml: &str, serial: &DiskSerial) -> Result<Option<DiskHandle>, BadDomainXml> {
    let document = document(xml)?;
    let devices = child(domain(&document)?, "devices").ok_or(BadDomainXml::Missing("<devices>"))?;
    let found =
        children(devices, "disk").find(|node| text_of(*node, "serial").as_deref() == Some(serial.as_str()));
    Ok(found.map(|node| DiskHandle {
        alias: child(node, "alias")
            .and_then(|alias| alias.attribute("name"))
            .map(str::to_owned),
        xml: xml.get(node.range()).unwrap_or_default().to_owned(),
    }))
}

/// The alias under which a disk is attached, and by which events name it. Only aliases that begin with `ua-`
/// are kept in the persistent definition.
pub fn alias_of(serial: &DiskSerial) -> String {
    format!("ua-{serial}")
}

/// Writes the `<disk>` element of a disk, as its role asks. No snapshot of the guest moves its source.
///
/// A bundle is read-only. Its grant is this guest's own file; where it is the image itself (on block devices, and as older
/// versions gave it), that is shareable, so that several guests may hold it. What is missing does not keep a guest from
/// booting (`startupPolicy='optional'`).
///
/// A volume is neither: QEMU locks its image, so that no second guest opens it. `cache='writeback'` goes through the host's
/// page cache and passes every flush of the guest on as an fdatasync, so what a program has synced is on storage; it
/// works on every file system, where `none` needs O_DIRECT and `writethrough` would sync each single write.
/// `discard='unmap'` gives room that the guest trims back to the sparse file.
pub fn disk_xml(disk: &GuestDisk) -> String {
    let optional = " startupPolicy='optional'";
    let (driver, policy, access) = match disk.role {
        DiskRole::Bundle if Grant::named_by(&disk.source).is_some() => {
            ("type='qcow2'", optional, "<readonly/>")
        }
        DiskRole::Bundle => ("type='raw'", optional, "<readonly/><shareable/>"),
        DiskRole::Volume => ("type='raw' cache='writeback' discard='unmap'", "", ""),
    };
    let serial = escape(disk.serial.as_str());
    format!(
        "<disk type='file' device='disk' snapshot='no'>\
         <driver name='qemu' {driver}/>\
         <source file='{source}'{policy}/>\
         <target dev='{target}' bus='scsi'/>\
         {access}\
         <serial>{serial}</serial>\
         <alias name='{alias}'/>\
         <address type='drive' controller='{controller}' bus='0' target='0' unit='{unit}'/>\
         </disk>",
        source = escape(&disk.source),
        target = escape(&disk.target),
        alias = escape(&alias_of(&disk.serial)),
        controller = disk.address.controller,
        unit = disk.address.unit,
    )
}

/// Writes the element that names the daemon which controls a domain; libvirt adds the namespace.
pub fn controller_metadata(host: &str) -> String {
    format!("<controller host='{}'/>", escape(host))
}

/// Writes the element of a virtio-scsi controller; libvirt picks its PCI address.
pub fn scsi_controller_xml(index: u32) -> String {
    format!("<controller type='scsi' index='{index}' model='virtio-scsi'/>")
}

/// Escapes a text for XML content and for attribute values in either kind of quotes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // An attribute's white space would be normalised to blanks if it stood there as it is.
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            other => out.push(other),
        }
    }
    out
}

fn document(xml: &str) -> Result<Document<'_>, BadDomainXml> {
    Document::parse(xml).map_err(|error| BadDomainXml::NotXml(error.to_string()))
}

fn domain<'a, 'i>(document: &'a Document<'i>) -> Result<Node<'a, 'i>, BadDomainXml> {
    let root = document.root_element();
    if root.has_tag_name("domain") {
        Ok(root)
    } else {
        Err(BadDomainXml::Missing("<domain>"))
    }
}

/// An element of a domain's `<metadata>`.
fn metadata<'a, 'i>(domain: Node<'a, 'i>, uri: &'static str, name: &'static str) -> Option<Node<'a, 'i>> {
    let mut all = child(domain, "metadata")?.children();
    all.find(|node| node.has_tag_name((uri, name)))
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

fn text_of(node: Node<'_, '_>, name: &'static str) -> Option<String> {
    child(node, name)
        .and_then(|child| child.text())
        .map(|text| text.trim().to_owned())
}

fn disk(node: Node<'_, '_>) -> DomainDisk {
    let target = child(node, "target");
    let of_target = |name| {
        target
            .and_then(|target| target.attribute(name))
            .unwrap_or_default()
    };
    let bus = of_target("bus");
    DomainDisk {
        target: of_target("dev").to_owned(),
        bus: bus.to_owned(),
        serial: text_of(node, "serial"),
        // Only the disk's own <source>: <backingStore> and <mirror> have sources of their own, one level down.
        source: child(node, "source").and_then(source),
        scsi: (bus == "scsi").then(|| scsi_address(node)).flatten(),
    }
}

/// Where the data is: a path, `pool/volume`, or `protocol:name` for a network disk.
fn source(node: Node<'_, '_>) -> Option<String> {
    if let Some(path) = ["file", "dev", "dir"]
        .into_iter()
        .find_map(|name| node.attribute(name))
    {
        return Some(path.to_owned());
    }
    match (node.attribute("pool"), node.attribute("volume")) {
        (Some(pool), Some(volume)) => return Some(format!("{pool}/{volume}")),
        (None, Some(volume)) => return Some(volume.to_owned()),
        _ => {}
    }
    let name = node.attribute("name")?;
    Some(format!(
        "{}:{name}",
        node.attribute("protocol").unwrap_or("network")
    ))
}

fn scsi_address(disk: Node<'_, '_>) -> Option<ScsiAddress> {
    let address = child(disk, "address").filter(|address| address.attribute("type") == Some("drive"))?;
    Some(ScsiAddress {
        controller: address.attribute("controller")?.parse().ok()?,
        unit: address.attribute("unit")?.parse().ok()?,
    })
}

fn scsi_controller(node: Node<'_, '_>) -> Option<ScsiController> {
    Some(ScsiController {
        index: node.attribute("index")?.parse().ok()?,
        model: node.attribute("model").unwrap_or_default().to_owned(),
    })
}

/// How many devices can still be hot-plugged as PCI devices.
///
/// With PCIe: root ports on whose bus no device sits (a root port takes one device, and slots of pcie-root itself
/// cannot be hot-plugged). With i440fx (`pci-root`): what is left of [`I440FX_SLOTS`]. Without PCI: none.
fn free_ports(devices: Node<'_, '_>) -> u32 {
    let pci = |model: &'static str| {
        children(devices, "controller")
            .filter(|node| node.attribute("type") == Some("pci"))
            .filter(move |node| node.attribute("model") == Some(model))
    };
    let taken: BTreeSet<(u32, u32)> = devices
        .children()
        // Only a device's own address: <hostdev><source> holds the host's, one level down.
        .filter_map(|device| child(device, "address"))
        .filter(|address| address.attribute("type") == Some("pci"))
        .filter_map(|address| {
            Some((
                number(address.attribute("bus")?)?,
                number(address.attribute("slot")?)?,
            ))
        })
        .collect();
    let count = |free: usize| u32::try_from(free).unwrap_or(u32::MAX);
    if pci("pci-root").next().is_some() {
        let used = taken.iter().filter(|(bus, slot)| *bus == 0 && *slot > 1);
        return I440FX_SLOTS.saturating_sub(count(used.count()));
    }
    let free = pci("pcie-root-port")
        .filter_map(|port| number(port.attribute("index")?))
        .filter(|index| !taken.iter().any(|(bus, _)| bus == index));
    count(free.count())
}

/// A number as libvirt writes them: `0x1f` or `31`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
#[path = "domain_xml_tests.rs"]
mod tests;
