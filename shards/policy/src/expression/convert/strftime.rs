//! Dates as strftime(3) of the GNU C library writes them in the C locale: every conversion, flags `-_0^#`, widths. Called by `date`.

use std::io::Write;

use ringmain_wire::calendar::Calendar;
use smallvec::SmallVec;

const DAY_S: i64 = 86_400;
/// After so many seconds the calendar repeats: 400 years, a whole number of weeks.
const CYCLE_S: i64 = 146_097 * DAY_S;
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/// A moment in a time zone.
pub(super) struct Moment {
    /// Seconds since 1970.
    seconds: i64,
    offset_s: i32,
    zone: Box<str>,
    /// The year, of any number of digits.
    pub(super) year: i64,
    /// Month, day and time of day; its year is within the first cycle.
    calendar: Calendar,
    /// From Sunday, 0 to 6.
    weekday: i64,
    /// From 0.
    day_of_year: i64,
}

impl Moment {
    /// The moment of a count of seconds since 1970, not below 0, in a zone that is ahead of UTC by the offset.
    pub(super) fn new(seconds: i64, offset_s: i32, zone: &str) -> Self {
        let local = seconds.saturating_add(offset_s.into());
        let (cycle, within) = (local.div_euclid(CYCLE_S), local.rem_euclid(CYCLE_S));
        let calendar = Calendar::from_seconds(within);
        let number = |value: u64| i64::try_from(value).unwrap_or(0);
        let first_day = Self::days_before(number(calendar.year));
        Self {
            seconds,
            offset_s,
            zone: zone.into(),
            year: number(calendar.year) + cycle * 400,
            weekday: (within / DAY_S + 4) % 7,
            day_of_year: within / DAY_S - first_day,
            calendar,
        }
    }

    /// Days from 1970 to the first day of a year.
    fn days_before(year: i64) -> i64 {
        let last = year - 1;
        (year - 1970) * 365 + (last / 4 - 1969 / 4) - (last / 100 - 1969 / 100) + (last / 400 - 1969 / 400)
    }

    /// Year and number of the week as ISO 8601 counts them.
    fn iso_week(&self) -> (i64, i64) {
        let year = i64::try_from(self.calendar.year).unwrap_or(0);
        let monday_based = (self.weekday + 6) % 7;
        let week = (self.day_of_year - monday_based + 10) / 7;
        let shift = self.year - year;
        if week < 1 {
            return (shift + year - 1, Self::iso_weeks(year - 1));
        }
        if week > Self::iso_weeks(year) { (shift + year + 1, 1) } else { (shift + year, week) }
    }

    /// Weeks of a year: 53 when it begins on a Thursday or, being a leap year, on a Wednesday.
    fn iso_weeks(year: i64) -> i64 {
        let first = (Self::days_before(year) + 4).rem_euclid(7);
        let is_leap = Self::days_before(year + 1) - Self::days_before(year) == 366;
        if first == 4 || (first == 3 && is_leap) { 53 } else { 52 }
    }
}

/// What stands between `%` and the letter.
#[derive(Default)]
struct Style {
    /// `-`, `_` or `0`.
    padding: Option<u8>,
    upper: bool,
    swap: bool,
    width: Option<usize>,
}

type Buffer = SmallVec<[u8; 64]>;

/// Appends the date in the format, at most up to `limit` bytes in all. With a fraction (value and number of its digits), `%N` writes it.
pub(super) fn format(pattern: &[u8], moment: &Moment, fraction: Option<(i64, usize)>, limit: usize, out: &mut Buffer) {
    let mut rest = pattern;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        let directive = &rest[at..];
        let (style, length) = style(&directive[1..]);
        let Some(&letter) = directive.get(1 + length) else {
            out.extend_from_slice(directive);
            rest = &[];
            break;
        };
        rest = &directive[length + 2..];
        match (letter, fraction) {
            (b'N', Some((value, digits))) => {
                let _ = write!(out, "{value:0digits$}");
            }
            _ if !convert(letter, &style, moment, out) => out.extend_from_slice(&directive[..length + 2]),
            _ => {}
        }
        if out.len() > limit {
            break;
        }
    }
    out.extend_from_slice(rest);
    out.truncate(limit);
}

/// Flags, width and the modifiers `E` and `O`, which change nothing in the C locale; and how many bytes they are.
fn style(text: &[u8]) -> (Style, usize) {
    let mut style = Style::default();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'-' | b'_' | b'0' => style.padding = Some(byte),
            b'^' => style.upper = true,
            b'#' => style.swap = true,
            _ => break,
        }
        at += 1;
    }
    while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
        let width = style.width.unwrap_or(0).saturating_mul(10).saturating_add(usize::from(digit - b'0'));
        // Wider than any use, narrow enough for memory.
        style.width = Some(width.min(1024));
        at += 1;
    }
    if matches!(text.get(at), Some(b'E' | b'O')) {
        at += 1;
    }
    (style, at)
}

