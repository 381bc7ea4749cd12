//! What the daemon's objects offer is what `packaging/dbus/org.handoverd1.xml` says.

#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::Arc;

use handoverd::adapters::sim::call::Clean;
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::bus::authority::Authority;
use handoverd::bus::job::JobObject;
use handoverd::bus::manager::Manager;
use handoverd::bus::plan::PlanObject;
use handoverd::model::ids::JobId;
use handoverd::ports::JobRecord;
use handoverd::requests::Requests;
use handoverd::requests::jobs::JobView;
use zbus::object_server::Interface;

const FILE: &str = include_str!("../packaging/dbus/org.handoverd1.xml");

/// The types of an interface's members, by kind and name.
fn signatures(xml: &str, interface: &str) -> BTreeMap<String, String> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(xml, options).unwrap();
    let node = document
        .descendants()
        .find(|node| node.has_tag_name("interface") && node.attribute("name") == Some(interface))
        .unwrap_or_else(|| panic!("no interface {interface}"));
    let members = node.children().filter(roxmltree::Node::is_element);
    members
        .filter_map(|member| {
            let name = format!("{} {}", member.tag_name().name(), member.attribute("name")?);
            let args = member.children().filter(|child| child.has_tag_name("arg"));
            let types: Vec<String> = args
                .map(|arg| {
                    let direction = arg.attribute("direction").unwrap_or("out");
                    format!("{direction} {}", arg.attribute("type").unwrap())
                })
                .collect();
            let property = member.attribute("type").map(str::to_owned);
            Some((name, property.unwrap_or_else(|| types.join(", "))))
        })
        .collect()
}

fn offered(object: &dyn Interface, interface: &str) -> BTreeMap<String, String> {
    let mut xml = String::from("<node>");
    object.introspect_to_writer(&mut xml, 0);
    xml.push_str("</node>");
    signatures(&xml, interface)
}

fn requests() -> Arc<Requests> {
    let world = SimWorld::new(1).unwrap();
    Simulation::new(world, "hv1".parse().unwrap(), Box::new(Clean)).requests()
}

#[test]
fn the_daemons_objects_are_as_the_interface_file_says() {
    let (requests, authority) = (requests(), Authority::SameUser);
    let manager = Manager {
        requests: requests.clone(),
        authority,
    };
    let plan = PlanObject {
        id: "3f9a1c".to_owned(),
        requests: requests.clone(),
        authority,
    };
    let record = JobRecord {
        id: JobId(7),
        operation: "move".to_owned(),
        object: "web".to_owned(),
        source: "g1".to_owned(),
        target: "g2".to_owned(),
        started_by: "root".to_owned(),
        started: 1,
        finished: None,
        result: None,
        error_name: String::new(),
        error_details: String::new(),
    };
    let job = JobObject {
        id: JobId(7),
        view: JobView {
            record,
            step: String::new(),
            waiting: String::new(),
            progress: 0.0,
            cancelable: true,
            gap: None,
            members: Vec::new(),
        },
        requests,
        authority,
    };
    let objects: [(&dyn Interface, &str); 3] = [
        (&manager, "org.handoverd1.Manager"),
        (&plan, "org.handoverd1.Plan"),
        (&job, "org.handoverd1.Job"),
    ];
    for (object, interface) in objects {
        assert_eq!(
            offered(object, interface),
            signatures(FILE, interface),
            "{interface}"
        );
    }
}
