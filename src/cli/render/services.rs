//! Services as a table, and one service in full.

use super::Look;
use super::table::{Tone, Word, properties, table};
use super::text::{age, bytes, clean, or_dash, short_digest};
use crate::cli::rows::{Service, Standby, Volume};

/// The tone of a life state.
pub fn life_tone(state: &str) -> Tone {
    match state {
        "accessible" | "running" => Tone::Good,
        "failed" => Tone::Bad,
        "stopped" => Tone::Dim,
        _ => Tone::Warn,
    }
}

/// All services, one a row.
pub fn list(services: &[Service], look: Look) -> String {
    if services.is_empty() {
        return "no services\n".to_owned();
    }
    let rows = services
        .iter()
        .map(|service| {
            vec![
                service.id.clone().into(),
                or_dash(Some(&service.version)).into_owned().into(),
                or_dash(Some(&service.guest_name)).into_owned().into(),
                or_dash(Some(&service.host)).into_owned().into(),
                or_dash(service.address.as_deref()).into_owned().into(),
                state(service),
                or_dash(service.name.as_deref()).into_owned().into(),
                service.generation.to_string().into(),
            ]
        })
        .collect();
    let header = [
        "SERVICE",
        "VERSION",
        "GUEST",
        "HOST",
        "ADDRESS",
        "STATE",
        "NAME",
        "GENERATION",
    ];
    table(&header, rows, look)
}

/// The life state, and what differs from it.
fn state(service: &Service) -> Word {
    let mut text = service.life_state.clone();
    let mut tone = life_tone(&service.life_state);
    if !service.observed.is_empty() && service.observed != service.life_state {
        text = format!("{text} (seen {})", service.observed);
        tone = Tone::Warn;
    }
    if service.frozen.is_some() {
        text.push_str(", frozen");
        tone = Tone::Bad;
    }
    Word::new(text, tone)
}

/// One service in full; `now` in milliseconds since 1970.
pub fn detail(service: &Service, now: u64, look: Look) -> String {
    let guest = if service.host.is_empty() {
        format!("{} ({})", service.guest_name, service.guest)
    } else {
        format!("{} on {} ({})", service.guest_name, service.host, service.guest)
    };
    let bundle = format!("{} ({})", service.version, short_digest(&service.bundle));
    let mut rows = vec![
        ("service", Word::from(service.id.clone())),
        ("state", state(service)),
        ("wanted", or_dash(Some(&service.wanted)).into_owned().into()),
    ];
    if !service.observed.is_empty() {
        let seen = format!("{}, {}", service.observed, age(now, service.observed_at));
        rows.push(("seen", seen.into()));
    }
    rows.extend([
        (
            "enablement",
            Word::from(or_dash(Some(&service.enablement)).into_owned()),
        ),
        ("guest", guest.into()),
        (
            "address",
            or_dash(Some(&service.addresses.join(" "))).into_owned().into(),
        ),
        ("name", or_dash(service.name.as_deref()).into_owned().into()),
        ("bundle", bundle.into()),
        ("generation", service.generation.to_string().into()),
    ]);
    if let Some(volume) = &service.volume {
        let text = format!(
            "{} on {}: {}, {}, mounted at {}",
            volume.path,
            volume.host,
            bytes(volume.size),
            volume.filesystem,
            volume.mount
        );
        rows.push(("data", text.into()));
    }
    if !service.standbys.is_empty() {
        let told: Vec<String> = service.standbys.iter().map(standby).collect();
        rows.push(("standbys", told.join(", ").into()));
    }
    if let Some(reason) = &service.frozen {
        rows.push(("frozen", Word::new(reason.clone(), Tone::Bad)));
    }
    properties(rows, look)
}

/// `g2`, or `g2 (changing)` while it is not ready.
fn standby(standby: &Standby) -> String {
    match standby.state.as_str() {
        "ready" => standby.guest.clone(),
        state => format!("{} ({state})", standby.guest),
    }
}