/// Writes one conversion; `false` when there is none of this letter.
fn convert(letter: u8, style: &Style, moment: &Moment, out: &mut Buffer) -> bool {
    let Calendar { month, day, hour, minute, second, .. } = moment.calendar;
    let field = |value: u64| i64::try_from(value).unwrap_or(0);
    let twelve = (field(hour) + 11) % 12 + 1;
    let (year, weekday, day_of_year) = (moment.year, moment.weekday, moment.day_of_year);
    let month_name = MONTHS.get(field(month).unsigned_abs() as usize - usize::from(month > 0)).copied().unwrap_or_default();
    let weekday_name = WEEKDAYS.get(weekday.unsigned_abs() as usize).copied().unwrap_or_default();
    match letter {
        b'%' => text("%", style, out),
        b'n' => text("\n", style, out),
        b't' => text("\t", style, out),
        b'a' => name(&weekday_name[..3], style, out),
        b'A' => name(weekday_name, style, out),
        b'b' | b'h' => name(month_name.get(..3).unwrap_or_default(), style, out),
        b'B' => name(month_name, style, out),
        b'p' => noon(hour >= 12, style.swap, style, out),
        b'P' => noon(hour >= 12, true, style, out),
        b'Z' => {
            let zone = if style.swap { moment.zone.to_ascii_lowercase() } else { moment.zone.to_string() };
            text(&zone, style, out);
        }
        b'z' => zone_offset(moment.offset_s, style, out),
        b'C' => digits(year.div_euclid(100), 2, b'0', style, out),
        b'd' => digits(field(day), 2, b'0', style, out),
        b'e' => digits(field(day), 2, b'_', style, out),
        b'H' => digits(field(hour), 2, b'0', style, out),
        b'I' => digits(twelve, 2, b'0', style, out),
        b'k' => digits(field(hour), 2, b'_', style, out),
        b'l' => digits(twelve, 2, b'_', style, out),
        b'j' => digits(day_of_year + 1, 3, b'0', style, out),
        b'm' => digits(field(month), 2, b'0', style, out),
        b'M' => digits(field(minute), 2, b'0', style, out),
        b'S' => digits(field(second), 2, b'0', style, out),
        b's' => digits(moment.seconds, 1, b'0', style, out),
        b'u' => digits((weekday + 6) % 7 + 1, 1, b'0', style, out),
        b'w' => digits(weekday, 1, b'0', style, out),
        b'U' => digits((day_of_year + 7 - weekday) / 7, 2, b'0', style, out),
        b'W' => digits((day_of_year + 7 - (weekday + 6) % 7) / 7, 2, b'0', style, out),
        b'V' => digits(moment.iso_week().1, 2, b'0', style, out),
        b'G' => digits(moment.iso_week().0, 1, b'0', style, out),
        b'g' => digits(moment.iso_week().0.rem_euclid(100), 2, b'0', style, out),
        b'y' => digits(year.rem_euclid(100), 2, b'0', style, out),
        b'Y' => digits(year, 1, b'0', style, out),
        b'c' => composed(b"%a %b %e %H:%M:%S %Y", style, moment, out),
        b'D' | b'x' => composed(b"%m/%d/%y", style, moment, out),
        b'F' => composed(b"%Y-%m-%d", style, moment, out),
        b'r' => composed(b"%I:%M:%S %p", style, moment, out),
        b'R' => composed(b"%H:%M", style, moment, out),
        b'T' | b'X' => composed(b"%H:%M:%S", style, moment, out),
        _ => return false,
    }
    true
}

/// A number: padded to its usual width with zeros or blanks, unless flags say otherwise.
fn digits(value: i64, usual: usize, usual_padding: u8, style: &Style, out: &mut Buffer) {
    let padding = style.padding.unwrap_or(usual_padding);
    let width = match (padding, style.width) {
        (b'-', width) => width.unwrap_or(0),
        (_, Some(width)) => width.max(usual),
        (_, None) => usual,
    };
    // Writing to memory does not fail.
    let _ = if padding != b'0' { write!(out, "{value:width$}") } else { write!(out, "{value:0width$}") };
}

/// Text, padded on its left when a width asks for it.
fn text(text: &str, style: &Style, out: &mut Buffer) {
    let fill = if style.padding == Some(b'0') { b'0' } else { b' ' };
    let missing = style.width.unwrap_or(0).saturating_sub(text.len());
    out.extend(std::iter::repeat_n(fill, missing));
    if style.upper {
        out.extend(text.bytes().map(|byte| byte.to_ascii_uppercase()));
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// A name, which both flags of case put in capital letters.
fn name(name: &str, style: &Style, out: &mut Buffer) {
    text(name, &Style { upper: style.upper || style.swap, ..*style }, out);
}

fn noon(afternoon: bool, small: bool, style: &Style, out: &mut Buffer) {
    text(
        match (afternoon, small) {
            (false, false) => "AM",
            (true, false) => "PM",
            (false, true) => "am",
            (true, true) => "pm",
        },
        style,
        out,
    );
}

/// The sign and the number are padded each by itself, as the C library does it.
fn zone_offset(offset_s: i32, style: &Style, out: &mut Buffer) {
    let minutes = i64::from(offset_s.unsigned_abs() / 60);
    text(if offset_s < 0 { "-" } else { "+" }, &Style { padding: None, ..*style }, out);
    digits(minutes / 60 * 100 + minutes % 60, 4, b'0', style, out);
}

fn composed(pattern: &[u8], style: &Style, moment: &Moment, out: &mut Buffer) {
    let mut inner = Buffer::new();
    format(pattern, moment, None, 256, &mut inner);
    text(std::str::from_utf8(&inner).unwrap_or_default(), style, out);
}
