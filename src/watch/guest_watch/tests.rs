use proptest::prelude::*;

use super::super::cause::Treatment;
use super::*;
use crate::model::guest::DomainState;
use crate::model::lifecycle::{Lifecycle, ShutoffReason, StopReason};

/// A guest that is watched, with the time.
struct Watched {
    watch: GuestWatch,
    policy: Policy,
    now: Millis,
}

impl Watched {
    fn new() -> Self {
        Self {
            watch: GuestWatch::default(),
            policy: Policy {
                may_destroy: true,
                silence: Duration::from_secs(60),
                ..Policy::default()
            },
            now: 1_000_000,
        }
    }

    fn input(&mut self, input: Input) -> Vec<Decision> {
        self.watch.step(self.now, input, self.policy)
    }

    fn sees(&mut self, sign: Sign) -> Vec<Decision> {
        self.input(Input::Seen(sign, Circumstances::default()))
    }

    fn event(&mut self, event: Lifecycle) -> Vec<Decision> {
        self.sees(Sign::Lifecycle(event))
    }

    fn listed(&mut self, state: DomainState, shutoff: ShutoffReason) -> Vec<Decision> {
        self.sees(Sign::Listed {
            state,
            shutoff,
            managed_save: false,
        })
    }

    fn after(&mut self, seconds: u64) -> Vec<Decision> {
        self.now += seconds * 1000;
        self.input(Input::Tick)
    }

    fn word(&self) -> &'static str {
        self.watch.state().word()
    }
}

const KILLED: Lifecycle = Lifecycle::Stopped(StopReason::Failed);
const SHUT: Lifecycle = Lifecycle::Stopped(StopReason::Shutdown);
const STARTED: Lifecycle = Lifecycle::Started { migrated: false };

#[test]
fn a_guest_whose_qemu_dies_is_evacuated_once() {
    let mut guest = Watched::new();
    assert_eq!(guest.event(KILLED), [Decision::Evacuate(Cause::QemuDied)]);
    assert!(
        guest
            .listed(DomainState::Shutoff, ShutoffReason::Crashed)
            .is_empty()
    );
    assert!(guest.event(KILLED).is_empty());
    assert!(guest.after(3600).is_empty());
    assert_eq!(guest.word(), "dead");
}

#[test]
fn a_guest_that_comes_back_in_time_is_left_alone() {
    let mut guest = Watched::new();
    assert!(guest.event(SHUT).is_empty());
    assert_eq!(guest.watch.due(), Some(guest.now + 60_000));
    assert!(guest.after(59).is_empty());
    assert!(guest.event(STARTED).is_empty());
    assert!(guest.after(3600).is_empty());
    assert_eq!(guest.word(), "up");
}

#[test]
fn a_guest_that_stays_off_is_evacuated_when_its_time_is_up_however_often_it_is_listed() {
    let mut guest = Watched::new();
    guest.event(SHUT);
    for _ in 0..5 {
        assert!(guest.after(11).is_empty());
        assert!(
            guest
                .listed(DomainState::Shutoff, ShutoffReason::Shutdown)
                .is_empty()
        );
    }
    assert_eq!(guest.after(5), [Decision::Evacuate(Cause::PoweredOff)]);
}

#[test]
fn a_guest_that_policy_leaves_alone_keeps_its_services() {
    let mut guest = Watched::new();
    guest.policy.power_off = Treatment::Leave;
    assert!(guest.event(SHUT).is_empty());
    assert!(guest.after(3600).is_empty());
    assert_eq!(guest.word(), "left");
    assert!(guest.event(STARTED).is_empty());
    assert_eq!(guest.word(), "up");
}

#[test]
fn a_guest_that_starts_by_itself_before_it_is_fenced_gets_its_services_back() {
    let mut guest = Watched::new();
    guest.event(KILLED);
    assert_eq!(
        guest.event(STARTED),
        [Decision::CancelEvacuation(Cause::SeenRunning)]
    );
    assert_eq!(guest.word(), "returned");
    // Some may have gone all the same.
    assert!(
        guest
            .listed(DomainState::Running, ShutoffReason::Unknown)
            .is_empty()
    );
    assert_eq!(guest.sees(Sign::Agent(true)), [Decision::Leftovers]);
    assert!(guest.sees(Sign::Agent(true)).is_empty());
    assert_eq!(guest.word(), "up");
}

#[test]
fn a_guest_that_returns_after_its_evacuation_is_rid_of_leftovers_when_its_agent_speaks() {
    let mut guest = Watched::new();
    guest.event(KILLED);
    guest.input(Input::EvacuationEnded);
    assert!(guest.event(STARTED).is_empty());
    assert_eq!(guest.word(), "returned");
    assert_eq!(guest.sees(Sign::Answered(true)), [Decision::Leftovers]);
}

