//! Numbers as people write and read them: durations, byte sizes, rates. Pure text.

use std::time::Duration;

/// Reads a duration: a number with `us`, `ms`, `s`, `m` or `h`; without a unit it is seconds.
///
/// # Errors
/// A sentence for the command line.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit '{unit}': use us, ms, s, m or h")),
    };
    let value: f64 = number.parse().map_err(|_| format!("'{text}' is not a duration such as 5s or 250ms"))?;
    Duration::try_from_secs_f64(value * factor).map_err(|_| format!("'{text}' is out of range"))
}

/// Reads a byte size: a number with `k`, `m` or `g` (powers of 1024), or none.
///
/// # Errors
/// A sentence for the command line.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1024,
        "m" => 1024 * 1024,
        "g" => 1024 * 1024 * 1024,
        _ => return Err(format!("unknown unit '{unit}': use k, m or g")),
    };
    let value: u64 = number.parse().map_err(|_| format!("'{text}' is not a size such as 128 or 64k"))?;
    value.checked_mul(factor).ok_or_else(|| format!("'{text}' is out of range"))
}

/// Microseconds with three significant digits and the unit that fits: `47.1 us`, `3.54 ms`, `1.20 s`.
pub fn latency(nanoseconds: u64) -> String {
    let microseconds = nanoseconds as f64 / 1000.0;
    let (value, unit) = match microseconds {
        small if small < 1000.0 => (small, "us"),
        middle if middle < 1e6 => (middle / 1e3, "ms"),
        large => (large / 1e6, "s"),
    };
    format!("{} {unit}", significant(value))
}

/// A count with the prefix that fits: `950`, `12.6 k`, `3.40 M`.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", " k", " M", " G", " T"])
}

/// A byte count with the binary prefix that fits: `128 B`, `64.0 KiB`, `1.91 GiB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // Compared after rounding, so that 999.9 does not become "1000".
    while value.round() >= step {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / step, next);
    }
    if unit.trim().is_empty() || unit == " B" {
        return format!("{value:.0}{unit}");
    }
    format!("{}{unit}", significant(value))
}

/// Three significant digits.
pub fn significant(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        middle if middle >= 9.995 => format!("{value:.1}"),
        small if small >= 0.9995 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read() {
        assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_size("64k"), Ok(65_536));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        for bad in ["", "s", "5 days", "-1s", "1e400", "x"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "k", "1.5k", "-1", "99999999999g", "1t"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(latency(47_120), "47.1 us");
        assert_eq!(latency(3_540_000), "3.54 ms");
        assert_eq!(latency(1_200_000_000), "1.20 s");
        assert_eq!(count(950.0), "950");
        assert_eq!(count(12_630.0), "12.6 k");
        assert_eq!(count(999_999.0), "1.00 M");
        assert_eq!(bytes(128.0), "128 B");
        assert_eq!(bytes(1.5 * 1024.0 * 1024.0), "1.50 MiB");
    }
}
