//! Tests of the tests: a protocol with one rule broken is found out.

use handoverd::adapters::sim::call::PortFault;
use handoverd::adapters::sim::ports::applies;
use handoverd::adapters::sim::world::WorldRules;
use handoverd::handover::goals::{self, Goal, Kind};
use handoverd::handover::protocol::{Protocol, Rule};

use crate::faults::{At, FAULTS, WEATHERS, comes_after, mishap};
use crate::kinds::KINDS;
use crate::runs;

/// Where a broken rule shows: in a kind of this name.
fn is_found_out(name: &str, kinds: &[&str], protocol: Protocol, rules: WorldRules) -> bool {
    for kind in KINDS.iter().filter(|kind| kinds.contains(&kind.name)) {
        let (simulation, answer) = kind.begin_with(Box::new(At { plan: Vec::new() }), protocol, rules);
        let clean = runs::to_rest(simulation, || answer.lock().unwrap().is_some());
        if let Some(violation) = clean.violations.first() {
            println!("{name}: {}, without a fault: {violation}", kind.name);
            return true;
        }
        // The calls of the shipped protocol: of a broken one they may differ a little, which is as good.
        for call in runs::trace(*kind)
            .into_iter()
            .filter(|call| call.method.is_effect())
        {
            for weather in WEATHERS {
                let faults = FAULTS
                    .iter()
                    .copied()
                    .filter(|f| applies(*f, call.method))
                    .map(Some);
                for fault in faults.chain([None]) {
                    let plan = vec![(
                        call.number,
                        mishap(fault, weather, fault.is_some_and(comes_after)),
                    )];
                    let (simulation, answer) = kind.begin_with(Box::new(At { plan }), protocol, rules);
                    let end = runs::to_rest(simulation, || answer.lock().unwrap().is_some());
                    if let Some(violation) = end.violations.first() {
                        println!(
                            "{name}: {}, {fault:?} of {:?} with {weather:?}: {violation}",
                            kind.name, call.method
                        );
                        return true;
                    }
                }
            }
        }
    }
    false
}

const NO_LOCK: WorldRules = WorldRules {
    bound_to_data: true,
    attempts: true,
    by_uuid: true,
    image_lock: false,
};

fn retire_first(kind: Kind) -> &'static [Goal] {
    use Goal::{
        Adopt, Confirm, Drain, Fence, Observe, Publish, Quiesce, Record, Reserve, Retire, Stage, Start,
    };
    match kind {
        Kind::Move => &[
            Reserve, Observe, Fence, Stage, Quiesce, Adopt, Start, Confirm, Retire, Publish, Record, Drain,
        ],
        other => goals::goals(other),
    }
}

fn adopt_first(kind: Kind) -> &'static [Goal] {
    use Goal::{
        Adopt, Confirm, Drain, Fence, Observe, Publish, Quiesce, Record, Reserve, Retire, Stage, Start,
    };
    match kind {
        Kind::Move => &[
            Reserve, Observe, Fence, Stage, Adopt, Quiesce, Start, Confirm, Publish, Record, Drain, Retire,
        ],
        other => goals::goals(other),
    }
}

fn publish_first(kind: Kind) -> &'static [Goal] {
    use Goal::{
        Adopt, Confirm, Drain, Fence, Observe, Publish, Quiesce, Record, Reserve, Retire, Stage, Start,
    };
    match kind {
        Kind::Move => &[
            Reserve, Observe, Fence, Stage, Quiesce, Adopt, Publish, Start, Confirm, Record, Drain, Retire,
        ],
        other => goals::goals(other),
    }
}

fn without_drain(kind: Kind) -> &'static [Goal] {
    use Goal::{Adopt, Confirm, Fence, Observe, Publish, Quiesce, Record, Reserve, Retire, Stage, Start};
    match kind {
        Kind::Move => &[
            Reserve, Observe, Fence, Stage, Quiesce, Adopt, Start, Confirm, Publish, Record, Retire,
        ],
        other => goals::goals(other),
    }
}

const PLAIN: [&str; 1] = ["move accessible"];
const VOLUME: [&str; 1] = ["move accessible, volume"];
const DEAD: [&str; 2] = ["evacuate accessible, volume", "evacuate accessible"];

macro_rules! found_out {
    ($($name:ident: $kinds:expr, $protocol:expr, $rules:expr;)+) => {$(
        #[test]
        fn $name() {
            assert!(is_found_out(stringify!($name), &$kinds, $protocol, $rules), "nothing found it out");
        }
    )+};
}

found_out! {
    retiring_before_the_commit: PLAIN, Protocol::with_goals(retire_first).also_without(Rule::RetireByDuty), WorldRules::default();
    giving_the_volume_before_it_is_taken: VOLUME, Protocol::with_goals(adopt_first), NO_LOCK;
    publishing_before_the_start: PLAIN, Protocol::with_goals(publish_first).also_without(Rule::Reconfirm), WorldRules::default();
    not_draining: PLAIN, Protocol::with_goals(without_drain), WorldRules::default();
    not_journalling_that_a_message_was_sent: PLAIN, Protocol::without(Rule::JournalSent), WorldRules::default();
    not_reading_the_zone_before_going_back: PLAIN, Protocol::without(Rule::Settle), WorldRules::default();
    not_leading_clients_back: DEAD, Protocol::without(Rule::LeadBack), WorldRules::default();
    not_withdrawing_a_message: PLAIN, Protocol::without(Rule::AbortSwap), WorldRules::default();
    skipping_the_undo_on_the_source: VOLUME, Protocol::without(Rule::SourceUndo), WorldRules::default();
    skipping_the_undo_of_a_fence: DEAD, Protocol::without(Rule::FenceUndo), WorldRules::default();
    proving_death_before_the_disks_are_taken: DEAD, Protocol::without(Rule::FenceCheck), NO_LOCK;
    not_superseding_late_scripts: VOLUME, Protocol::without(Rule::Supersede), WorldRules::default();
    taking_a_sleeping_guest_for_one_that_is_off: VOLUME, Protocol::without(Rule::Asleep), WorldRules::default();
    linking_before_the_disk_is_given: ["move without overlap"], Protocol::without(Rule::LinkLate), WorldRules::default();
    running_without_the_volume: VOLUME, Protocol::default(), WorldRules { bound_to_data: false, ..WorldRules::default() };
    obeying_late_scripts: VOLUME, Protocol::default(), WorldRules { attempts: false, ..WorldRules::default() };
    not_asking_every_server_of_the_zone: ["move accessible, lagging server"], Protocol::without(Rule::AskServers), WorldRules::default();
    not_waiting_out_a_ttl_that_was_lowered: ["move accessible, long TTL"], Protocol::without(Rule::WaitLowered), WorldRules::default();
    asking_one_host_only: PLAIN, Protocol::default(), WorldRules { by_uuid: false, ..WorldRules::default() };
}

#[test]
fn a_late_fault_is_one_of_those_tried() {
    assert!(FAULTS.iter().any(|fault| matches!(fault, PortFault::Late(_))));
}
