use super::*;
use crate::model::disk::DiskRole;

const Q35_LIVE: &str = include_str!("samples/q35-live.xml");
const Q35_INACTIVE: &str = include_str!("samples/q35-inactive.xml");
const I440FX: &str = include_str!("samples/i440fx-inactive.xml");

fn serial() -> DiskSerial {
    // What `DiskSerial::of` gives is opaque; the samples carry this one.
    serde_json::from_str("\"ho123456789012345678\"").unwrap()
}

fn domain_with(devices: &str) -> String {
    format!(
        "<domain type='kvm'><os><type machine='pc-q35-7.2'>hvm</type></os><devices>{devices}</devices></domain>"
    )
}

#[test]
fn definitions_of_real_guests_are_read() {
    struct Case {
        xml: &'static str,
        active: bool,
        agent: bool,
        machine: &'static str,
        free_ports: u32,
    }
    let cases = [
        // Eight root ports: net, scsi, serial, usb, vda, balloon and rng sit on seven.
        Case {
            xml: Q35_LIVE,
            active: true,
            agent: true,
            machine: "pc-q35-7.2",
            free_ports: 1,
        },
        Case {
            xml: Q35_INACTIVE,
            active: false,
            agent: false,
            machine: "pc-q35-7.2",
            free_ports: 1,
        },
        // Slots 2 to 9 are taken.
        Case {
            xml: I440FX,
            active: false,
            agent: false,
            machine: "pc-i440fx-7.2",
            free_ports: 20,
        },
    ];
    for case in cases {
        let read = parse(case.xml).unwrap();
        assert_eq!(read.active, case.active, "{}", case.machine);
        assert_eq!(read.agent_connected, case.agent, "{}", case.machine);
        let definition = read.definition;
        assert_eq!(definition.machine, case.machine);
        assert_eq!(definition.free_pcie_ports, case.free_ports, "{}", case.machine);
        assert_eq!(
            definition.scsi_controllers,
            [ScsiController {
                index: 0,
                model: "virtio-scsi".into()
            }]
        );
        assert_eq!(
            definition.disks,
            [
                DomainDisk {
                    target: "vda".into(),
                    bus: "virtio".into(),
                    serial: None,
                    source: Some("/var/lib/libvirt/images/g1.qcow2".into()),
                    scsi: None,
                },
                DomainDisk {
                    target: "sdc".into(),
                    bus: "scsi".into(),
                    serial: Some("ho123456789012345678".into()),
                    source: Some("/var/lib/libvirt/images/handoverd/x.img".into()),
                    scsi: Some(ScsiAddress {
                        controller: 0,
                        unit: 3
                    }),
                },
            ]
        );
        assert!(definition.disk(&serial()).is_some());
    }
}

#[test]
fn every_kind_of_disk_source_is_told() {
    let cases = [
        ("<source file='/a.img'/>", Some("/a.img")),
        ("<source dev='/dev/vg/lv'/>", Some("/dev/vg/lv")),
        ("<source pool='default' volume='a.img'/>", Some("default/a.img")),
        (
            "<source protocol='rbd' name='pool/image'><host name='mon'/></source>",
            Some("rbd:pool/image"),
        ),
        ("", None),
        ("<source/>", None),
        // A backing file and the target of a block job are not the disk's source.
        (
            "<backingStore type='file'><source file='/base.img'/></backingStore>",
            None,
        ),
        (
            "<mirror type='file'><source file='/copy.img'/></mirror><source file='/a.img'/>",
            Some("/a.img"),
        ),
        (
            "<source file='/it&apos;s &amp; &lt;x&gt;.img'/>",
            Some("/it's & <x>.img"),
        ),
    ];
    for (element, wanted) in cases {
        let xml = domain_with(&format!(
            "<disk type='file'>{element}<target dev='vdb' bus='virtio'/></disk>"
        ));
        assert_eq!(
            parse(&xml).unwrap().definition.disks[0].source.as_deref(),
            wanted,
            "{element}"
        );
    }
}

#[test]
fn a_scsi_address_is_told_only_for_scsi_disks() {
    let drive = "<address type='drive' controller='2' bus='0' target='0' unit='17'/>";
    let cases = [
        (
            format!("<target dev='sda' bus='scsi'/>{drive}"),
            Some(ScsiAddress {
                controller: 2,
                unit: 17,
            }),
        ),
        (format!("<target dev='sda' bus='sata'/>{drive}"), None),
        ("<target dev='sda' bus='scsi'/>".to_owned(), None),
        (
            "<target dev='sda' bus='scsi'/><address type='drive' controller='x' unit='1'/>".to_owned(),
            None,
        ),
    ];
    for (element, wanted) in cases {
        let xml = domain_with(&format!("<disk type='file'>{element}</disk>"));
        assert_eq!(parse(&xml).unwrap().definition.disks[0].scsi, wanted, "{element}");
    }
}

