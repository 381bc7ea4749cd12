//! The lines of `watch`.

use super::jobs::about;
use super::services::place;
use super::text::{clean, duration};
use crate::cli::job::Job;
use crate::cli::rows::Service;

/// What is new about a job since `old`; `None`: nothing worth a line.
pub fn job(old: Option<&Job>, new: &Job) -> Option<String> {
    let id = new.id;
    if new.is_finished() {
        if old.is_some_and(Job::is_finished) {
            return None;
        }
        let took = new
            .took()
            .map(|ms| format!(" in {}", duration(ms)))
            .unwrap_or_default();
        let details = match new.error_details.as_str() {
            "" => String::new(),
            details => format!(": {}", clean(details)),
        };
        return Some(format!(
            "job {id}: {}{took}: {}{details}",
            clean(&new.result),
            about(new)
        ));
    }
    let Some(old) = old else {
        let step = if new.step.is_empty() {
            String::new()
        } else {
            format!(" (at {})", clean(&new.step))
        };
        return Some(format!("job {id}: {}{step}", about(new)));
    };
    if old.step != new.step && !new.step.is_empty() {
        Some(format!("job {id}: {}", clean(&new.step)))
    } else if old.waiting != new.waiting && !new.waiting.is_empty() {
        Some(format!(
            "job {id}: {}: waits for {}",
            clean(&new.step),
            clean(&new.waiting)
        ))
    } else {
        None
    }
}

/// What is new about a service since `old`; `None`: nothing worth a line.
pub fn service(old: Option<&Service>, new: &Service) -> Option<String> {
    let id = clean(&new.id);
    let Some(old) = old else {
        return Some(format!("service {id}: new: {}", place(new)));
    };
    let mut changes = Vec::new();
    let mut changed = |what: &str, from: &str, to: &str| {
        if from != to {
            let dash = |text: &str| {
                if text.is_empty() {
                    "-".to_owned()
                } else {
                    clean(text).into_owned()
                }
            };
            changes.push(format!("{what} {} -> {}", dash(from), dash(to)));
        }
    };
    let text = |maybe: &Option<String>| maybe.clone().unwrap_or_default();
    changed("guest", &old.guest_name, &new.guest_name);
    changed("host", &old.host, &new.host);
    changed("address", &old.addresses.join(" "), &new.addresses.join(" "));
    changed("state", &old.life_state, &new.life_state);
    changed("wanted", &old.wanted, &new.wanted);
    changed("enablement", &old.enablement, &new.enablement);
    changed("name", &text(&old.name), &text(&new.name));
    changed(
        "generation",
        &old.generation.to_string(),
        &new.generation.to_string(),
    );
    changed("frozen", &text(&old.frozen), &text(&new.frozen));
    changed(
        "bundle",
        super::text::short_digest(&old.bundle),
        super::text::short_digest(&new.bundle),
    );
    (!changes.is_empty()).then(|| format!("service {id}: {}", changes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::jobs::tests::running;
    use crate::cli::render::services::tests::web;

    #[test]
    fn a_job_gets_a_line_when_it_begins_steps_waits_and_ends() {
        let begun = running();
        assert_eq!(
            job(None, &begun).unwrap(),
            "job 7: move web from g1 to g2 (at stage)"
        );
        let next = Job {
            step: "start".into(),
            ..running()
        };
        assert_eq!(job(Some(&begun), &next).unwrap(), "job 7: start");
        let waits = Job {
            waiting: "its check".into(),
            ..next.clone()
        };
        assert_eq!(
            job(Some(&next), &waits).unwrap(),
            "job 7: start: waits for its check"
        );
        assert_eq!(job(Some(&waits), &waits), None);
        let done = Job {
            result: "done".into(),
            finished: 1_001_000,
            ..waits.clone()
        };
        assert_eq!(
            job(Some(&waits), &done).unwrap(),
            "job 7: done in 1.0 s: move web from g1 to g2"
        );
        assert_eq!(job(Some(&done), &done), None, "an end is told once");
    }

    #[test]
    fn a_service_gets_a_line_with_what_changed() {
        let old = Service {
            guest_name: "g1".into(),
            generation: 3,
            address: None,
            addresses: Vec::new(),
            ..web()
        };
        assert_eq!(
            service(Some(&old), &web()).unwrap(),
            "service web: guest g1 -> g2, address - -> 10.77.0.102, generation 3 -> 4"
        );
        assert_eq!(service(Some(&web()), &web()), None);
        assert!(
            service(None, &web())
                .unwrap()
                .starts_with("service web: new: web is on g2")
        );
    }
}
