use super::*;
use crate::handover::record::tests::facts;
use crate::model::life::LifeState;

const KINDS: [Kind; 6] = [
    Kind::Deploy,
    Kind::Move,
    Kind::Replace,
    Kind::Start,
    Kind::Stop,
    Kind::Remove,
];

fn every_service() -> Vec<Facts> {
    let mut all = Vec::new();
    for life in [
        LifeState::Stopped,
        LifeState::Running,
        LifeState::Accessible,
        LifeState::Failed,
    ] {
        for named in [true, false] {
            for overlap in [true, false] {
                all.push(Facts {
                    overlap,
                    ..facts(life, named)
                });
            }
        }
    }
    all
}

fn at(direction: Direction, goal: Goal, phase: Phase) -> State {
    State::At {
        direction,
        goal,
        phase,
        tries: 0,
    }
}

fn reason() -> Reason {
    Reason::new("Test", "for a test")
}

/// Every goal that a handover stands at when each look says that it holds.
fn walk(kind: Kind, facts: &Facts) -> (Vec<Goal>, State) {
    let (mut state, mut seen, mut committed) = (State::first(kind), Vec::new(), false);
    while let State::At { goal, .. } = state {
        seen.push(goal);
        state = transition(
            state,
            &Event::Holds,
            Terms {
                kind,
                committed,
                facts,
                protocol: Protocol::default(),
            },
        )
        .unwrap();
        committed |= goal == commit_goal(kind, facts);
    }
    (seen, state)
}

#[test]
fn forward_every_kind_passes_its_goals_in_order_and_is_done() {
    for kind in KINDS {
        for facts in every_service() {
            let (seen, end) = walk(kind, &facts);
            let wanted: Vec<Goal> = goals(kind)
                .iter()
                .copied()
                .filter(|g| applies(*g, kind, &facts))
                .collect();
            assert_eq!(
                (seen, end),
                (wanted, State::Done { owed: false }),
                "{kind:?} {facts:?}"
            );
        }
    }
}

#[test]
fn a_stopped_or_failed_service_is_never_started_on_the_way() {
    for kind in [Kind::Deploy, Kind::Move, Kind::Replace] {
        for facts in every_service().into_iter().filter(|f| !f.wants_running()) {
            let (seen, _) = walk(kind, &facts);
            assert!(
                !seen.contains(&Goal::Start) && !seen.contains(&Goal::Confirm),
                "{kind:?} {facts:?}"
            );
        }
    }
}

#[test]
fn nothing_is_taken_from_the_source_before_the_commit_where_two_copies_may_run() {
    for facts in every_service().into_iter().filter(|f| f.overlap) {
        let (seen, _) = walk(Kind::Move, &facts);
        let commit = commit_goal(Kind::Move, &facts);
        let before: Vec<_> = seen.iter().take_while(|g| **g != commit).collect();
        assert!(
            !before.contains(&&Goal::Quiesce) && !before.contains(&&Goal::Retire),
            "{facts:?}"
        );
    }
}

