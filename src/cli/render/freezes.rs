//! Whether services of dead guests are moved, for people.

use super::text::{age, clean};
use crate::cli::rows::Frozen;

/// One line or two.
pub fn told(frozen: &Frozen, now: u64) -> String {
    match frozen.why.as_str() {
        "" => "not frozen: services of guests that die go elsewhere".to_owned(),
        why => format!("frozen since {}: {}", age(now, frozen.since), clean(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_froze_it_and_when_is_told() {
        let frozen = Frozen {
            since: 1_000,
            why: "root froze it\u{1b}[0m".to_owned(),
        };
        assert_eq!(
            told(&frozen, 61_000),
            format!("frozen since {}: root froze it\\u{{1b}}[0m", age(61_000, 1_000))
        );
        let not = Frozen::default();
        assert!(told(&not, 61_000).starts_with("not frozen"));
    }
}
