//! What handoverctl says of audits, and what it exits with.

use super::fake::{Fake, Script};
use super::process::{code, err, json, out, run};

#[tokio::test]
async fn an_audit_tells_each_finding_with_what_each_side_says_and_exits_with_1() {
    let fake = Fake::start(Script::Done).await;
    let output = run(&fake.bus.address, "audit").await;
    assert_eq!((code(&output), err(&output)), (1, ""), "{output:?}");
    let text = out(&output);
    assert!(
        text.starts_with(
            "SERVICE  GUEST  FINDING       BREAKS     COPIES  REMEDY     OUTCOME\n\
             web      g2     disk-missing  one-truth  1       when-told  -\n"
        ),
        "{text}"
    );
    for line in [
        "web: g2 lacks the bundle disk in its persistent definition\n",
        "  remedy   with --repair: gives g2 the bundle disk again\n",
        "  table    accessible, enabled, on g2\n",
        "  libvirt  g2 has bundle live\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    let rows = json(&run(&fake.bus.address, "audit --json").await);
    assert_eq!(rows[0]["kind"], "disk-missing");
    assert_eq!(
        (&rows[0]["copies"], &rows[0]["repair"]),
        (&1.into(), &"give-disk".into())
    );
    assert_eq!(fake.calls(), ["Audit ", "Audit "]);
}

#[tokio::test]
async fn an_audit_that_finds_nothing_or_repaired_all_exits_with_0() {
    let fake = Fake::start(Script::Done).await;
    let address = &fake.bus.address;
    let output = run(address, "audit --repair").await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(out(&output).contains("when-told  done\n"), "{output:?}");
    // The fake's only finding is of web.
    let output = run(address, "audit api").await;
    assert_eq!(
        (code(&output), out(&output)),
        (0, "nothing found: table, zone, libvirt and guests agree\n")
    );
    let output = run(address, "audit api --json").await;
    assert_eq!((code(&output), json(&output)), (0, serde_json::json!([])));
    assert_eq!(
        fake.calls(),
        ["Audit repair=yes", "Audit service=api", "Audit service=api"]
    );
}

/// A stand-in for the daemon's program, which tells its arguments.
fn stand_in(folder: &std::path::Path, code: i32) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(format!("handoverd-{code}"));
    std::fs::write(&path, format!("#!/bin/sh\necho \"$*\"\nexit {code}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn recover_table_runs_the_daemons_program_and_needs_no_bus() {
    let nowhere = "unix:path=/nonexistent/bus";
    let folder = tempfile::tempdir().unwrap();
    let good = stand_in(folder.path(), 0);
    let output = run(
        nowhere,
        &format!("recover-table --dry-run --config /x.toml --program {good}"),
    )
    .await;
    assert_eq!(
        (code(&output), out(&output)),
        (0, "--config /x.toml --recover-table --dry-run\n"),
        "{output:?}"
    );
    let output = run(nowhere, &format!("recover-table --program {good}")).await;
    assert_eq!(
        out(&output),
        "--config /etc/handoverd/handoverd.toml --recover-table\n"
    );
    let bad = stand_in(folder.path(), 65);
    let output = run(nowhere, &format!("recover-table --program {bad}")).await;
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(err(&output).contains("has recovered nothing"), "{output:?}");
    let output = run(nowhere, "recover-table --program /nonexistent").await;
    assert!(
        code(&output) == 1 && err(&output).contains("is handoverd installed?"),
        "{output:?}"
    );
    assert_eq!(code(&run(nowhere, "recover-table --json").await), 2);
}