#[test]
fn before_the_commit_whatever_goes_wrong_is_undone_goal_by_goal() {
    for kind in KINDS {
        for facts in every_service() {
            let (seen, _) = walk(kind, &facts);
            let commit = commit_goal(kind, &facts);
            for (index, goal) in seen.iter().enumerate().take_while(|(_, g)| **g != commit) {
                for event in [
                    Event::Refused(reason()),
                    Event::Expired(reason()),
                    Event::Cancel(reason()),
                ] {
                    let terms = Terms {
                        kind,
                        committed: false,
                        facts: &facts,
                        protocol: Protocol::default(),
                    };
                    let from = at(Direction::Forward, *goal, Phase::Looking);
                    let mut state = transition(from, &event, terms).unwrap();
                    let mut undone = Vec::new();
                    while let State::At { direction, goal, .. } = state {
                        assert_eq!(direction, Direction::Back);
                        undone.push(goal);
                        state = transition(state, &Event::Holds, terms).unwrap();
                    }
                    let wanted: Vec<Goal> = seen.iter().take(index + 1).rev().copied().collect();
                    assert_eq!(
                        (undone, state),
                        (wanted, State::Undone),
                        "{kind:?} {goal:?} {event:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn after_the_commit_there_is_no_way_back() {
    for kind in KINDS {
        for facts in every_service() {
            let (seen, _) = walk(kind, &facts);
            let terms = Terms {
                kind,
                committed: true,
                facts: &facts,
                protocol: Protocol::default(),
            };
            let behind = seen.iter().filter(|g| terms.is_after_commit(**g));
            for goal in behind {
                let from = at(Direction::Forward, *goal, Phase::Acting);
                assert!(!terms.is_cancelable(from));
                assert!(transition(from, &Event::Cancel(reason()), terms).is_err());
                let to = transition(from, &Event::Expired(reason()), terms).unwrap();
                let back = matches!(
                    to,
                    State::At {
                        direction: Direction::Back,
                        ..
                    } | State::Undone
                );
                assert!(!back, "{kind:?} {goal:?} went back: {to:?}");
            }
        }
    }
}

#[test]
fn a_duty_that_cannot_be_met_is_owed_and_the_rest_is_stuck() {
    let facts = facts(LifeState::Accessible, true);
    let terms = |kind| Terms {
        kind,
        committed: true,
        facts: &facts,
        protocol: Protocol::default(),
    };
    let give_up = |kind, goal| {
        let from = at(Direction::Forward, goal, Phase::Looking);
        transition(from, &Event::Expired(reason()), terms(kind)).unwrap()
    };
    assert_eq!(give_up(Kind::Move, Goal::Retire), State::Done { owed: true });
    assert_eq!(
        give_up(Kind::Remove, Goal::Retire),
        at(Direction::Forward, Goal::Forget, Phase::Looking)
    );
    assert_eq!(
        give_up(Kind::Move, Goal::Record),
        State::Stuck {
            direction: Direction::Forward,
            goal: Goal::Record
        }
    );
}

#[test]
fn a_message_that_arrived_after_all_turns_an_undo_into_a_commit() {
    let facts = facts(LifeState::Accessible, true);
    let terms = Terms {
        kind: Kind::Move,
        committed: false,
        facts: &facts,
        protocol: Protocol::default(),
    };
    let from = at(Direction::Back, Goal::Publish, Phase::Looking);
    assert_eq!(
        transition(from, &Event::Committed, terms),
        Ok(at(Direction::Forward, Goal::Publish, Phase::Looking))
    );
    let elsewhere = at(Direction::Back, Goal::Stage, Phase::Looking);
    assert!(transition(elsewhere, &Event::Committed, terms).is_err());
}

#[test]
fn an_act_is_always_followed_by_a_look() {
    let facts = facts(LifeState::Accessible, true);
    let terms = Terms {
        kind: Kind::Move,
        committed: false,
        facts: &facts,
        protocol: Protocol::default(),
    };
    for direction in [Direction::Forward, Direction::Back] {
        let acting = at(direction, Goal::Stage, Phase::Acting);
        let to = transition(acting, &Event::Acted, terms);
        assert_eq!(to, Ok(at(direction, Goal::Stage, Phase::Looking)));
        assert!(
            transition(acting, &Event::Holds, terms).is_err(),
            "an act is no proof"
        );
    }
}

#[test]
fn what_is_over_takes_no_event_and_what_is_stuck_only_resume() {
    let facts = facts(LifeState::Accessible, true);
    let terms = Terms {
        kind: Kind::Move,
        committed: false,
        facts: &facts,
        protocol: Protocol::default(),
    };
    for state in [
        State::Done { owed: false },
        State::Done { owed: true },
        State::Undone,
    ] {
        for event in [Event::Holds, Event::Acted, Event::Resume, Event::Cancel(reason())] {
            assert!(transition(state, &event, terms).is_err(), "{state:?} {event:?}");
        }
    }
    let stuck = State::Stuck {
        direction: Direction::Back,
        goal: Goal::Stage,
    };
    assert!(transition(stuck, &Event::Holds, terms).is_err());
    assert_eq!(
        transition(stuck, &Event::Resume, terms),
        Ok(at(Direction::Back, Goal::Stage, Phase::Looking))
    );
}

#[test]
fn only_a_dead_sources_clients_are_led_and_only_to_a_copy_that_is_to_be_up() {
    let dead = |life, named| Facts {
        source_dead: true,
        lead: Some(crate::handover::record::Lead::default()),
        ..facts(life, named)
    };
    let leads = |facts: &Facts| walk(Kind::Move, facts).0.contains(&Goal::Lead);
    let accessible = dead(LifeState::Accessible, true);
    let (seen, _) = walk(Kind::Move, &accessible);
    let at = seen.iter().position(|goal| *goal == Goal::Lead).unwrap();
    assert_eq!((seen[at - 1], seen[at + 1]), (Goal::Fence, Goal::Stage));
    // It is dead: that two copies must not run at once does not matter.
    assert!(leads(&Facts {
        overlap: false,
        ..accessible.clone()
    }));
    assert!(!leads(&Facts {
        source_dead: false,
        ..accessible.clone()
    }));
    assert!(
        !leads(&Facts {
            lead: None,
            ..accessible.clone()
        }),
        "switched off"
    );
    assert!(
        !leads(&Facts {
            old_addresses: Vec::new(),
            ..accessible
        }),
        "nothing to lead from"
    );
    for (life, named) in [
        (LifeState::Accessible, false),
        (LifeState::Running, true),
        (LifeState::Stopped, true),
        (LifeState::Failed, true),
    ] {
        assert!(!leads(&dead(life, named)), "{life:?}, named: {named}");
    }
}