/// What is left of a removed service: `its data volume stays: …`.
pub fn kept(volume: &Volume) -> String {
    format!(
        "its data volume stays: {} on {}; deploying it there again finds the data",
        clean(&volume.path),
        clean(&volume.host)
    )
}

/// Where a service is, for the line that ends a job: `web is on g2 (10.77.0.102), generation 4`.
pub fn place(service: &Service) -> String {
    let address = match service.address.as_deref() {
        Some(address) => format!(" ({})", clean(address)),
        None => String::new(),
    };
    let state = match service.life_state.as_str() {
        // What everybody expects needs no word.
        "" | "accessible" | "running" => String::new(),
        other => format!(", {}", clean(other)),
    };
    format!(
        "{} is on {}{address}, generation {}{state}",
        clean(&service.id),
        clean(&service.guest_name),
        service.generation
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A service as most tests want it.
    pub fn web() -> Service {
        Service {
            id: "web".into(),
            bundle: "ab".repeat(32),
            version: "1.2".into(),
            guest: "6f2c0a52-0000-4000-8000-000000000002".into(),
            guest_name: "g2".into(),
            host: "hv1".into(),
            address: Some("10.77.0.102".into()),
            addresses: vec!["10.77.0.102".into()],
            life_state: "accessible".into(),
            wanted: "accessible".into(),
            observed: "accessible".into(),
            observed_at: 1000,
            enablement: "enabled".into(),
            name: Some("web.lab.test".into()),
            generation: 4,
            frozen: None,
            standbys: Vec::new(),
            volume: None,
        }
    }

    #[test]
    fn the_table_has_a_line_per_service() {
        let nameless = Service {
            name: None,
            address: None,
            addresses: Vec::new(),
            life_state: "stopped".into(),
            observed: "stopped".into(),
            id: "batch".into(),
            ..web()
        };
        assert_eq!(
            list(&[nameless, web()], Look::default()),
            "SERVICE  VERSION  GUEST  HOST  ADDRESS      STATE       NAME          GENERATION\n\
             batch    1.2      g2     hv1   -            stopped     -             4\n\
             web      1.2      g2     hv1   10.77.0.102  accessible  web.lab.test  4\n"
        );
        assert_eq!(list(&[], Look::default()), "no services\n");
    }

    #[test]
    fn what_was_seen_otherwise_and_what_is_frozen_is_told() {
        let odd = Service {
            observed: "failed".into(),
            frozen: Some("job 7 is stuck".into()),
            ..web()
        };
        assert_eq!(
            state(&odd),
            Word::new("accessible (seen failed), frozen", Tone::Bad)
        );
        let text = detail(&odd, 61_000, Look::default());
        assert!(text.contains("seen:        failed, 1 min ago\n"), "{text}");
        assert!(text.contains("frozen:      job 7 is stuck\n"), "{text}");
        assert!(text.contains("bundle:      1.2 (abababababab)\n"), "{text}");
        assert!(!text.contains("standbys"), "{text}");
    }

    #[test]
    fn standbys_are_told_and_those_that_are_not_ready_by_how_far_they_are() {
        let standby = |guest: &str, state: &str| Standby {
            guest: guest.into(),
            state: state.into(),
        };
        let service = Service {
            standbys: vec![standby("g3", "ready"), standby("g4", "changing")],
            ..web()
        };
        let text = detail(&service, 1000, Look::default());
        assert!(text.contains("standbys:    g3, g4 (changing)\n"), "{text}");
    }

    #[test]
    fn the_place_names_guest_address_and_generation() {
        assert_eq!(place(&web()), "web is on g2 (10.77.0.102), generation 4");
        let stopped = Service {
            address: None,
            life_state: "stopped".into(),
            ..web()
        };
        assert_eq!(place(&stopped), "web is on g2, generation 4, stopped");
    }
}
