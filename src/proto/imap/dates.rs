//! IMAP's dates: `date-time` (INTERNALDATE, APPEND) and `date` (SEARCH), RFC 9051 §9.
//!
//! Invariants: parsed days exist in the proleptic Gregorian calendar; formatting a parsed date-time gives the same text
//! (but for a leap second, which becomes the next minute's first).
//! Not here: Date header fields (`proto::message`).

use super::types::InternalDate;
use crate::base::clock::UnixMillis;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

const MILLIS_PER_MINUTE: i64 = 60_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Days from 1970-01-01 to the day, negative before it.
#[must_use]
pub fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years start in March, eras have 400 of them.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month as i32 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i32 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// (year, month 1–12, day 1–31) of a day counted from 1970-01-01.
#[must_use]
pub fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    } as u32;
    let year = (year_of_era + era * 400) as i32 + i32::from(month <= 2);
    (year, month, day)
}

fn two_digits(text: &[u8]) -> Option<u32> {
    let [a, b] = *text else { return None };
    let is_number = a.is_ascii_digit() && b.is_ascii_digit();
    is_number.then(|| u32::from(a - b'0') * 10 + u32::from(b - b'0'))
}

/// `d-Mon-yyyy` or `dd-Mon-yyyy` as days since 1970-01-01; `None` for a day that is none.
#[must_use]
pub fn parse_date(text: &[u8]) -> Option<i32> {
    let (day, rest) = text.split_at_checked(text.len().checked_sub(9)?)?;
    let day = match *day {
        [digit] if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => two_digits(day)?,
    };
    let [b'-', month @ .., b'-', c, d, e, f] = rest else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u32 + 1;
    let year = (two_digits(&[*c, *d])? * 100 + two_digits(&[*e, *f])?) as i32;
    let days = days_from_civil(year, month, day);
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

/// `dd-Mon-yyyy hh:mm:ss +zzzz` without its quotes; the day may be space and digit.
#[must_use]
pub fn parse_date_time(text: &[u8]) -> Option<InternalDate> {
    if text.len() != 26 || text[11] != b' ' || text[14] != b':' || text[17] != b':' || text[20] != b' ' {
        return None;
    }
    let day_start = usize::from(text[0] == b' ');
    let days = parse_date(&text[day_start..11])?;
    let (hour, minute, second) = (
        two_digits(&text[12..14])?,
        two_digits(&text[15..17])?,
        two_digits(&text[18..20])?,
    );
    let (zone_hour, zone_minute) = (two_digits(&text[22..24])?, two_digits(&text[24..26])?);
    if hour > 23 || minute > 59 || second > 60 || zone_hour > 23 || zone_minute > 59 {
        return None;
    }
    let zone = i64::from(zone_hour * 60 + zone_minute);
    let zone = match text[21] {
        b'+' => zone,
        b'-' => -zone,
        _ => return None,
    };
    let local = i64::from(days) * SECONDS_PER_DAY + i64::from(hour * 3600 + minute * 60 + second);
    Some(InternalDate {
        at: UnixMillis(local * 1000 - zone * MILLIS_PER_MINUTE),
        zone_minutes: zone as i16,
    })
}

/// Appends `"dd-Mon-yyyy hh:mm:ss +zzzz"` with its quotes. Years beyond 0–9999 are shown as the nearest of these.
pub fn push_date_time(date: InternalDate, out: &mut Vec<u8>) {
    let local = date
        .at
        .0
        .saturating_add(i64::from(date.zone_minutes) * MILLIS_PER_MINUTE);
    let (first, last) = (days_from_civil(0, 1, 1), days_from_civil(9999, 12, 31));
    let seconds = local.div_euclid(1000).clamp(
        i64::from(first) * SECONDS_PER_DAY,
        i64::from(last) * SECONDS_PER_DAY + SECONDS_PER_DAY - 1,
    );
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY) as i32);
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
    out.push(b'"');
    push_padded(day, 2, b' ', out);
    out.push(b'-');
    out.extend_from_slice(MONTHS[month as usize - 1]);
    out.push(b'-');
    push_padded(year as u32, 4, b'0', out);
    for (separator, value) in [
        (b' ', of_day / 3600),
        (b':', of_day / 60 % 60),
        (b':', of_day % 60),
    ] {
        out.push(separator);
        push_padded(value, 2, b'0', out);
    }
    let zone = u32::from(date.zone_minutes.unsigned_abs());
    out.extend_from_slice(if date.zone_minutes < 0 { b" -" } else { b" +" });
    push_padded(zone / 60 * 100 + zone % 60, 4, b'0', out);
    out.push(b'"');
}

fn push_padded(value: u32, width: usize, fill: u8, out: &mut Vec<u8>) {
    let start = out.len();
    super::encode::push_number(u64::from(value), out);
    for _ in out.len() - start..width {
        out.insert(start, fill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(date: InternalDate) -> String {
        let mut out = Vec::new();
        push_date_time(date, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn the_rfc_example_is_read_and_shown() {
        let date = parse_date_time(b"17-Jul-1996 02:44:25 -0700").expect("valid");
        assert_eq!({ date.at }, UnixMillis(837_596_665_000));
        assert_eq!(date.zone_minutes, -420);
        assert_eq!(shown(date), "\"17-Jul-1996 02:44:25 -0700\"");
        let early = parse_date_time(b" 1-jan-1970 00:00:00 +0000").expect("valid");
        assert_eq!(shown(early), "\" 1-Jan-1970 00:00:00 +0000\"");
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        assert_eq!(parse_date(b"1-Feb-1994"), Some(8797));
        assert_eq!(parse_date(b"29-Feb-2024"), Some(19782));
        for bad in [
            "29-Feb-2023",
            "0-Jan-2000",
            "31-Apr-2000",
            "1-Foo-2000",
            "1-Jan-200",
            "001-Jan-2000",
            "",
        ] {
            assert_eq!(parse_date(bad.as_bytes()), None, "{bad}");
        }
        for bad in [
            "17-Jul-1996 24:00:00 +0000",
            "17-Jul-1996 00:00:00 0000 ",
            "17-Jul-1996 00:00:00 +0060",
        ] {
            assert_eq!(parse_date_time(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn civil_and_days_are_inverse(days in -700_000_i32..2_900_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
        }

        #[test]
        fn a_date_time_reads_back(seconds in -60_000_000_000_i64..250_000_000_000, zone_minutes in -1439_i16..=1439) {
            let date = InternalDate { at: UnixMillis(seconds * 1000), zone_minutes };
            let text = shown(date);
            prop_assert_eq!(parse_date_time(&text.as_bytes()[1..27]), Some(date));
        }
    }
}