#[test]
fn a_guest_that_dies_again_is_evacuated_again() {
    let mut guest = Watched::new();
    guest.event(KILLED);
    guest.event(STARTED);
    assert_eq!(guest.event(KILLED), [Decision::Evacuate(Cause::QemuDied)]);
    guest.event(STARTED);
    assert_eq!(guest.sees(Sign::Agent(true)), [Decision::Leftovers]);
}

#[test]
fn a_hung_guest_is_destroyed_first_and_then_evacuated() {
    let mut guest = Watched::new();
    assert!(guest.sees(Sign::Answered(false)).is_empty());
    assert!(guest.after(30).is_empty());
    assert!(guest.sees(Sign::Answered(false)).is_empty());
    // That the domain runs says nothing about its inside.
    assert!(
        guest
            .listed(DomainState::Running, ShutoffReason::Unknown)
            .is_empty()
    );
    assert_eq!(guest.after(30), [Decision::Destroy(Cause::AgentSilent)]);
    assert!(guest.after(600).is_empty());
    assert_eq!(
        guest.input(Input::Destroyed(true)),
        [Decision::Evacuate(Cause::AgentSilent)]
    );
    // Its event comes late.
    assert!(guest.event(Lifecycle::Stopped(StopReason::Destroyed)).is_empty());
}

#[test]
fn the_event_of_our_own_destroying_may_come_first() {
    let mut guest = Watched::new();
    guest.policy.destroyed = Treatment::Leave;
    guest.sees(Sign::Agent(false));
    guest.after(60);
    let decisions = guest.event(Lifecycle::Stopped(StopReason::Destroyed));
    assert_eq!(decisions, [Decision::Evacuate(Cause::AgentSilent)]);
    assert!(guest.input(Input::Destroyed(true)).is_empty());
}

#[test]
fn a_destroying_that_fails_is_tried_again_later_unless_the_guest_is_heard_of() {
    let mut guest = Watched::new();
    guest.sees(Sign::Agent(false));
    guest.after(60);
    assert!(guest.input(Input::Destroyed(false)).is_empty());
    assert!(guest.after(59).is_empty());
    assert_eq!(guest.after(1), [Decision::Destroy(Cause::AgentSilent)]);
    guest.input(Input::Destroyed(false));
    assert!(guest.sees(Sign::Agent(true)).is_empty());
    assert!(guest.after(600).is_empty());
}

#[test]
fn a_guest_that_reboots_has_its_boot_time_although_its_agent_is_gone() {
    let mut guest = Watched::new();
    guest.sees(Sign::Agent(false));
    guest.sees(Sign::Rebooted);
    assert!(guest.after(299).is_empty());
    assert!(guest.sees(Sign::Agent(true)).is_empty());
    assert_eq!(guest.word(), "up");
}

#[test]
fn a_hung_guest_is_only_looked_at_where_it_must_not_be_destroyed() {
    let mut guest = Watched::new();
    guest.policy.may_destroy = false;
    for sign in [Sign::Agent(false), Sign::Answered(false), Sign::Rebooted] {
        assert!(guest.sees(sign).is_empty());
    }
    assert!(guest.after(86_400).is_empty());
}

#[test]
fn nothing_is_up_while_the_host_does_not_answer() {
    let mut guest = Watched::new();
    guest.event(SHUT);
    guest.input(Input::HostLost);
    assert!(guest.watch.is_blind() && guest.watch.due().is_none());
    assert!(guest.after(3600).is_empty());
    // libvirtd is back, and the guest had been started meanwhile.
    assert!(
        guest
            .listed(DomainState::Running, ShutoffReason::Unknown)
            .is_empty()
    );
    assert!(guest.after(3600).is_empty());

    let mut guest = Watched::new();
    guest.event(SHUT);
    guest.input(Input::HostLost);
    guest.after(3600);
    guest.listed(DomainState::Shutoff, ShutoffReason::Shutdown);
    assert_eq!(guest.after(0), [Decision::Evacuate(Cause::PoweredOff)]);
}

#[test]
fn a_restart_of_libvirtd_moves_nothing_and_finds_who_died_meanwhile() {
    let mut guest = Watched::new();
    guest.input(Input::HostLost);
    assert!(
        guest
            .listed(DomainState::Running, ShutoffReason::Unknown)
            .is_empty()
    );
    guest.input(Input::HostLost);
    assert_eq!(
        guest.listed(DomainState::Shutoff, ShutoffReason::Daemon),
        [Decision::Evacuate(Cause::FoundOff)]
    );
}

