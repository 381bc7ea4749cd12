//! A service that moves back and forth while four clients use it, 100 requests a second in all, through two caching
//! resolvers: one honours TTLs exactly, one remembers every address for 10 s at least, as some in the world do.
//!
//! A resolver's answer is a promise: whoever got it may use the address for as long as its TTL runs. So both resolvers are
//! asked ten times a second what they would tell, each answer is kept with its time and TTL, and the guests are asked
//! directly ten times a second whether they serve. `make load` makes 20 moves; `make test` four, for its time's sake.

use std::time::Instant;

use serde_json::Value;

use crate::lab::Lab;
use crate::load::Load;
use crate::moving::nothing_lost;

/// How many moves, an even number; `MOVES=` says another.
const MOVES: u32 = 4;
/// The resolvers in the client: the longest TTL in seconds that each gives for a name with one of 5 s.
const RESOLVERS: [(&str, u64); 2] = [("127.0.0.1", 5), ("127.0.0.2", 10)];
/// The addresses of g1 and g2.
const GUESTS: [&str; 2] = ["10.77.0.101", "10.77.0.102"];
/// Requests a second of each of the four clients.
const RATE: u32 = 25;
/// How often a second each guest is asked directly.
const PROBES: u32 = 10;
/// Longer than all of it takes, in seconds.
const LONGEST: u64 = 7200;
/// Within a promise nobody looked for at most so long, in seconds.
const UNWATCHED: f64 = 1.0;

/// The margin covers what the second resolver remembers too long: 5 s, a second because its cache counts in whole ones, and
/// another one.
const MARGIN: [&str; 2] = ["[drain]", "margin = \"7s\""];

/// A time during which an address may be used, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Promise {
    from: f64,
    until: f64,
}

/// A direct question to a guest: when it was sent, and whether it was answered.
#[derive(Debug, Clone, Copy)]
struct Probe {
    sent: f64,
    answered: bool,
}

/// What was promised of one address by any answer, as spans that do not touch.
fn promises(answers: &[Value], address: &str) -> Vec<Promise> {
    let given = answers.iter().flat_map(|one| one["given"].as_array().unwrap());
    let mut all: Vec<Promise> = given
        .filter(|one| one["address"] == address)
        .map(|one| {
            let from = one["at"].as_f64().unwrap();
            let until = from + one["ttl"].as_f64().unwrap();
            Promise { from, until }
        })
        .collect();
    all.sort_by(|a, b| a.from.total_cmp(&b.from));
    let mut spans: Vec<Promise> = Vec::new();
    for one in all {
        match spans.last_mut() {
            Some(last) if one.from <= last.until => last.until = last.until.max(one.until),
            _ => spans.push(one),
        }
    }
    spans
}

/// What a guest answered to direct questions, in the order of time.
fn probes(summary: &Value) -> Vec<Probe> {
    let all = summary["requests"].as_array().unwrap().iter();
    let mut all: Vec<Probe> = all
        .map(|one| Probe {
            sent: one["sent"].as_f64().unwrap(),
            answered: one.get("error").is_none(),
        })
        .collect();
    all.sort_by(|a, b| a.sent.total_cmp(&b.sent));
    all
}

/// Asserts that within the promise, as far as it was watched, every question was answered; the time in seconds that the guest
/// answered on after its end, as far as is known.
#[track_caller]
fn kept(address: &str, promise: Promise, probes: &[Probe]) -> f64 {
    let (Some(first), Some(last)) = (probes.first(), probes.last()) else {
        panic!("{address} was never asked");
    };
    assert!(
        first.sent < promise.from,
        "{address} was given before it was watched: {promise:?}"
    );
    let until = promise.until.min(last.sent);
    let within = |probe: &&Probe| (promise.from..=until).contains(&probe.sent);
    let mut before = promise.from;
    for probe in probes.iter().filter(within) {
        assert!(
            probe.answered,
            "{address} was promised until {:.2}, and did not serve {:.2} s before that",
            promise.until,
            promise.until - probe.sent
        );
        assert!(
            probe.sent - before < UNWATCHED,
            "{address} was not watched from {before:.2} to {:.2}",
            probe.sent
        );
        before = probe.sent;
    }
    assert!(
        until - before < UNWATCHED,
        "{address} was not watched at the end of {promise:?}"
    );
    let after = probes.iter().skip_while(|probe| probe.sent < until);
    let served = after.take_while(|probe| probe.answered).last();
    served.map_or(0.0, |probe| probe.sent - until)
}