#[test]
fn a_root_port_with_a_device_on_its_bus_is_not_free() {
    let ports = "<controller type='pci' index='0' model='pcie-root'/>\
                 <controller type='pci' index='10' model='pcie-root-port'>\
                 <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></controller>\
                 <controller type='pci' index='11' model='pcie-root-port'>\
                 <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x1'/></controller>";
    let on_bus_10 = "<address type='pci' domain='0x0000' bus='0x0a' slot='0x00' function='0x0'/>";
    let cases = [
        (String::new(), 2),
        (format!("<rng>{on_bus_10}</rng>"), 1),
        // The host's address of a passed-through device is none of the guest's.
        (format!("<hostdev><source>{on_bus_10}</source></hostdev>"), 2),
        (
            format!("<hostdev><source>{on_bus_10}</source>{on_bus_10}</hostdev>"),
            1,
        ),
        (on_bus_10.replace("0x0a", "0x0c"), 2),
    ];
    for (device, wanted) in cases {
        let read = parse(&domain_with(&format!("{ports}{device}"))).unwrap();
        assert_eq!(read.definition.free_pcie_ports, wanted, "{device}");
    }
    assert_eq!(
        parse(&domain_with("")).unwrap().definition.free_pcie_ports,
        0,
        "a machine without PCI"
    );
}

#[test]
fn only_the_agents_own_channel_counts_as_the_agent() {
    let channel = |name: &str, state: &str| {
        domain_with(&format!(
            "<channel type='unix'><target type='virtio' name='{name}' {state}/></channel>"
        ))
    };
    let cases = [
        (channel("org.qemu.guest_agent.0", "state='connected'"), true),
        (channel("org.qemu.guest_agent.0", "state='disconnected'"), false),
        (channel("org.qemu.guest_agent.0", ""), false),
        (channel("com.redhat.spice.0", "state='connected'"), false),
        (domain_with(""), false),
    ];
    for (xml, wanted) in cases {
        assert_eq!(parse(&xml).unwrap().agent_connected, wanted, "{xml}");
    }
}

#[test]
fn a_disk_is_found_by_its_serial_with_its_alias_and_its_own_xml() {
    let found = find_disk(Q35_LIVE, &serial()).unwrap().unwrap();
    assert_eq!(found.alias.as_deref(), Some("ua-ho123456789012345678"));
    assert!(
        found.xml.starts_with("<disk type='file' device='disk'>"),
        "{}",
        found.xml
    );
    assert!(found.xml.ends_with("</disk>"), "{}", found.xml);
    assert!(
        found.xml.contains("<target dev='sdc' bus='scsi'/>"),
        "{}",
        found.xml
    );
    assert!(!found.xml.contains("vda"), "{}", found.xml);

    let plain = domain_with("<disk><serial> ho123456789012345678\n</serial></disk>");
    assert_eq!(find_disk(&plain, &serial()).unwrap().unwrap().alias, None);
    assert_eq!(find_disk(&domain_with("<disk/>"), &serial()).unwrap(), None);
}

#[test]
fn what_is_no_domain_xml_is_refused() {
    assert!(matches!(parse("<domain>"), Err(BadDomainXml::NotXml(_))));
    assert_eq!(
        parse("<network/>").unwrap_err(),
        BadDomainXml::Missing("<domain>")
    );
    assert_eq!(
        parse("<domain/>").unwrap_err(),
        BadDomainXml::Missing("<devices>")
    );
    // An entity bomb is not expanded.
    let bomb = "<!DOCTYPE d [<!ENTITY a 'aaaa'>]><domain><devices>&a;</devices></domain>";
    assert!(matches!(parse(bomb), Err(BadDomainXml::NotXml(_))));
}

#[test]
fn a_written_disk_of_either_role_reads_back_the_same() {
    for role in [DiskRole::Bundle, DiskRole::Volume] {
        for source in ["/var/lib/libvirt/images/handoverd/a.img", "/it's/<a>&\"b\".img"] {
            let disk = GuestDisk {
                role,
                serial: serial(),
                source: source.to_owned(),
                target: "sdq".to_owned(),
                address: ScsiAddress {
                    controller: 1,
                    unit: 16383,
                },
            };
            let xml = domain_with(&disk_xml(&disk));
            assert_eq!(
                parse(&xml).unwrap().definition.disks,
                [DomainDisk {
                    target: "sdq".into(),
                    bus: "scsi".into(),
                    serial: Some(disk.serial.as_str().into()),
                    source: Some(source.into()),
                    scsi: Some(disk.address),
                }]
            );
            assert_eq!(
                find_disk(&xml, &disk.serial).unwrap().unwrap().alias,
                Some(alias_of(&disk.serial))
            );
        }
    }
}

