//! How a guest fares: the script that asks it, and what it prints.

use super::answer::InvalidAnswer;
use super::protocol::printable;
use super::script::{RUN, Root, body, set};
use crate::model::vitals::Vitals;

const VITALS: &str = include_str!("scripts/vitals.sh");
/// CPU, memory and IO.
const PRESSURES: usize = 3;

/// The script that asks a guest. Its answer is read by [`parse`].
pub fn render(root: &Root) -> String {
    let mut out = String::new();
    set(&mut out, "PATH", &root.path);
    set(&mut out, "root", &root.prefix);
    out + &body(&[VITALS]) + RUN
}

/// Reads what the script printed.
///
/// # Errors
/// It is cut off, it lacks the memory, or a number is none.
pub fn parse(text: &str) -> Result<Vitals, InvalidAnswer> {
    let lines = text
        .strip_suffix("result=done\n")
        .ok_or_else(|| InvalidAnswer::new("it is cut off"))?;
    let (mut memory, mut available, mut pressures) = (None, None, Vec::new());
    for line in lines.lines() {
        let wrong = || InvalidAnswer::new(format!("{:?} is no line of it", printable(line)));
        let (key, value) = line.split_once('=').ok_or_else(wrong)?;
        match key {
            "memory" if memory.is_none() => memory = Some(kib(value).ok_or_else(wrong)?),
            "available" if available.is_none() => available = Some(kib(value).ok_or_else(wrong)?),
            "pressure" if pressures.len() < PRESSURES => {
                pressures.push(hundredths(value).ok_or_else(wrong)?);
            }
            _ => return Err(wrong()),
        }
    }
    let memory = memory
        .filter(|memory| *memory > 0)
        .ok_or_else(|| InvalidAnswer::new("memory is missing in it"))?;
    let available: u64 = available.ok_or_else(|| InvalidAnswer::new("available is missing in it"))?;
    Ok(Vitals {
        memory,
        available: available.min(memory),
        pressure: pressures.into_iter().max(),
    })
}

/// Bytes out of a number of KiB.
fn kib(text: &str) -> Option<u64> {
    digits(text)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `12.34` (the kernel prints two digits behind the point) as 1234; at most 100 %.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, rest) = text.split_once('.')?;
    let rest = digits(rest).filter(|rest| rest.len() == 2)?;
    let whole = digits(whole)?.parse::<u32>().ok()?;
    let sum = whole.checked_mul(100)?.checked_add(rest.parse().ok()?)?;
    Some(sum.min(10_000))
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "memory=1000\navailable=250\npressure=0.12\npressure=12.34\npressure=3.00\nresult=done\n";

    #[test]
    fn memory_and_the_largest_pressure_are_read() {
        let vitals = Vitals {
            memory: 1_024_000,
            available: 256_000,
            pressure: Some(1234),
        };
        assert_eq!(parse(GOOD), Ok(vitals));
        let none = parse("memory=1000\navailable=2000\nresult=done\n").unwrap();
        assert_eq!((none.available, none.pressure), (1_024_000, None));
        let most = parse(&GOOD.replace("12.34", "999.99")).unwrap();
        assert_eq!(most.pressure, Some(10_000));
    }

    #[test]
    fn what_the_script_never_prints_is_refused() {
        for (from, to) in [
            ("result=done\n", ""),
            ("\nresult=done\n", "\nresult=done"),
            ("memory=1000\n", ""),
            ("memory=1000", "memory=0"),
            ("memory=1000", "memory=99999999999999999999"),
            ("memory=1000", "memory=18446744073709551615"),
            ("memory=1000", "memory=-1"),
            ("memory=1000", "memory=1000\nmemory=1000"),
            ("available=250\n", ""),
            ("available=250", "available="),
            ("pressure=0.12", "pressure=0.12\npressure=0.00"),
            ("pressure=0.12", "pressure=0"),
            ("pressure=0.12", "pressure=0.1"),
            ("pressure=0.12", "pressure=nan"),
            ("pressure=0.12", "pressure=99999999999.00"),
            ("pressure=0.12", "load=1"),
            ("pressure=0.12", "noise"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD);
            assert!(parse(&text).is_err(), "{text:?}");
        }
    }
}