fn moves() -> u32 {
    let Ok(said) = std::env::var("MOVES") else {
        return MOVES;
    };
    let number = said.parse().ok().filter(|number| number % 2 == 0 && *number > 0);
    number.unwrap_or_else(|| panic!("MOVES={said}: use an even number"))
}

/// What was at work during the moves, and what it saw.
struct Seen {
    /// The four clients.
    clients: [Value; 4],
    /// The watch over each of [`RESOLVERS`].
    resolvers: [Value; 2],
    /// The direct questions to each of [`GUESTS`].
    direct: [Value; 2],
}

/// Moves `web` so many times, from g1 to g2 first, under the eyes of all.
#[track_caller]
fn move_under_load(lab: &Lab, moves: u32) -> Seen {
    // The watch begins first and ends last.
    let direct = GUESTS.map(|at| {
        let url = format!("http://{at}:8080/");
        lab.load_for(LONGEST, &url, PROBES, &["--all"])
    });
    let resolvers = RESOLVERS.map(|(resolver, _)| {
        let asks = ["--resolver", resolver, "--name", "web.svc.lab"];
        lab.at_work("answers", &asks)
    });
    let clients = [0, 0, 1, 1].map(|which| {
        let (resolver, _) = RESOLVERS[which];
        lab.load_for(
            LONGEST,
            "http://web.svc.lab:8080/",
            RATE,
            &["--resolver", resolver],
        )
    });
    for number in 1..=moves {
        let target = if number % 2 == 1 { "g2" } else { "g1" };
        let moved = Instant::now();
        lab.ctl(&["move", "web", target]).ok();
        println!(
            "move {number} to {target}: {:.1} s",
            moved.elapsed().as_secs_f64()
        );
    }
    let clients = clients.map(Load::stop);
    Seen {
        clients,
        resolvers: resolvers.map(Load::stop),
        direct: direct.map(Load::stop),
    }
}

/// Asserts that the load was what it should be, and that every request of it was answered.
#[track_caller]
fn nothing_failed(seen: &Seen) {
    for client in &seen.clients {
        let told = ["sent", "answered", "failed", "latency"].map(|key| format!("{key} {}", client[key]));
        println!("a client: {}", told.join(", "));
    }
    let mut answered = 0;
    for client in &seen.clients {
        nothing_lost(client);
        for guest in ["g1", "g2"] {
            assert!(
                client["guests"][guest]["answered"].as_u64() > Some(0),
                "{client:#}"
            );
        }
        let sent = u32::try_from(client["sent"].as_u64().unwrap()).unwrap();
        let [first, last] = ["first", "last"].map(|key| client[key].as_f64().unwrap());
        let a_second = f64::from(sent - 1) / (last - first);
        assert!((a_second - f64::from(RATE)).abs() < 0.1, "{a_second} a second");
        answered += sent;
    }
    println!("{answered} requests in all, 0 failed");
}

/// Asserts that the resolvers were what they should be: always there, and as long of memory as is said.
#[track_caller]
fn resolvers_gave(seen: &Seen) {
    for (watch, (resolver, longest)) in seen.resolvers.iter().zip(RESOLVERS) {
        assert_eq!(watch["failures"], Value::Array(Vec::new()), "{resolver}");
        let given = watch["given"].as_array().unwrap();
        let most = given.iter().filter_map(|one| one["ttl"].as_u64()).max();
        assert_eq!(most, Some(longest), "the longest TTL that {resolver} gave");
        println!("{resolver}: {} answers, TTL up to {longest} s", given.len());
    }
}

#[test]
fn of_moves_back_and_forth_under_load_no_request_fails_and_every_address_given_lives_as_long_as_its_ttl() {
    let moves = moves();
    let lab = Lab::take();
    let _margin = lab.with_settings(&MARGIN);
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    let seen = move_under_load(&lab, moves);
    assert_eq!(lab.service("web")["generation"], moves + 1);
    nothing_failed(&seen);
    resolvers_gave(&seen);
    for (address, summary) in GUESTS.iter().zip(&seen.direct) {
        let (promises, probes) = (promises(&seen.resolvers, address), probes(summary));
        // One for each time that the service was there: on g1 first and last.
        let times = usize::try_from(moves / 2).unwrap() + usize::from(*address == GUESTS[0]);
        assert_eq!(promises.len(), times, "{address}: {promises:#?}");
        for promise in promises {
            let more = kept(address, promise, &probes);
            let span = promise.until - promise.from;
            println!("{address} was given for {span:.1} s, all of it good; served for {more:.1} s more");
        }
    }
}
