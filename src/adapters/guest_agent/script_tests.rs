use proptest::prelude::*;

use super::*;
use crate::adapters::guest_agent::answer::tests::web;
use crate::model::placement::WantsLink;

const STEPS: [GuestStep; 7] = [
    GuestStep::Install,
    GuestStep::Link(Enablement::Enabled),
    GuestStep::Link(Enablement::Disabled),
    GuestStep::Link(Enablement::Masked),
    GuestStep::Start(Enablement::Enabled),
    GuestStep::Stop,
    GuestStep::Uninstall,
];

fn render(placement: &Placement, step: GuestStep) -> Result<String, Unrenderable> {
    act(
        &Root::guest(),
        placement,
        step,
        Attempt(7),
        Duration::from_secs(30),
    )
}

/// What a POSIX shell makes of one word in single quotes and escaped single quotes; `None` if it is not one word.
fn unquote(word: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = word;
    loop {
        rest = rest.strip_prefix('\'')?;
        let (inside, after) = rest.split_once('\'')?;
        out.push_str(inside);
        match after.strip_prefix("\\'") {
            Some(next) => {
                out.push('\'');
                rest = next;
            }
            None => return after.is_empty().then_some(out),
        }
    }
}

proptest! {
    #[test]
    fn quoted_text_is_one_word_and_nothing_else(text in any::<String>()) {
        let text = text.replace('\0', "");
        prop_assert_eq!(unquote(&quote(&text)), Some(text));
    }

    #[test]
    fn no_content_of_a_file_leaves_its_quotes(content in any::<Vec<u8>>()) {
        let mut placement = web();
        placement.files[0].content = content;
        let script = render(&placement, GuestStep::Install).unwrap();
        let line = script.split("\nfile ").nth(1).unwrap();
        let argument = line.split("}\nmain </dev/null").next().unwrap().trim_end();
        let last = argument.rsplit_once(" 'text' ").or_else(|| argument.rsplit_once(" 'base64' ")).unwrap().1;
        prop_assert!(unquote(last).is_some());
    }
}

#[test]
fn every_step_renders_and_ends_with_the_call_of_main() {
    let placement = web();
    for step in STEPS {
        let script = render(&placement, step).unwrap();
        assert!(script.ends_with("}\nmain </dev/null\n"), "{step:?}");
        assert!(script.contains("attempt='00000000000000000007'\n"), "{step:?}");
        assert!(!script.lines().any(|line| line.starts_with('#')), "{step:?}");
        assert_eq!(
            Some(script.as_str()),
            render(&placement, step).ok().as_deref(),
            "it is a pure function"
        );
    }
    assert!(
        !look(&Root::guest(), &placement).unwrap().contains("attempt="),
        "a look has no attempt"
    );
}

#[test]
fn a_secret_stands_only_in_the_script_that_installs_it() {
    let mut placement = web();
    placement.files[0].content = b"hunter2".to_vec();
    for step in STEPS {
        let script = render(&placement, step).unwrap();
        assert_eq!(script.contains("hunter2"), step == GuestStep::Install, "{step:?}");
    }
    assert!(!look(&Root::guest(), &placement).unwrap().contains("hunter2"));
}

#[test]
fn what_is_not_of_the_right_form_is_not_rendered() {
    type Change = fn(&mut Placement);
    let cases: [(&str, Change); 14] = [
        ("a mount point that is not absolute", |p| {
            p.mount_point = "opt/web".to_owned();
        }),
        ("a path with ..", |p| {
            p.files[0].path = "/etc/../shadow".to_owned();
        }),
        ("a path with an empty part", |p| {
            p.files[0].path = "/etc//shadow".to_owned();
        }),
        ("a path with a line break", |p| {
            p.files[0].path = "/etc/a\nb".to_owned();
        }),
        ("a path of other than ASCII", |p| {
            p.files[0].path = "/etc/ü".to_owned();
        }),
        ("a path that ends in a blank", |p| {
            p.files[0].path = "/etc/a ".to_owned();
        }),
        ("an owner that is an option", |p| {
            p.files[0].owner = "--reference=/x".to_owned();
        }),
        ("a user with a blank", |p| p.user = Some("a b".to_owned())),
        ("a mode that is none", |p| p.files[0].mode = 0o10_000),
        ("a unit file elsewhere", |p| {
            p.unit_files[0].path = "/etc/systemd/system/web.service".to_owned();
        }),
        ("a unit file without the marker", |p| {
            p.unit_files[0].content = b"[Unit]\n".to_vec();
        }),
        ("no mount unit", |p| p.mount_unit = "other.mount".to_owned()),
        ("a link of another disk", |p| {
            p.links[0].path = "/etc/systemd/system/multi-user.target.wants/web.service".to_owned();
        }),
        ("a link to somewhere else", |p| {
            p.links[0].target = "/etc/systemd/system.attached/sshd.service".to_owned();
        }),
    ];
    for (what, change) in cases {
        let mut placement = web();
        change(&mut placement);
        let error = render(&placement, GuestStep::Install).unwrap_err();
        assert_eq!(error.service, "web", "{what}");
    }
    let mut placement = web();
    placement.links.push(WantsLink {
        path: "/x".to_owned(),
        target: "/y".to_owned(),
    });
    assert!(render(&placement, GuestStep::Stop).is_err());
    assert!(
        act(
            &Root::guest(),
            &web(),
            GuestStep::Stop,
            Attempt(u64::MAX),
            Duration::ZERO
        )
        .is_err()
    );
}

#[test]
fn waits_in_the_guest_end_before_the_deadline() {
    for seconds in [0, 1, 2, 5, 10, 60, 600] {
        let deadline = Duration::from_secs(seconds);
        assert!(limit(deadline) <= seconds.max(1), "{seconds}");
        assert!((1..=10).contains(&patience(deadline)), "{seconds}");
    }
    assert_eq!(
        (limit(Duration::from_secs(60)), patience(Duration::from_secs(60))),
        (55, 10)
    );
}
