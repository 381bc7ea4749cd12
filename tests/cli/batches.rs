//! What the command line says of whole guests, plans and decisions.

use super::fake::{Fake, Script};
use super::process::{code, err, json, out, run};

#[tokio::test]
async fn a_batch_tells_what_has_become_of_each_service_and_exits_with_1_if_one_failed() {
    let fake = Fake::start(Script::Batch).await;
    let output = run(
        &fake.bus.address,
        "move g1 spread --partial --per-guest 2 --parallel 3",
    )
    .await;
    assert_eq!((code(&output), out(&output)), (1, ""), "{output:?}");
    assert!(
        err(&output).ends_with(
            "job 7: failed after 2.3 s: 1 of 2 services moved away from g1\n\
             job 7: api to g3: failed: port 80 refuses (CheckFailed) (job 9)\n"
        ),
        "{}",
        err(&output)
    );
    assert_eq!(
        fake.calls(),
        ["Move g1 spread parallel=3,partial=yes,per_guest=2"]
    );
    let fake = Fake::start(Script::Batch).await;
    let job = json(&run(&fake.bus.address, "move g1 spread --json").await);
    assert_eq!(job["error_name"], "Incomplete");
    assert_eq!(job["members"][1]["service"], "api");
    assert_eq!(
        (&job["members"][0]["job"], &job["members"][0]["result"]),
        (&8.into(), &"done".into())
    );
}

#[tokio::test]
async fn a_guest_without_services_is_done() {
    let fake = Fake::start(Script::Empty).await;
    let output = run(&fake.bus.address, "move g1 g2").await;
    assert_eq!(
        (code(&output), out(&output)),
        (0, "job 7: done in 2.3 s: g1 has no service, nothing to do\n")
    );
}

#[tokio::test]
async fn a_plan_is_shown_and_begun() {
    let fake = Fake::start(Script::Done).await;
    let output = run(&fake.bus.address, "plan g1 --drain 30s").await;
    assert_eq!(code(&output), 0, "{output:?}");
    let text = out(&output);
    assert!(
        text.starts_with("plan 3f9a1c: 2 services of g1 to spread\n"),
        "{text}"
    );
    assert!(text.contains("api      g1    nowhere"), "{text}");
    assert!(
        text.contains("\napi: not g2, g3: it lacks the label ssd\n"),
        "{text}"
    );
    assert!(!text.contains("web: not g3"), "only with --rejected: {text}");
    assert!(text.contains("\nexpected: about 9.0 s\n"), "{text}");
    let output = run(&fake.bus.address, "apply 3f9a1c").await;
    assert!(out(&output).starts_with("job 7: done in 2.3 s"), "{output:?}");
    assert_eq!(fake.calls(), ["Plan g1 least-loaded drain=30s", "Apply"]);
    let plan = json(&run(&fake.bus.address, "plan g1 spread --json").await);
    assert_eq!(
        (&plan["id"], &plan["entries"][0]["load"][1]),
        (&"3f9a1c".into(), &0.2.into())
    );
    assert_eq!(plan["entries"][1]["target"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_plan_that_is_not_there_or_outdated_exits_with_3() {
    let fake = Fake::start(Script::Gone).await;
    for (line, name) in [
        ("apply 000000 --json", "NoSuchPlan"),
        ("apply ../job/7 --json", "NoSuchPlan"),
    ] {
        let output = run(&fake.bus.address, line).await;
        let error: serde_json::Value = serde_json::from_str(err(&output)).unwrap();
        assert_eq!(
            (code(&output), error["error"].as_str()),
            (3, Some(name)),
            "{line}"
        );
    }
    run(&fake.bus.address, "plan g1").await;
    let output = run(&fake.bus.address, "apply 3f9a1c").await;
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("g2 is gone (PlanOutdated)"), "{output:?}");
}

#[tokio::test]
async fn what_a_death_would_do_is_told_for_one_guest_or_all() {
    let fake = Fake::start(Script::Done).await;
    let one = run(&fake.bus.address, "what-if dies g1").await;
    assert!(
        out(&one).starts_with("if g1 dies, 1 of 2 services have no home\n"),
        "{one:?}"
    );
    assert!(
        out(&one).contains("api: not g2, g3: it lacks the label ssd"),
        "{one:?}"
    );
    let all = run(&fake.bus.address, "what-if dies").await;
    assert_eq!(
        out(&all),
        "if g1 dies, 1 of 2 services have no home\nif g2 dies: it has no service\n"
    );
    let list = json(&run(&fake.bus.address, "what-if dies --json").await);
    assert_eq!(list[0]["entries"][1]["service"], "api");
    assert_eq!(fake.calls(), ["WhatIf dies g1", "WhatIf dies ", "WhatIf dies "]);
}

#[tokio::test]
async fn a_decision_is_told_with_what_it_was_made_from() {
    let fake = Fake::start(Script::Done).await;
    let output = run(&fake.bus.address, "why web").await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(out(&output).contains("decided:  g2: it is the least loaded that fits; job 7\n"));
    assert!(
        out(&output).ends_with("g3  it lacks the label ssd\n"),
        "{output:?}"
    );
    let decision = json(&run(&fake.bus.address, "why web --json").await);
    assert_eq!(
        (&decision["service"], &decision["inputs"][0]["of"]),
        (&"web".into(), &"g3".into())
    );
}
