use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Everything that may be destroyed or moved is.
fn eager() -> Policy {
    Policy {
        may_destroy: true,
        silence: 60 * SECOND,
        paused: Some(9 * SECOND),
        ..Policy::default()
    }
}

fn home() -> Circumstances {
    Circumstances::default()
}

fn stopped(reason: StopReason) -> Sign {
    Sign::Lifecycle(Lifecycle::Stopped(reason))
}

fn shutoff(reason: ShutoffReason) -> Sign {
    Sign::Listed {
        state: DomainState::Shutoff,
        shutoff: reason,
        managed_save: false,
    }
}

fn listed(state: DomainState) -> Sign {
    Sign::Listed {
        state,
        shutoff: ShutoffReason::Unknown,
        managed_save: false,
    }
}

#[track_caller]
fn assert_rows(rows: &[(&str, Sign, Circumstances, Policy, Verdict)]) {
    for (row, sign, around, policy, verdict) in rows {
        assert_eq!(judge(*sign, *around, *policy).0, *verdict, "{row}");
    }
}

#[test]
fn qemu_that_is_killed_is_a_death_at_home_only() {
    let killed = stopped(StopReason::Failed);
    let (policy, away) = (
        Policy::default(),
        Circumstances {
            home: false,
            ..home()
        },
    );
    let incoming = Circumstances {
        incoming: true,
        ..home()
    };
    let elsewhere = Circumstances {
        active_elsewhere: true,
        ..home()
    };
    assert_rows(&[
        (
            "killed, OOM, watchdog poweroff",
            killed,
            home(),
            policy,
            Verdict::Dead,
        ),
        (
            "failed incoming migration",
            killed,
            incoming,
            policy,
            Verdict::Nothing,
        ),
        (
            "failed incoming migration, other host",
            killed,
            away,
            policy,
            Verdict::Nothing,
        ),
        (
            "it runs at its source",
            killed,
            elsewhere,
            policy,
            Verdict::Nothing,
        ),
        (
            "listed: crashed",
            shutoff(ShutoffReason::Crashed),
            home(),
            policy,
            Verdict::Dead,
        ),
        (
            "listed: failed",
            shutoff(ShutoffReason::Failed),
            home(),
            policy,
            Verdict::Dead,
        ),
        (
            "listed: failed incoming",
            shutoff(ShutoffReason::Failed),
            away,
            policy,
            Verdict::Nothing,
        ),
        (
            "listed: crashed, runs elsewhere",
            shutoff(ShutoffReason::Crashed),
            elsewhere,
            policy,
            Verdict::Nothing,
        ),
    ]);
}

#[test]
fn a_panic_is_a_death_when_on_crash_has_done_its_part() {
    let panicked = Sign::Lifecycle(Lifecycle::Crashed);
    let with = |on_crash| Circumstances { on_crash, ..home() };
    assert_rows(&[
        (
            "pvpanic, destroy",
            panicked,
            with(OnCrash::Destroy),
            eager(),
            Verdict::Nothing,
        ),
        (
            "then stopped",
            stopped(StopReason::Crashed),
            home(),
            eager(),
            Verdict::Dead,
        ),
        (
            "pvpanic, restart",
            panicked,
            with(OnCrash::Restart),
            eager(),
            Verdict::Nothing,
        ),
        (
            "then reboot",
            Sign::Rebooted,
            home(),
            eager(),
            Verdict::HungAfter(300 * SECOND),
        ),
        (
            "then resumed",
            Sign::Lifecycle(Lifecycle::Resumed),
            home(),
            eager(),
            Verdict::Up,
        ),
        (
            "pvpanic, preserve",
            panicked,
            with(OnCrash::Preserve),
            eager(),
            Verdict::HungAfter(Duration::ZERO),
        ),
        (
            "preserve, not to be destroyed",
            panicked,
            with(OnCrash::Preserve),
            Policy::default(),
            Verdict::Nothing,
        ),
        (
            "listed: crashed and preserved",
            listed(DomainState::Crashed),
            home(),
            eager(),
            Verdict::HungAfter(Duration::ZERO),
        ),
        (
            "the same, not to be destroyed",
            listed(DomainState::Crashed),
            home(),
            Policy::default(),
            Verdict::Nothing,
        ),
    ]);
}

