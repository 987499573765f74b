//! Wall-clock time of registrations, and its form in a Date header field (RFC 3261 §20.17).

use std::fmt;

/// Wall clock, whole seconds since 1970-01-01 00:00:00 UTC.
///
/// Expiry is wall-clock time because it has to survive a restart and to mean the same on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This many seconds later; the end of time when that does not fit.
    pub fn after(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(u64::from(seconds)))
    }

    /// Whole seconds from `now` until this time, 0 when it is over.
    pub fn remaining(self, now: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(now.0)).unwrap_or(u32::MAX)
    }

    /// An RFC 1123 date in GMT, the only form that RFC 3261 §20.17 knows.
    pub fn date(self) -> impl fmt::Display {
        Date(self.0)
    }
}

struct Date(u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / DAY, self.0 % DAY);
        let (year, month, day) = civil(days);
        let weekday = name_at(&WEEKDAYS, days % 7);
        let month = name_at(&MONTHS, month - 1);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

/// Year, month 1–12 and day 1–31 of a day number in the Gregorian calendar.
///
/// Counted in eras of 400 years that start on 1 March of year 0: there every leap day is the last day of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn name_at<'a>(names: &[&'a str], index: u64) -> &'a str {
    usize::try_from(index).ok().and_then(|i| names.get(i)).copied().unwrap_or("")
}

const DAY: u64 = 86_400;
const DAYS_PER_ERA: u64 = 146_097;
/// From 1 March of year 0 to 1 January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;
/// From day 0: 1 January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_1123() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (784_887_151, "Tue, 15 Nov 1994 08:12:31 GMT"), // the example of RFC 2616 §14.18
            (1_289_692_740, "Sat, 13 Nov 2010 23:59:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), // 2100 has no 29 February
        ] {
            assert_eq!(UnixTime(seconds).date().to_string(), date);
        }
    }

    #[test]
    fn remaining_never_wraps() {
        assert_eq!(UnixTime(100).remaining(UnixTime(40)), 60);
        assert_eq!(UnixTime(40).remaining(UnixTime(100)), 0);
        assert_eq!(UnixTime(u64::MAX).remaining(UnixTime(0)), u32::MAX);
        assert_eq!(UnixTime(u64::MAX).after(5), UnixTime(u64::MAX));
    }
}
