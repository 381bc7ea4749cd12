//! The DNS adapter against real servers: every case runs against BIND and against Knot, each test with a server of its
//! own on loopback that it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Makes a test of each case for each server. A case is an `async fn` with the server as its type parameter.
macro_rules! on_every_server {
    ($($case:ident),* $(,)?) => {
        mod bind {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case::<crate::bind::Bind>().await;
                }
            )*
        }
        mod knot {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case::<crate::knot::Knot>().await;
                }
            )*
        }
    };
}

#[path = "dns/answers.rs"]
mod answers;
#[path = "dns/batches.rs"]
mod batches;
#[path = "dns/bind.rs"]
mod bind;
#[path = "dns/change.rs"]
mod change;
#[path = "dns/knot.rs"]
mod knot;
#[path = "dns/late.rs"]
mod late;
#[path = "dns/lowering.rs"]
mod lowering;
#[path = "dns/proxy.rs"]
mod proxy;
#[path = "dns/question.rs"]
mod question;
#[path = "dns/races.rs"]
mod races;
#[path = "dns/records.rs"]
mod records;
#[path = "dns/refusals.rs"]
mod refusals;
#[path = "dns/secondaries.rs"]
mod secondaries;
#[path = "dns/server.rs"]
mod server;
#[path = "dns/swaps.rs"]
mod swaps;