#[test]
fn what_somebody_switched_off_is_treated_by_policy() {
    let by = |treatment| Policy {
        power_off: treatment,
        destroyed: treatment,
        ..Policy::default()
    };
    let (leave, now) = (by(Treatment::Leave), by(Treatment::Evacuate(Duration::ZERO)));
    let down = Circumstances {
        host_goes_down: true,
        ..home()
    };
    let away = Circumstances {
        home: false,
        ..home()
    };
    let destroyed = stopped(StopReason::Destroyed);
    let shut = stopped(StopReason::Shutdown);
    let usual = Policy::default();
    assert_rows(&[
        (
            "destroyed",
            destroyed,
            home(),
            usual,
            Verdict::DeadAfter(5 * SECOND),
        ),
        ("destroyed, at once", destroyed, home(), now, Verdict::Dead),
        ("destroyed, left", destroyed, home(), leave, Verdict::Left),
        (
            "destroyed as the host goes down",
            destroyed,
            down,
            now,
            Verdict::Nothing,
        ),
        (
            "destroyed where it only was to come",
            destroyed,
            away,
            now,
            Verdict::Nothing,
        ),
        (
            "powered off or virsh shutdown",
            shut,
            home(),
            usual,
            Verdict::DeadAfter(60 * SECOND),
        ),
        ("powered off, left", shut, home(), leave, Verdict::Left),
        (
            "powered off as the host goes down",
            shut,
            down,
            now,
            Verdict::Nothing,
        ),
        (
            "listed: destroyed",
            shutoff(ShutoffReason::Destroyed),
            home(),
            usual,
            Verdict::DeadAfter(5 * SECOND),
        ),
        (
            "listed: shutdown",
            shutoff(ShutoffReason::Shutdown),
            home(),
            usual,
            Verdict::DeadAfter(60 * SECOND),
        ),
        (
            "listed: shutdown, left",
            shutoff(ShutoffReason::Shutdown),
            home(),
            leave,
            Verdict::Left,
        ),
    ]);
    // SIGTERM to QEMU, and the guest's own way down: STOPPED follows.
    for by_host in [true, false] {
        let event = Sign::Lifecycle(Lifecycle::ShuttingDown { by_host });
        assert_eq!(judge(event, home(), now).0, Verdict::Nothing);
    }
}

#[test]
fn migrated_saved_and_reverted_guests_are_never_dead() {
    let policy = eager();
    let saved = Sign::Listed {
        state: DomainState::Shutoff,
        shutoff: ShutoffReason::Crashed,
        managed_save: true,
    };
    assert_rows(&[
        (
            "migrated",
            stopped(StopReason::Migrated),
            home(),
            policy,
            Verdict::Elsewhere,
        ),
        (
            "saved",
            stopped(StopReason::Saved),
            home(),
            policy,
            Verdict::Asleep,
        ),
        (
            "snapshot",
            stopped(StopReason::FromSnapshot),
            home(),
            policy,
            Verdict::Nothing,
        ),
        (
            "listed: migrated",
            shutoff(ShutoffReason::Migrated),
            home(),
            policy,
            Verdict::Elsewhere,
        ),
        (
            "listed: a definition that it left behind",
            shutoff(ShutoffReason::Migrated),
            Circumstances {
                home: false,
                ..home()
            },
            policy,
            Verdict::Nothing,
        ),
        (
            "listed: saved",
            shutoff(ShutoffReason::Saved),
            home(),
            policy,
            Verdict::Asleep,
        ),
        ("listed: managed save", saved, home(), policy, Verdict::Asleep),
        (
            "listed: snapshot",
            shutoff(ShutoffReason::FromSnapshot),
            home(),
            policy,
            Verdict::Nothing,
        ),
    ]);
}

