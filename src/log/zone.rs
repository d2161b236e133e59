//! Local time for log lines, asked from the C library once for a long while instead of with each line.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmain_policy::log::LocalTime;

const DAY_S: i64 = 86_400;

/// How far the table reaches to both sides of now. A process refreshes it with each reload; beyond it the last offset counts.
const REACH_DAYS: i64 = 800;

/// The offsets of local time (`TZ`, else `/etc/localtime`) around now.
pub fn local_time() -> LocalTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    around(now, offset_at).named(name_at)
}

/// Finds the changes of an offset by looking at every day and halving the days in which it changes.
fn around(now: i64, offset_at: impl Fn(i64) -> i32) -> LocalTime {
    let first = now - REACH_DAYS * DAY_S;
    let mut changes = vec![(first, offset_at(first))];
    let mut last = changes[0];
    for day in 1..=2 * REACH_DAYS {
        let (mut before, mut after) = (first + (day - 1) * DAY_S, first + day * DAY_S);
        let offset = offset_at(after);
        if offset == last.1 {
            continue;
        }
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if offset_at(middle) == last.1 { before = middle } else { after = middle }
        }
        last = (after, offset);
        changes.push(last);
    }
    LocalTime::new(changes)
}

/// Seconds that local time is ahead of UTC at this second.
fn offset_at(seconds: i64) -> i32 {
    local(seconds).0
}

/// The zone's name at this second.
fn name_at(seconds: i64) -> Arc<str> {
    local(seconds).1
}

#[allow(unsafe_code)]
fn local(seconds: i64) -> (i32, Arc<str>) {
    let seconds: libc::time_t = seconds;
    // SAFETY: tm is plain data, and both pointers are valid for the call. localtime_r writes to `fields` only.
    let (done, fields) = unsafe {
        let mut fields: libc::tm = std::mem::zeroed();
        let done = !libc::localtime_r(&seconds, &mut fields).is_null();
        (done, fields)
    };
    if !done || fields.tm_zone.is_null() {
        return (0, "UTC".into());
    }
    // SAFETY: the C library's names of zones are text with an end, and stay for the life of the process.
    let name = unsafe { CStr::from_ptr(fields.tm_zone) };
    (fields.tm_gmtoff as i32, name.to_string_lossy().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_to_the_second() {
        let summer = |seconds: i64| if (1_000_000_123..1_015_000_000).contains(&seconds) { 7200 } else { 3600 };
        let table = around(1_005_000_000, summer);
        for second in [900_000_000, 1_000_000_122, 1_000_000_123, 1_014_999_999, 1_015_000_000, 2_000_000_000] {
            assert_eq!(table.offset_at(second), summer(second), "{second}");
        }
    }

    #[test]
    fn the_system_knows_its_zone() {
        let offset = local_time().offset_at(1_795_284_670);
        assert!(offset.abs() <= 15 * 3600 && offset % 60 == 0);
    }
}
