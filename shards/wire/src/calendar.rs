//! Calendar dates from seconds since 1970. Callers add the offset of local time themselves; no clock, no time zones.

const SECONDS_PER_DAY: i64 = 86_400;
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// The last second of the year 9999, the latest that dates of four digits can show.
pub const LAST_SECOND: i64 = 253_402_300_799;

/// A calendar date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Year, 1970 to 9999.
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

impl Calendar {
    /// The date of a count of seconds since 1970. Times outside 1970 to 9999 give the first or last second of that range.
    pub fn from_seconds(seconds: i64) -> Self {
        let seconds = seconds.clamp(0, LAST_SECOND);
        let (days, time) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        // Howard Hinnant's days-to-civil: years that begin in March put the leap day last, eras of 400 years have equal length.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as u64,
            month: month as u64,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u64,
            hour: (time / 3600) as u64,
            minute: (time / 60 % 60) as u64,
            second: (time % 60) as u64,
        }
    }

    /// The English three-letter name of the month.
    pub fn month_name(&self) -> &'static [u8] {
        let start = (self.month.clamp(1, 12) as usize - 1) * 3;
        &MONTHS[start..start + 3]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(seconds: i64) -> (u64, u64, u64, u64, u64, u64) {
        let Calendar { year, month, day, hour, minute, second } = Calendar::from_seconds(seconds);
        (year, month, day, hour, minute, second)
    }

    #[test]
    fn dates() {
        assert_eq!(fields(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(fields(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(fields(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(fields(1_709_251_199), (2024, 2, 29, 23, 59, 59));
        assert_eq!(fields(4_107_542_400), (2100, 3, 1, 0, 0, 0));
        assert_eq!(fields(1_795_284_670), (2026, 11, 21, 18, 11, 10));
        assert_eq!(fields(-5), (1970, 1, 1, 0, 0, 0));
        assert_eq!(fields(i64::MAX), (9999, 12, 31, 23, 59, 59));
        assert_eq!(Calendar::from_seconds(1_795_284_670).month_name(), b"Nov");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = Calendar::from_seconds(0);
        for day in 1..146_097 {
            let now = Calendar::from_seconds(day * SECONDS_PER_DAY);
            let next_day = now.day == before.day + 1 && now.month == before.month && now.year == before.year;
            let next_month = now.day == 1 && before.day >= 28 && now.month == before.month % 12 + 1;
            assert!(next_day || next_month, "{before:?} {now:?}");
            before = now;
        }
        assert_eq!((before.year, before.month, before.day), (2369, 12, 31));
    }

    proptest! {
        #[test]
        fn fields_give_the_seconds_back(seconds in 0..=LAST_SECOND) {
            let Calendar { year, month, day, hour, minute, second } = Calendar::from_seconds(seconds);
            let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
            let leap = leap_days(year) - leap_days(year - 1);
            let lengths = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let months: u64 = lengths[..month as usize - 1].iter().sum();
            let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + months + day - 1;
            prop_assert!(day <= lengths[month as usize - 1]);
            prop_assert_eq!(((days * 24 + hour) * 60 + minute) * 60 + second, seconds as u64);
        }
    }
}