#[test]
fn a_guest_that_is_paused_can_go_on() {
    let suspended = Sign::Lifecycle(Lifecycle::Suspended);
    let incoming = Circumstances {
        incoming: true,
        ..home()
    };
    assert_rows(&[
        (
            "suspended, I/O error",
            suspended,
            home(),
            Policy::default(),
            Verdict::Nothing,
        ),
        (
            "suspended, by policy",
            suspended,
            home(),
            eager(),
            Verdict::HungAfter(9 * SECOND),
        ),
        ("coming in", suspended, incoming, eager(), Verdict::Nothing),
        (
            "listed: paused",
            listed(DomainState::Paused),
            home(),
            Policy::default(),
            Verdict::Nothing,
        ),
        (
            "listed: paused, by policy",
            listed(DomainState::Paused),
            home(),
            eager(),
            Verdict::HungAfter(9 * SECOND),
        ),
        (
            "suspended to RAM",
            Sign::Lifecycle(Lifecycle::PmSuspended),
            home(),
            eager(),
            Verdict::Nothing,
        ),
        (
            "listed: suspended to RAM",
            listed(DomainState::Suspended),
            home(),
            eager(),
            Verdict::Nothing,
        ),
    ]);
}

#[test]
fn a_guest_that_is_silent_may_hang_if_it_may_be_destroyed() {
    for (sign, after) in [
        (Sign::Rebooted, 300),
        (Sign::Agent(false), 60),
        (Sign::Answered(false), 60),
    ] {
        assert_eq!(judge(sign, home(), eager()).0, Verdict::HungAfter(after * SECOND));
        assert_eq!(judge(sign, home(), Policy::default()).0, Verdict::Nothing);
        // Before its agent has spoken for the first time it may still boot.
        let boots = Circumstances {
            spoke: false,
            ..home()
        };
        assert_eq!(judge(sign, boots, eager()).0, Verdict::HungAfter(300 * SECOND));
    }
}

#[test]
fn what_happened_while_libvirtd_was_down_is_found_by_listing() {
    let policy = Policy::default();
    let silent = Circumstances {
        all_hosts_answer: false,
        ..home()
    };
    let elsewhere = Circumstances {
        active_elsewhere: true,
        ..home()
    };
    assert_rows(&[
        (
            "listed: daemon",
            shutoff(ShutoffReason::Daemon),
            home(),
            policy,
            Verdict::Dead,
        ),
        (
            "listed: unknown",
            shutoff(ShutoffReason::Unknown),
            home(),
            policy,
            Verdict::DeadAfter(60 * SECOND),
        ),
        (
            "listed: unknown, runs elsewhere",
            shutoff(ShutoffReason::Unknown),
            elsewhere,
            policy,
            Verdict::Nothing,
        ),
        ("known nowhere", Sign::Absent, home(), policy, Verdict::Dead),
        (
            "known nowhere, a host is silent",
            Sign::Absent,
            silent,
            policy,
            Verdict::Nothing,
        ),
        (
            "gone from one host, runs on another",
            Sign::Absent,
            elsewhere,
            policy,
            Verdict::Nothing,
        ),
        (
            "going down",
            listed(DomainState::ShuttingDown),
            home(),
            policy,
            Verdict::Nothing,
        ),
        (
            "no state",
            listed(DomainState::Unknown),
            home(),
            policy,
            Verdict::Nothing,
        ),
    ]);
}

#[test]
fn a_guest_that_is_seen_running_is_up_or_elsewhere() {
    let away = Circumstances {
        home: false,
        ..home()
    };
    let policy = eager();
    for sign in [
        Sign::Lifecycle(Lifecycle::Started { migrated: false }),
        Sign::Lifecycle(Lifecycle::Started { migrated: true }),
        Sign::Lifecycle(Lifecycle::Resumed),
        listed(DomainState::Running),
    ] {
        assert_eq!(judge(sign, home(), policy).0, Verdict::Up);
        assert_eq!(judge(sign, away, policy).0, Verdict::Elsewhere);
    }
    assert_eq!(judge(Sign::Agent(true), home(), policy).0, Verdict::Up);
    assert_eq!(judge(Sign::Answered(true), home(), policy).0, Verdict::Up);
}

#[test]
fn changes_of_definitions_and_unknown_events_mean_nothing() {
    for event in [
        Lifecycle::Defined,
        Lifecycle::Undefined,
        Lifecycle::Other(77, 1),
        Lifecycle::Stopped(StopReason::Other(9)),
    ] {
        assert_eq!(judge(Sign::Lifecycle(event), home(), eager()).0, Verdict::Nothing);
    }
}
