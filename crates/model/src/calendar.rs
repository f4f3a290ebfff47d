//! The Gregorian calendar, in days since 1970-01-01: what a Unix time is as a date and back. No zones, no locale, no text.
//!
//! Both directions count in years that begin on a 1 March, so that the leap day is a year's last, and in eras of 400 such
//! years, which all have 146,097 days (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").

/// Days from 0000-03-01, where the first era begins, to 1970-01-01.
const ERAS_BEGIN: i64 = 719_468;
const DAYS_OF_ERA: i64 = 146_097;

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Astronomical: 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

impl Date {
    /// The date of a day counted from 1970-01-01.
    pub fn from_days(days: i64) -> Self {
        let days = days + ERAS_BEGIN;
        let (era, of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self { year: year + era * 400 + i64::from(month <= 2), month, day }
    }

    /// Days from 1970-01-01; a day past its month's end counts on into the next month.
    pub fn days(self) -> i64 {
        let after_february = self.month > 2;
        let year = if after_february { self.year } else { self.year - 1 };
        let month_from_march = if after_february { self.month - 3 } else { self.month + 9 };
        let of_era = year.rem_euclid(400);
        let of_year = (153 * month_from_march + 2) / 5 + self.day - 1;
        year.div_euclid(400) * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - ERAS_BEGIN
    }

    /// 28 to 31.
    pub fn days_in_month(self) -> i64 {
        let next = if self.month == 12 {
            Self { year: self.year + 1, month: 1, day: 1 }
        } else {
            Self { month: self.month + 1, day: 1, ..self }
        };
        next.days() - Self { day: 1, ..self }.days()
    }

    /// 1 (January the first) to 366.
    pub fn day_of_year(self) -> i64 {
        self.days() - Self { month: 1, day: 1, ..self }.days() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let check = |days, year, month, day| {
            let date = Date { year, month, day };
            assert_eq!((Date::from_days(days), date.days()), (date, days));
        };
        check(0, 1970, 1, 1);
        check(-1, 1969, 12, 31);
        check(11_016, 2000, 2, 29);
        check(20_512, 2026, 2, 28);
        check(20_513, 2026, 3, 1);
        check(47_541, 2100, 3, 1);
        check(-719_468, 0, 3, 1);
    }

    #[test]
    fn every_day_of_an_era_and_more_follows_the_one_before() {
        let mut before = Date::from_days(-800_000);
        for days in -799_999..100_000 {
            let date = Date::from_days(days);
            assert_eq!(date.days(), days);
            let expected = if before.day < before.days_in_month() {
                Date { day: before.day + 1, ..before }
            } else if before.month < 12 {
                Date { month: before.month + 1, day: 1, ..before }
            } else {
                Date { year: before.year + 1, month: 1, day: 1 }
            };
            assert_eq!(date, expected);
            before = date;
        }
    }

    #[test]
    fn lengths_of_months_and_places_in_years() {
        let date = |year, month, day| Date { year, month, day };
        for (year, days) in [(1900, 28), (2000, 29), (2023, 28), (2024, 29)] {
            assert_eq!(date(year, 2, 10).days_in_month(), days, "{year}");
        }
        assert_eq!(date(2023, 12, 31).days_in_month(), 31);
        assert_eq!(date(2023, 12, 31).day_of_year(), 365);
        assert_eq!(date(2024, 12, 31).day_of_year(), 366);
        assert_eq!(date(2016, 2, 29).day_of_year(), 60);
    }
}
