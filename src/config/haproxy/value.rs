//! Numbers, durations and sizes as HAProxy writes them (manual section 2.5): text to value, without knowing where the text stood.

/// Longest duration of HAProxy's timers, in milliseconds (24.8 days).
pub const LONGEST_TIME_MS: u64 = i32::MAX as u64;

/// Why a duration or a size was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// No digit at its beginning, or something else than a unit after the digits.
    Unexpected(Option<char>),
    /// Larger than the type holds.
    Overflow,
}

/// A duration and what was wrong about its spelling without making it useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The duration in milliseconds, up to `LONGEST_TIME_MS`; parts of a millisecond count as one.
    pub milliseconds: u32,
    /// A character after the unit, which HAProxy 2.6 warns about and ignores.
    pub trailing: Option<char>,
}

/// Reads a duration: digits and one of `us`, `ms`, `s`, `m`, `h`, `d`; milliseconds without a unit.
pub fn time(text: &str) -> Result<Time, ValueError> {
    let (number, rest) = digits(text)?;
    let (numerator, denominator, length) = match rest.as_bytes() {
        [] => (1, 1, 0),
        [b'u', b's', ..] => (1, 1000, 2),
        [b'm', b's', ..] => (1, 1, 2),
        [b's', ..] => (1000, 1, 1),
        [b'm', ..] => (60_000, 1, 1),
        [b'h', ..] => (3_600_000, 1, 1),
        [b'd', ..] => (86_400_000, 1, 1),
        _ => return Err(ValueError::Unexpected(rest.chars().next())),
    };
    let milliseconds = number.checked_mul(numerator).ok_or(ValueError::Overflow)?.div_ceil(denominator);
    let trailing = rest.get(length..).and_then(|rest| rest.chars().next());
    if milliseconds > LONGEST_TIME_MS {
        return Err(ValueError::Overflow);
    }
    Ok(Time { milliseconds: milliseconds as u32, trailing })
}

/// Reads a size: digits and one of `k`, `m`, `g` (powers of 1024), up to 4 GiB less one byte.
pub fn size(text: &str) -> Result<u32, ValueError> {
    let (number, rest) = digits(text)?;
    let shift = match rest {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err(ValueError::Unexpected(rest.chars().next())),
    };
    let bytes = number.checked_mul(1 << shift).ok_or(ValueError::Overflow)?;
    u32::try_from(bytes).map_err(|_| ValueError::Overflow)
}

/// The number at the beginning of a text, and whether the text is nothing else. No digits are 0, as C's `atol` has it, which HAProxy uses.
pub fn leading_number(text: &str) -> (i64, bool) {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = unsigned.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(unsigned.len());
    let signed = &text[..text.len() - unsigned.len() + end];
    let value = match signed.parse::<i64>() {
        Ok(number) => number,
        Err(_) if end == 0 => 0,
        Err(_) if text.starts_with('-') => i64::MIN,
        Err(_) => i64::MAX,
    };
    (value, end > 0 && end == unsigned.len())
}

fn digits(text: &str) -> Result<(u64, &str), ValueError> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Err(ValueError::Unexpected(text.chars().next()));
    }
    let number = text[..end].parse().map_err(|_| ValueError::Overflow)?;
    Ok((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Result<u32, ValueError> {
        time(text).map(|time| time.milliseconds)
    }

    #[test]
    fn durations_take_haproxys_units() {
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("30"), Ok(30));
        assert_eq!(ms("10us"), Ok(1));
        assert_eq!(ms("1500us"), Ok(2));
        assert_eq!(ms("7ms"), Ok(7));
        assert_eq!(ms("5s"), Ok(5000));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("24d"), Ok(2_073_600_000));
        assert_eq!(ms("2147483647"), Ok(2_147_483_647));
    }

    #[test]
    fn durations_refuse_what_haproxy_refuses() {
        for (text, bad) in [("", None), ("x", Some('x')), ("-1", Some('-')), ("1.5s", Some('.')), ("1S", Some('S')), ("1é", Some('é'))] {
            assert_eq!(time(text), Err(ValueError::Unexpected(bad)), "{text}");
        }
        for text in ["25d", "2147483648", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(time(text), Err(ValueError::Overflow), "{text}");
        }
        assert_eq!(time("10sx"), Ok(Time { milliseconds: 10_000, trailing: Some('x') }));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("64k"), Ok(65_536));
        assert_eq!(size("1m"), Ok(1 << 20));
        assert_eq!(size("3g"), Ok(3 << 30));
        assert_eq!(size("4g"), Err(ValueError::Overflow));
        assert_eq!(size("1kb"), Err(ValueError::Unexpected(Some('k'))));
    }

    #[test]
    fn numbers_are_read_like_atol_does() {
        assert_eq!(leading_number("12"), (12, true));
        assert_eq!(leading_number("-3"), (-3, true));
        assert_eq!(leading_number("10x"), (10, false));
        assert_eq!(leading_number("abc"), (0, false));
        assert_eq!(leading_number(""), (0, false));
        assert_eq!(leading_number("99999999999999999999"), (i64::MAX, true));
    }
}
