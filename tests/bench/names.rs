//! What a batch saves: a thousand names published together against a thousand published one after the other, at Knot
//! and at BIND, in one run. `cargo bench --bench names`; ROUNDS=3 by default. Exits 1 if a bound is exceeded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    dead_code,
    reason = "the servers and their proxy are those of the tests, which do more with them"
)]

#[path = "../dns/bind.rs"]
mod bind;
#[path = "../dns/change.rs"]
mod change;
#[path = "../dns/knot.rs"]
mod knot;
#[path = "../dns/proxy.rs"]
mod proxy;
#[path = "../dns/question.rs"]
mod question;
#[path = "../dns/server.rs"]
mod server;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use handoverd::model::name::NameChange;
use handoverd::ports::{NameServer, Swapped};

use crate::proxy::{Proxy, Treatment};
use crate::server::{KEYS, Running, SECRET, Server, key, primaries_at};

/// How many names are published.
const NAMES: usize = 1000;

fn main() -> ExitCode {
    // `cargo test --benches` runs it too, to see only that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let knot = runtime.block_on(compare::<knot::Knot>(1.0 / 20.0));
    let bind = runtime.block_on(compare::<bind::Bind>(1.0 / 3.0));
    if knot && bind {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether the median of the rounds' ratios is within `bound`, and every batch took the least number of messages.
async fn compare<S: Server>(bound: f64) -> bool {
    let rounds: usize = std::env::var("ROUNDS").map_or(3, |text| text.parse().unwrap());
    let mut ratios = Vec::new();
    let mut least = true;
    for round in 1..=rounds {
        let server = Running::<S>::start().await;
        let proxy = Proxy::before(server.address(), |_| Treatment::Pass).await;
        let primaries = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));

        let changes = creations("batch");
        let begin = Instant::now();
        let ends = join_all(changes.iter().map(|change| primaries.swap(change))).await;
        let together = begin.elapsed();
        assert!(ends.iter().all(|end| *end.as_ref().unwrap() == Swapped::Yes));
        let updates = proxy.updates();
        let bytes: usize = updates.iter().map(Vec::len).sum();
        let fewest = bytes.div_ceil(usize::from(u16::MAX));
        least &= updates.len() == fewest;

        // A daemon of its own: without a window nothing but the messages takes time.
        let primaries = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
        let primaries = primaries.with_window(Duration::ZERO);
        let begin = Instant::now();
        for change in creations("alone") {
            assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
        }
        let alone = begin.elapsed();
        assert_eq!(proxy.updates().len() - updates.len(), NAMES);
        ratios.push(together.as_secs_f64() / alone.as_secs_f64());
        println!(
            "{}: round {round}: {NAMES} names together {:.3} s in {} messages (the least is {fewest}), one by one {:.3} s",
            S::PROGRAM,
            together.as_secs_f64(),
            updates.len(),
            alone.as_secs_f64()
        );
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    let good = ratio <= bound && least;
    println!(
        "{}: together / one by one {ratio:>8.4}  bound {bound:.4} {}",
        S::PROGRAM,
        if good { "ok" } else { "TOO MUCH" }
    );
    good
}

fn creations(prefix: &str) -> Vec<NameChange> {
    (0..NAMES)
        .map(|n| change::create(&format!("{prefix}{n:04}.svc.lab"), "192.0.2.1"))
        .collect()
}