#[test]
fn a_shared_image_is_read_only_shareable_and_optional() {
    let xml = disk_xml(&GuestDisk {
        role: DiskRole::Bundle,
        serial: serial(),
        source: "/a.img".to_owned(),
        target: "sdc".to_owned(),
        address: ScsiAddress {
            controller: 0,
            unit: 3,
        },
    });
    assert_eq!(
        xml,
        "<disk type='file' device='disk' snapshot='no'><driver name='qemu' type='raw'/>\
         <source file='/a.img' startupPolicy='optional'/><target dev='sdc' bus='scsi'/><readonly/><shareable/>\
         <serial>ho123456789012345678</serial><alias name='ua-ho123456789012345678'/>\
         <address type='drive' controller='0' bus='0' target='0' unit='3'/></disk>"
    );
}

#[test]
fn a_grant_is_a_read_only_overlay_of_one_guest() {
    let source = "/pool/web@f0342bfe-75dd-53eb-8c9a-844169df1ed3.g4.qcow2";
    let xml = disk_xml(&GuestDisk {
        role: DiskRole::Bundle,
        serial: serial(),
        source: source.to_owned(),
        target: "sdc".to_owned(),
        address: ScsiAddress {
            controller: 0,
            unit: 3,
        },
    });
    assert_eq!(
        xml,
        format!(
            "<disk type='file' device='disk' snapshot='no'><driver name='qemu' type='qcow2'/>\
             <source file='{source}' startupPolicy='optional'/><target dev='sdc' bus='scsi'/><readonly/>\
             <serial>ho123456789012345678</serial><alias name='ua-ho123456789012345678'/>\
             <address type='drive' controller='0' bus='0' target='0' unit='3'/></disk>"
        )
    );
}

#[test]
fn a_data_volume_is_neither_read_only_nor_shareable_and_passes_flushes_on() {
    let xml = disk_xml(&GuestDisk {
        role: DiskRole::Volume,
        serial: serial(),
        source: "/web.data.raw".to_owned(),
        target: "sdd".to_owned(),
        address: ScsiAddress {
            controller: 0,
            unit: 4,
        },
    });
    assert_eq!(
        xml,
        "<disk type='file' device='disk' snapshot='no'>\
         <driver name='qemu' type='raw' cache='writeback' discard='unmap'/>\
         <source file='/web.data.raw'/><target dev='sdd' bus='scsi'/>\
         <serial>ho123456789012345678</serial><alias name='ua-ho123456789012345678'/>\
         <address type='drive' controller='0' bus='0' target='0' unit='4'/></disk>"
    );
}

#[test]
fn a_written_controller_reads_back_as_virtio_scsi() {
    let read = parse(&domain_with(&scsi_controller_xml(3))).unwrap();
    assert_eq!(
        read.definition.scsi_controllers,
        [ScsiController {
            index: 3,
            model: "virtio-scsi".into()
        }]
    );
}

#[test]
fn the_controlling_daemon_is_read_from_our_own_namespace_only() {
    let with = |metadata: &str| {
        let xml = domain_with("").replace("<os>", &format!("<metadata>{metadata}</metadata><os>"));
        parse(&xml).unwrap().controller
    };
    assert_eq!(
        with("<handoverd:controller xmlns:handoverd='urn:handoverd:domain:1' host='hv1'/>"),
        Some("hv1".to_owned())
    );
    assert_eq!(with("<x:controller xmlns:x='urn:other' host='hv9'/>"), None);
    assert_eq!(parse(&domain_with("")).unwrap().controller, None);
    assert_eq!(controller_metadata("h'1"), "<controller host='h&apos;1'/>");
}

#[test]
fn labels_are_read_from_their_own_namespace_and_what_is_no_label_is_left_out() {
    let with = |metadata: &str| {
        let xml = domain_with("").replace("<os>", &format!("<metadata>{metadata}</metadata><os>"));
        let labels = parse(&xml).unwrap().labels;
        labels.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let both = "<h:controller xmlns:h='urn:handoverd:domain:1' host='hv1'/>\
                <l:labels xmlns:l='urn:handoverd:labels:1'> ssd\n zone=a a=b=c </l:labels>";
    assert_eq!(with(both), ["ssd", "zone=a"]);
    assert!(with("<l:labels xmlns:l='urn:handoverd:labels:1'/>").is_empty());
    assert!(with("<l:labels xmlns:l='urn:other'>ssd</l:labels>").is_empty());
    assert!(with("").is_empty());
}
