//! What was said about a maintenance, for people.

use super::text::clean;
use crate::cli::rows::Drain;

/// That it is on or off, and a line for each guest that is drained.
pub fn told(kind: &str, name: &str, on: bool, drains: &[Drain]) -> String {
    let (name, state) = (
        clean(name),
        if on {
            "in maintenance"
        } else {
            "no longer in maintenance"
        },
    );
    let mut lines = vec![format!("{kind} {name} is {state}")];
    lines.extend(drains.iter().map(|drain| {
        let guest = clean(&drain.guest);
        match (drain.job, &drain.error) {
            (Some(job), _) => {
                format!("{guest}: job {job} moves its services; `handoverctl jobs show {job}` tells of it")
            }
            (None, Some(error)) => format!("{guest}: its services stay: {}", clean(error)),
            (None, None) => format!("{guest}: its services stay"),
        }
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guest_that_is_drained_is_told() {
        let drains = [
            Drain {
                guest: "g1".into(),
                job: Some(7),
                error: None,
            },
            Drain {
                guest: "g2".into(),
                job: None,
                error: Some("no guest fits".into()),
            },
        ];
        assert_eq!(
            told("host", "hv1", true, &drains),
            "host hv1 is in maintenance\n\
             g1: job 7 moves its services; `handoverctl jobs show 7` tells of it\n\
             g2: its services stay: no guest fits"
        );
        assert_eq!(
            told("guest", "g1", false, &[]),
            "guest g1 is no longer in maintenance"
        );
    }
}
