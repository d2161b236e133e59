//! Dates of session lines: local time from a table, and a cache of the last second that was formatted.
//!
//! A shard never asks the C library for local time (it locks and reads files): the control thread fills a `LocalTime` and refreshes it.

use std::sync::Arc;

use ringmain_wire::calendar::{Calendar, LAST_SECOND};

use super::text::Text;

/// The offsets of local time from UTC around now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTime {
    /// From this second (since 1970) on local time is UTC plus that many seconds. Ascending.
    changes: Vec<(i64, i32)>,
    /// Names of the zone, such as `CET`, by position in `changes`.
    names: Vec<Arc<str>>,
}

impl LocalTime {
    /// A table from the moments at which the offset changes, ascending. The first offset also counts for all time before; an empty table
    /// is UTC.
    pub fn new(changes: Vec<(i64, i32)>) -> Self {
        Self { changes, names: Vec::new() }
    }

    /// The same table with the zone's name from each moment on.
    pub fn named(mut self, name_at: impl Fn(i64) -> Arc<str>) -> Self {
        self.names = self.changes.iter().map(|&(from, _)| name_at(from)).collect();
        self
    }

    /// Seconds that local time is ahead of UTC at this second.
    pub fn offset_at(&self, seconds: i64) -> i32 {
        self.changes.get(self.index_at(seconds)).map_or(0, |&(_, offset)| offset)
    }

    /// The name of the zone at this second, `UTC` when none is known.
    pub fn name_at(&self, seconds: i64) -> &str {
        self.names.get(self.index_at(seconds)).map_or("UTC", |name| name)
    }

    fn index_at(&self, seconds: i64) -> usize {
        self.changes.partition_point(|&(from, _)| from <= seconds).saturating_sub(1)
    }
}

/// Formats the dates of session lines and remembers the last second of each kind.
#[derive(Debug)]
pub(super) struct Dates {
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
    pub(super) fn new(local_time: Arc<LocalTime>) -> Self {
        Self { local_time, gmt: Cached::default(), local: Cached::default() }
    }

    /// The table in use.
    pub(super) fn local_time(&self) -> &Arc<LocalTime> {
        &self.local_time
    }

    /// Takes a refreshed table of local time.
    pub(super) fn set_local_time(&mut self, local_time: Arc<LocalTime>) {
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
        let seconds = seconds.min(LAST_SECOND as u64);
        if self.key == seconds + 1 {
            return;
        }
        self.key = seconds + 1;
        self.text.clear();
        let (seconds, offset) = time(seconds);
        let calendar = Calendar::from_seconds(seconds + i64::from(offset));
        let mut text = Text::new(&mut self.text, 64);
        text.padded(calendar.day, 2);
        text.byte(b'/');
        text.bytes(calendar.month_name());
        text.byte(b'/');
        text.padded(calendar.year, 4);
        for part in [calendar.hour, calendar.minute, calendar.second] {
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

    #[test]
    fn local_time_follows_its_table() {
        let table = LocalTime::new(vec![(100, 3600), (200, 7200)]);
        assert_eq!([50, 100, 199, 200, 999].map(|at| table.offset_at(at)), [3600, 3600, 3600, 7200, 7200]);
        assert_eq!((LocalTime::default().offset_at(5), LocalTime::default().name_at(5)), (0, "UTC"));
        let named = table.named(|from| if from == 100 { "CET".into() } else { "CEST".into() });
        assert_eq!([50, 199, 200].map(|at| named.name_at(at)), ["CET", "CET", "CEST"]);
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
