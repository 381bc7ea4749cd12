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
