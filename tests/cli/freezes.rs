//! What handoverctl says of freezing and thawing.

use super::fake::{Fake, Script};
use super::process::{code, err, json, out, run};

#[tokio::test]
async fn it_is_frozen_with_a_reason_shown_and_thawed() {
    let fake = Fake::start(Script::Done).await;
    let address = &fake.bus.address;
    let told = run(address, "freeze storage").await;
    assert_eq!((code(&told), err(&told)), (0, ""), "{told:?}");
    let text = out(&told);
    assert!(
        text.starts_with("frozen since ") && text.ends_with(": uid 0 froze it (storage)\n"),
        "{text}"
    );
    let shown = json(&run(address, "freeze --show --json").await);
    assert_eq!(
        (&shown["since"], &shown["why"]),
        (&1.into(), &"uid 0 froze it (storage)".into())
    );
    let thawed = run(address, "thaw").await;
    assert!(out(&thawed).starts_with("not frozen"), "{thawed:?}");
    assert_eq!(fake.calls(), ["Freeze storage", "Thaw"]);
    let both = run(address, "freeze why --show").await;
    assert_eq!(code(&both), 2, "{both:?}");
}
