//! One line as one target gets it: envelope, text cut to the target's length, end of line.

use ringmain_model::{Level, LogEncoding, LogTarget};
use ringmain_wire::syslog::{self, Date, Envelope};

/// A line on its way, without the properties of any target.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// How severe it is.
    pub level: Level,
    /// When it was written.
    pub date: Date,
    /// `log-send-hostname`.
    pub hostname: Option<&'a str>,
    /// `log-tag`.
    pub tag: &'a str,
    /// This process.
    pub process_id: u32,
    /// The text.
    pub text: &'a [u8],
    /// RFC 5424 structured data, empty without.
    pub structured_data: &'a [u8],
}

/// Whether a target takes lines of this level (`level`).
pub fn takes(target: &LogTarget, level: Level) -> bool {
    level <= target.level
}

/// Appends the line for a target: at most its length, and the end of line.
pub fn write(line: &Outgoing<'_>, target: &LogTarget, out: &mut Vec<u8>) {
    let start = out.len();
    let envelope = Envelope {
        facility: target.facility.code(),
        severity: line.level.max(target.minimum_level).code(),
        date: line.date,
        hostname: line.hostname,
        tag: line.tag,
        process_id: line.process_id,
    };
    let usual = if line.hostname.is_some() { LogEncoding::Rfc3164 } else { LogEncoding::Local };
    match target.encoding.unwrap_or(usual) {
        LogEncoding::Rfc3164 => syslog::rfc3164(&envelope, out),
        LogEncoding::Rfc5424 => syslog::rfc5424(&envelope, fitting(line.structured_data, target), out),
        LogEncoding::Local => syslog::local(&envelope, out),
        LogEncoding::Priority => syslog::priority(&envelope, out),
        LogEncoding::Short => syslog::short(&envelope, out),
        LogEncoding::Timed => syslog::timed(&envelope, out),
        LogEncoding::Iso => syslog::iso(&envelope, out),
        LogEncoding::Raw => {}
    }
    out.extend_from_slice(line.text);
    out.truncate(start + usize::from(target.length));
    out.push(b'\n');
}

/// Structured data without blanks at its end, or none if it would fill half of the line: cut data is no structured data any more, and the
/// text matters more.
fn fitting<'a>(structured_data: &'a [u8], target: &LogTarget) -> &'a [u8] {
    let trimmed = structured_data.trim_ascii_end();
    if trimmed.len() <= usize::from(target.length) / 2 { trimmed } else { b"" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_model::{Facility, LogDestination};

    fn target(encoding: LogEncoding, length: u16) -> LogTarget {
        LogTarget {
            destination: LogDestination::Descriptor(1),
            encoding: Some(encoding),
            length,
            facility: Facility::Local3,
            level: Level::Notice,
            minimum_level: Level::Err,
            sample: None,
        }
    }

    fn line(text: &[u8]) -> Outgoing<'_> {
        let date = Date::new(0, 0);
        Outgoing { level: Level::Notice, date, hostname: None, tag: "tag", process_id: 7, text, structured_data: b"[a@1 b=\"c\"]  " }
    }

    fn written(encoding: LogEncoding, length: u16, line: &Outgoing<'_>) -> String {
        let mut out = b"before".to_vec();
        write(line, &target(encoding, length), &mut out);
        String::from_utf8(out.split_off(6)).expect("text")
    }

    #[test]
    fn levels_are_filtered_and_capped() {
        assert!(takes(&target(LogEncoding::Raw, 80), Level::Notice) && !takes(&target(LogEncoding::Raw, 80), Level::Info));
        assert_eq!(written(LogEncoding::Short, 80, &line(b"x")), "<5>x\n");
        assert_eq!(written(LogEncoding::Short, 80, &Outgoing { level: Level::Emerg, ..line(b"x") }), "<3>x\n");
    }

    #[test]
    fn lines_are_cut_to_the_length_of_the_target() {
        assert_eq!(written(LogEncoding::Short, 80, &line(&[b'x'; 300])).len(), 81);
        assert_eq!(written(LogEncoding::Local, 80, &line(&[b'x'; 300])).len(), 81);
        assert_eq!(written(LogEncoding::Raw, 80, &line(b"short")), "short\n");
    }

    #[test]
    fn structured_data_that_is_too_long_is_left_out() {
        let expected = "<157>1 1970-01-01T00:00:00.000000+00:00 - tag 7 - [a@1 b=\"c\"] x\n";
        assert_eq!(written(LogEncoding::Rfc5424, 100, &line(b"x")), expected);
        let long = Outgoing { structured_data: &[b'd'; 51], ..line(b"x") };
        assert_eq!(written(LogEncoding::Rfc5424, 100, &long), "<157>1 1970-01-01T00:00:00.000000+00:00 - tag 7 - - x\n");
    }
}