#[test]
fn migrating_saving_suspending_and_reverting_move_nothing() {
    for events in [
        vec![Lifecycle::Suspended, Lifecycle::Stopped(StopReason::Migrated)],
        vec![Lifecycle::Suspended, Lifecycle::Stopped(StopReason::Saved)],
        vec![
            Lifecycle::Stopped(StopReason::FromSnapshot),
            Lifecycle::Suspended,
            Lifecycle::Resumed,
        ],
        vec![Lifecycle::Suspended],
        vec![Lifecycle::PmSuspended],
        vec![Lifecycle::Defined, Lifecycle::Undefined, Lifecycle::Other(9, 9)],
    ] {
        let mut guest = Watched::new();
        for event in &events {
            assert!(guest.event(*event).is_empty(), "{events:?}");
        }
        assert!(guest.after(86_400).is_empty(), "{events:?}");
    }
}

#[test]
fn a_guest_that_shuts_down_with_its_host_is_not_dead() {
    let mut guest = Watched::new();
    let around = Circumstances {
        host_goes_down: true,
        ..Circumstances::default()
    };
    assert!(guest.input(Input::Seen(Sign::Lifecycle(SHUT), around)).is_empty());
    assert!(guest.after(86_400).is_empty());
}

#[test]
fn a_saved_guest_sleeps_until_it_is_started() {
    let mut guest = Watched::new();
    guest.event(Lifecycle::Stopped(StopReason::Saved));
    assert_eq!(guest.word(), "asleep");
    assert!(
        guest
            .listed(DomainState::Shutoff, ShutoffReason::Saved)
            .is_empty()
    );
    assert!(guest.event(STARTED).is_empty());
    assert_eq!(guest.word(), "up");
    // Saved although it had been thought dead: it was started meanwhile.
    guest.event(KILLED);
    assert_eq!(
        guest.event(Lifecycle::Stopped(StopReason::Saved)),
        [Decision::CancelEvacuation(Cause::Saved)]
    );
}

fn any_input() -> impl Strategy<Value = Input> {
    let lifecycle = prop_oneof![
        Just(KILLED),
        Just(SHUT),
        Just(STARTED),
        Just(Lifecycle::Resumed),
        Just(Lifecycle::Suspended),
        Just(Lifecycle::Crashed),
        Just(Lifecycle::Stopped(StopReason::Destroyed)),
        Just(Lifecycle::Stopped(StopReason::Saved)),
        Just(Lifecycle::Stopped(StopReason::Migrated)),
    ];
    let sign = prop_oneof![
        lifecycle.prop_map(Sign::Lifecycle),
        Just(Sign::Rebooted),
        any::<bool>().prop_map(Sign::Agent),
        any::<bool>().prop_map(Sign::Answered),
        (0..8).prop_map(|code| Sign::Listed {
            state: DomainState::Shutoff,
            shutoff: ShutoffReason::from_code(code),
            managed_save: false,
        }),
        Just(Sign::Listed {
            state: DomainState::Running,
            shutoff: ShutoffReason::Unknown,
            managed_save: false,
        }),
        Just(Sign::Absent),
    ];
    prop_oneof![
        8 => sign.prop_map(|sign| Input::Seen(sign, Circumstances::default())),
        1 => Just(Input::HostLost),
        3 => Just(Input::Tick),
        1 => any::<bool>().prop_map(Input::Destroyed),
        1 => Just(Input::EvacuationEnded),
    ]
}

proptest! {
    #[test]
    fn decisions_come_in_an_order_that_makes_sense(
        steps in proptest::collection::vec((any_input(), 0_u64..200), 1..60),
    ) {
        let mut guest = Watched::new();
        let (mut evacuating, mut owes) = (false, false);
        for (input, seconds) in steps {
            guest.now += seconds * 1000;
            let destroying = matches!(guest.watch.state(), State::Fencing { .. });
            if input == Input::EvacuationEnded {
                evacuating = false;
            }
            for decision in guest.input(input) {
                match decision {
                    Decision::Evacuate(_) => {
                        prop_assert!(!evacuating, "evacuated twice");
                        (evacuating, owes) = (true, true);
                    }
                    Decision::CancelEvacuation(_) => {
                        prop_assert!(evacuating, "nothing to cancel");
                        evacuating = false;
                    }
                    Decision::Destroy(_) => {
                        prop_assert!(!destroying && !evacuating);
                        prop_assert_eq!(guest.word(), "fencing");
                    }
                    Decision::Leftovers => {
                        prop_assert!(owes && !evacuating, "leftovers of a guest that is not back");
                        owes = false;
                    }
                }
            }
            prop_assert_eq!(matches!(guest.watch.state(), State::Dead { evacuated: false, .. }), evacuating);
        }
    }
}
