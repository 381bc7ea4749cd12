//! What handoverctl says of data volumes.

use super::fake::{Fake, Script};
use super::process::{code, json, out, run};

#[tokio::test]
async fn a_removal_tells_where_the_data_stays_unless_it_is_to_be_deleted() {
    let fake = Fake::start(Script::Done).await;
    let address = &fake.bus.address;
    let told = "its data volume stays: /pool/web.data.raw on hv1";
    let output = run(address, "remove web").await;
    assert!(code(&output) == 0 && out(&output).contains(told), "{output:?}");
    let kept = &json(&run(address, "remove web --json").await)["kept_volume"];
    assert_eq!(kept["path"], "/pool/web.data.raw");
    let output = run(address, "remove web --delete-data").await;
    assert!(!out(&output).contains(told), "{output:?}");
    let calls: Vec<_> = fake
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("Remove"))
        .collect();
    assert!(
        !calls[0].contains("delete_data") && calls[2].contains("delete_data"),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_service_shows_its_volume_and_a_job_its_gap() {
    let fake = Fake::start(Script::Done).await;
    let address = &fake.bus.address;
    let service = &json(&run(address, "services --json").await)[0];
    assert_eq!(
        (&service["volume"]["size"], &service["volume"]["mount"]),
        (&1_073_741_824_u64.into(), &"/srv/web".into())
    );
    let shown = run(address, "services web").await;
    let line = "data:        /pool/web.data.raw on hv1: 1.0 GiB, ext4, mounted at /srv/web\n";
    assert!(out(&shown).contains(line), "{shown:?}");
    fake.had_gap(430);
    let output = run(address, "move web g2").await;
    assert!(out(&output).contains("gap in service: 430 ms"), "{output:?}");
    assert_eq!(json(&run(address, "move web g2 --json").await)["gap_ms"], 430);
}
