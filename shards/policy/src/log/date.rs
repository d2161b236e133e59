//! Dates of log lines: civil time from seconds, local time from a table, and a cache of the last second that was formatted.
//!
//! A shard never asks the C library for local time (it locks and reads files): the control thread fills a `LocalTime` and refreshes it.

use std::sync::Arc;

use super::text::Text;

const SECONDS_PER_DAY: i64 = 86_400;
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// The offsets of local time from UTC around now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTime {
    /// From this second (since 1970) on local time is UTC plus that many seconds. Ascending.
    changes: Vec<(i64, i32)>,
}

impl LocalTime {
    /// A table from the moments at which the offset changes, ascending. The first offset also counts for all time before; an empty table
    /// is UTC.
    pub fn new(changes: Vec<(i64, i32)>) -> Self {
        Self { changes }
    }

    /// Seconds that local time is ahead of UTC at this second.
    pub fn offset_at(&self, seconds: i64) -> i32 {
        let index = self.changes.partition_point(|&(from, _)| from <= seconds).saturating_sub(1);
        self.changes.get(index).map_or(0, |&(_, offset)| offset)
    }
}

/// A calendar date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Year, such as 2026.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u64,
    /// Day of the month, 1 to 31.
    pub day: u64,
    /// Hour, 0 to 23.
    pub hour: u64,
    /// Minute, 0 to 59.
    pub minute: u64,
    /// Second, 0 to 59.
    pub second: u64,
}

/// The calendar fields of a count of seconds since 1970 in UTC; times before 1970 count as 1970. Add an offset first for local time.
pub fn gmt_fields(seconds: i64) -> Fields {
    let seconds = seconds.max(0);
    let (days, time) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    // Howard Hinnant's days-to-civil: years that begin in March put the leap day last, eras of 400 years have equal length.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    Fields {
        year: (year_of_era + era * 400 + i64::from(month <= 2)) as u64,
        month: month as u64,
        day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u64,
        hour: (time / 3600) as u64,
        minute: (time / 60 % 60) as u64,
        second: (time % 60) as u64,
    }
}

/// The English three-letter name of a month, 1 to 12.
pub fn month_name(month: u64) -> &'static [u8] {
    let start = (month.clamp(1, 12) as usize - 1) * 3;
    &MONTHS[start..start + 3]
}

/// Formats the dates of session lines and remembers the last second of each kind.
#[derive(Debug)]
pub struct Dates {
    local_time: Arc<LocalTime>,
    gmt: Cached,
    local: Cached,
}

#[derive(Debug, Default)]
struct Cached {
    /// The second the text is of, plus one, so that the fresh cache matches none.
    key: u64,
    text: Vec<u8>,
}

impl Dates {
    /// A formatter with an empty cache.
    pub fn new(local_time: Arc<LocalTime>) -> Self {
        Self { local_time, gmt: Cached::default(), local: Cached::default() }
    }

    /// Takes a refreshed table of local time.
    pub fn set_local_time(&mut self, local_time: Arc<LocalTime>) {
        *self = Self::new(local_time);
    }

    /// `21/Nov/2026:18:11:10 +0000`.
    pub(super) fn gmt(&mut self, seconds: u64, out: &mut Text<'_>) {
        self.gmt.refresh(seconds, |seconds| (seconds as i64, 0));
        out.bytes(&self.gmt.text);
    }

    /// `21/Nov/2026:19:11:10 +0100`.
    pub(super) fn local(&mut self, seconds: u64, out: &mut Text<'_>) {
        self.refresh_local(seconds);
        out.bytes(&self.local.text);
    }

    /// `21/Nov/2026:19:11:10.874`.
    pub(super) fn local_milliseconds(&mut self, microseconds: u64, out: &mut Text<'_>) {
        self.refresh_local(microseconds / 1_000_000);
        let date = self.local.text.iter().position(|&byte| byte == b' ').unwrap_or(self.local.text.len());
        out.bytes(&self.local.text[..date]);
        out.byte(b'.');
        out.padded(microseconds / 1000 % 1000, 3);
    }

    fn refresh_local(&mut self, seconds: u64) {
        let local_time = &self.local_time;
        self.local.refresh(seconds, |seconds| (seconds as i64, local_time.offset_at(seconds as i64)));
    }
}

impl Cached {
    fn refresh(&mut self, seconds: u64, time: impl FnOnce(u64) -> (i64, i32)) {
        // No date of this program is beyond this bound; it keeps the arithmetic of hostile input within range.
        let seconds = seconds.min(i64::MAX as u64 / 2);
        if self.key == seconds + 1 {
            return;
        }
        self.key = seconds + 1;
        self.text.clear();
        let (seconds, offset) = time(seconds);
        let fields = gmt_fields(seconds + i64::from(offset));
        let mut text = Text::new(&mut self.text, 64);
        text.padded(fields.day, 2);
        text.byte(b'/');
        text.bytes(month_name(fields.month));
        text.byte(b'/');
        text.padded(fields.year, 4);
        for part in [fields.hour, fields.minute, fields.second] {
            text.byte(b':');
            text.padded(part, 2);
        }
        text.bytes(if offset < 0 { b" -" } else { b" +" });
        let minutes = u64::from(offset.unsigned_abs()) / 60;
        text.padded(minutes / 60, 2);
        text.padded(minutes % 60, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(seconds: i64) -> (u64, u64, u64, u64, u64, u64) {
        let Fields { year, month, day, hour, minute, second } = gmt_fields(seconds);
        (year, month, day, hour, minute, second)
    }

    #[test]
    fn civil_dates() {
        assert_eq!(fields(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(fields(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(fields(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(fields(1_709_251_199), (2024, 2, 29, 23, 59, 59));
        assert_eq!(fields(4_107_542_400), (2100, 3, 1, 0, 0, 0));
        assert_eq!(fields(1_795_284_670), (2026, 11, 21, 18, 11, 10));
        assert_eq!(fields(-5), (1970, 1, 1, 0, 0, 0));
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = gmt_fields(0);
        for day in 1..146_097 {
            let now = gmt_fields(day * SECONDS_PER_DAY);
            let next_day = now.day == before.day + 1 && now.month == before.month && now.year == before.year;
            let next_month = now.day == 1 && before.day >= 28 && now.month == before.month % 12 + 1;
            assert!(next_day || next_month, "{before:?} {now:?}");
            before = now;
        }
        assert_eq!(before.year, 2369);
    }

    #[test]
    fn local_time_follows_its_table() {
        let table = LocalTime::new(vec![(100, 3600), (200, 7200)]);
        assert_eq!([50, 100, 199, 200, 999].map(|at| table.offset_at(at)), [3600, 3600, 3600, 7200, 7200]);
        assert_eq!(LocalTime::default().offset_at(5), 0);
    }

    #[test]
    fn formats() {
        let mut dates = Dates::new(Arc::new(LocalTime::new(vec![(0, -12_600)])));
        for _ in 0..2 {
            let mut out = Vec::new();
            let mut text = Text::new(&mut out, 200);
            dates.gmt(1_795_284_670, &mut text);
            text.byte(b'|');
            dates.local(1_795_284_670, &mut text);
            text.byte(b'|');
            dates.local_milliseconds(1_795_284_670_009_999, &mut text);
            let expected = "21/Nov/2026:18:11:10 +0000|21/Nov/2026:14:41:10 -0330|21/Nov/2026:14:41:10.009";
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        let mut out = Vec::new();
        dates.gmt(u64::MAX, &mut Text::new(&mut out, 200));
    }
}
