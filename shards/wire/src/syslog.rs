//! Syslog envelopes: what stands before the text of a log line in each of HAProxy's `format`s (manual section 4.2, `log`), RFC 3164 and
//! RFC 5424 among them.
//!
//! The log writer calls these for every line and target. They append to a buffer, never cut and never end the line.

use crate::calendar::Calendar;

/// What envelopes are made of.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Facility, 0 to 23 (RFC 5424 section 6.2.1).
    pub facility: u8,
    /// Severity, 0 (emergency) to 7 (debug).
    pub severity: u8,
    /// When the line was written.
    pub date: Date,
    /// Name of this host; `None` sends what HAProxy sends without `log-send-hostname`.
    pub hostname: Option<&'a str>,
    /// Name of the program or of one of its parts.
    pub tag: &'a str,
    /// Process id.
    pub process_id: u32,
}

/// A moment in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Local date and time of day.
    pub local: Calendar,
    /// Microseconds within the second.
    pub microsecond: u32,
    /// Seconds that local time is ahead of UTC.
    pub offset_s: i32,
}

impl Date {
    /// The moment of a count of microseconds since 1970 where local time is ahead of UTC by `offset_s`.
    pub fn new(microseconds: u64, offset_s: i32) -> Self {
        let seconds = (microseconds / 1_000_000) as i64;
        Self { local: Calendar::from_seconds(seconds + i64::from(offset_s)), microsecond: (microseconds % 1_000_000) as u32, offset_s }
    }
}

/// `<134>Nov 21 18:11:10 host tag[pid]: ` (`format rfc3164`); `localhost` without a host name.
pub fn rfc3164(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    priority(envelope, out);
    date_rfc3164(&envelope.date, out);
    out.extend_from_slice(envelope.hostname.unwrap_or("localhost").as_bytes());
    out.push(b' ');
    tag_and_process(envelope, out);
}

/// The same without the host name (`format local`, HAProxy's default).
pub fn local(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    priority(envelope, out);
    date_rfc3164(&envelope.date, out);
    tag_and_process(envelope, out);
}

/// `<134>1 2026-11-21T18:11:10.874321+00:00 host tag pid - SD ` (`format rfc5424`); `-` without a host name or structured data.
pub fn rfc5424(envelope: &Envelope<'_>, structured_data: &[u8], out: &mut Vec<u8>) {
    priority(envelope, out);
    out.extend_from_slice(b"1 ");
    date_iso(&envelope.date, out);
    for field in [envelope.hostname.unwrap_or("-"), envelope.tag] {
        out.extend_from_slice(field.as_bytes());
        out.push(b' ');
    }
    decimal(u64::from(envelope.process_id), 1, out);
    out.extend_from_slice(b" - ");
    out.extend_from_slice(if structured_data.is_empty() { b"-" } else { structured_data });
    out.push(b' ');
}

/// `<134>`: facility and severity (`format priority`).
pub fn priority(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    angle(u64::from(envelope.facility) * 8 + u64::from(envelope.severity), out);
}

/// `<6>`: the severity alone, as systemd reads it (`format short`).
pub fn short(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    angle(u64::from(envelope.severity), out);
}

/// `<6>2026-11-21T18:11:10.874321+00:00 ` (`format timed`).
pub fn timed(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    short(envelope, out);
    date_iso(&envelope.date, out);
}

/// `2026-11-21T18:11:10.874321+00:00 ` (`format iso`).
pub fn iso(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    date_iso(&envelope.date, out);
}

fn angle(value: u64, out: &mut Vec<u8>) {
    out.push(b'<');
    decimal(value, 1, out);
    out.push(b'>');
}

/// `Nov 21 18:11:10 `, the day padded with a blank.
fn date_rfc3164(date: &Date, out: &mut Vec<u8>) {
    let local = &date.local;
    out.extend_from_slice(local.month_name());
    out.extend_from_slice(if local.day < 10 { b"  " } else { b" " });
    decimal(local.day, 1, out);
    out.push(b' ');
    time_of_day(local, out);
    out.push(b' ');
}

/// `2026-11-21T18:11:10.874321-03:30 `.
fn date_iso(date: &Date, out: &mut Vec<u8>) {
    let local = &date.local;
    decimal(local.year, 4, out);
    out.push(b'-');
    decimal(local.month, 2, out);
    out.push(b'-');
    decimal(local.day, 2, out);
    out.push(b'T');
    time_of_day(local, out);
    out.push(b'.');
    decimal(u64::from(date.microsecond), 6, out);
    out.push(if date.offset_s < 0 { b'-' } else { b'+' });
    let minutes = u64::from(date.offset_s.unsigned_abs()) / 60;
    decimal(minutes / 60, 2, out);
    out.push(b':');
    decimal(minutes % 60, 2, out);
    out.push(b' ');
}

fn time_of_day(local: &Calendar, out: &mut Vec<u8>) {
    decimal(local.hour, 2, out);
    out.push(b':');
    decimal(local.minute, 2, out);
    out.push(b':');
    decimal(local.second, 2, out);
}

/// `tag[pid]: `.
fn tag_and_process(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(envelope.tag.as_bytes());
    out.push(b'[');
    decimal(u64::from(envelope.process_id), 1, out);
    out.extend_from_slice(b"]: ");
}

fn decimal(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while value > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope<'static> {
        // 2026-12-01 01:02:03.000456 UTC, seen in Newfoundland: the day before.
        let date = Date::new(1_796_086_923_000_456, -12_600);
        Envelope { facility: 19, severity: 6, date, hostname: None, tag: "haproxy", process_id: 9253 }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    // The expected bytes are what HAProxy 2.6.12 sends, but for the date.
    #[test]
    fn envelopes_without_a_host_name() {
        let envelope = envelope();
        assert_eq!(written(|out| local(&envelope, out)), "<158>Nov 30 21:32:03 haproxy[9253]: ");
        assert_eq!(written(|out| rfc3164(&envelope, out)), "<158>Nov 30 21:32:03 localhost haproxy[9253]: ");
        assert_eq!(written(|out| rfc5424(&envelope, b"", out)), "<158>1 2026-11-30T21:32:03.000456-03:30 - haproxy 9253 - - ");
        assert_eq!(written(|out| priority(&envelope, out)), "<158>");
        assert_eq!(written(|out| short(&envelope, out)), "<6>");
        assert_eq!(written(|out| timed(&envelope, out)), "<6>2026-11-30T21:32:03.000456-03:30 ");
        assert_eq!(written(|out| iso(&envelope, out)), "2026-11-30T21:32:03.000456-03:30 ");
    }

    #[test]
    fn host_name_structured_data_and_short_days() {
        let date = Date::new(1_796_086_923_000_456, 0);
        let envelope = Envelope { hostname: Some("foo.bar"), tag: "my tag", date, ..envelope() };
        assert_eq!(written(|out| rfc3164(&envelope, out)), "<158>Dec  1 01:02:03 foo.bar my tag[9253]: ");
        let expected = "<158>1 2026-12-01T01:02:03.000456+00:00 foo.bar my tag 9253 - [ex@1 b=\"5\"] ";
        assert_eq!(written(|out| rfc5424(&envelope, b"[ex@1 b=\"5\"]", out)), expected);
    }

    #[test]
    fn dates_out_of_range_do_not_panic() {
        assert_eq!(Date::new(u64::MAX, 0).local.year, 9999);
        assert_eq!(Date::new(0, -3600).local.year, 1970);
    }
}
