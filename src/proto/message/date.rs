//! Dates of header fields: reading the day from a Date field, writing RFC 5322 dates.
//!
//! Invariants: no input panics; a date outside years 1 to 9999 is none. SENTBEFORE and its kin read the day alone and
//! compare it "disregarding time and timezone" (RFC 9051 §6.4.4), and mail without a zone keeps its day that way
//! (mail-parser's date reader gives nothing then, hence the few lines here).
//! Limits: [`DATE_BYTES_MAX`].
//!
//! Standards: RFC 5322 §3.3, §4.3. Not here: IMAP's own date syntax (`proto::imap`), clocks (`base::clock`).

use super::header;
use super::mime::comment_length;
use crate::base::clock::UnixMillis;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

/// Octets of a Date field looked at. A date with its comments has some 60.
pub const DATE_BYTES_MAX: usize = 256;

/// Of a zone. RFC 5322 §3.3 has them up to 99; there are none beyond 14, and half a day more is room for what a government
/// may think of: a clock that is off by days says nothing of when a message was sent.
const ZONE_HOURS_MAX: u16 = 23;

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// The day of the header's first Date field, in days since 1970-01-01; `None` if it has none or not a valid one.
#[must_use]
pub fn sent_date(header: &[u8]) -> Option<i32> {
    day(header::first(header, "date")?.value)
}

/// The instant of the header's first Date field, in seconds since 1970; `None` if not even its day can be read. A time
/// that cannot be read is midnight, a zone UTC (RFC 5256 §2.2).
#[must_use]
pub fn sent_at(header: &[u8]) -> Option<i64> {
    let value = header::first(header, "date")?.value;
    let day = day(value)?;
    Some(i64::from(day) * 86_400 + seconds_of_day(&value[..value.len().min(DATE_BYTES_MAX)]))
}

/// `hh:mm[:ss] [zone]`, in seconds of the day in UTC.
fn seconds_of_day(value: &[u8]) -> i64 {
    let words = words(value);
    // Words are slices of the value: what stands between two tells a time from a date and the sign of a zone.
    let offset = |word: &[u8]| word.as_ptr() as usize - value.as_ptr() as usize;
    let behind = |word: &[u8]| value.get(offset(word) + word.len()).copied();
    let Some(at) = words.iter().position(|word| behind(word) == Some(b':')) else {
        return 0;
    };
    let mut parts = [0_i64; 3];
    let mut next = at;
    for part in &mut parts {
        let Some(number) = words.get(next).and_then(|word| number(word)) else {
            return 0;
        };
        *part = i64::from(number);
        next += 1;
        if behind(words[next - 1]) != Some(b':') {
            break;
        }
    }
    let [hours, minutes, seconds] = parts;
    if hours > 23 || minutes > 59 || seconds > 60 {
        return 0;
    }
    let zone_minutes = words.get(next).map_or(0, |zone| {
        let sign = offset(zone).checked_sub(1).and_then(|at| value.get(at)).copied();
        zone_minutes(sign, zone)
    });
    hours * 3600 + minutes * 60 + seconds - zone_minutes * 60
}

/// RFC 5322 §4.3 names zones of North America; all others that are words are UTC, and numbers that are no hours and minutes
/// (RFC 5256 §2.2).
fn zone_minutes(sign: Option<u8>, zone: &[u8]) -> i64 {
    if let (4, Some(number), Some(sign @ (b'+' | b'-'))) = (zone.len(), number(zone), sign) {
        if number / 100 > ZONE_HOURS_MAX || number % 100 > 59 {
            return 0;
        }
        let minutes = i64::from(number / 100) * 60 + i64::from(number % 100);
        return if sign == b'-' { -minutes } else { minutes };
    }
    let hours = match zone.to_ascii_uppercase().as_slice() {
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        _ => 0,
    };
    hours * 60
}

/// The day of an RFC 5322 date-time, in days since 1970-01-01; the time may be missing.
#[must_use]
pub fn day(value: &[u8]) -> Option<i32> {
    let words = words(&value[..value.len().min(DATE_BYTES_MAX)]);
    // The name of the day may stand before.
    let at = words.iter().take(2).position(|w| w[0].is_ascii_digit())?;
    let [day, month, year, ..] = words.get(at..)? else {
        return None;
    };
    let month = month.get(..3)?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    let date = Date::new(
        year_of(year)?,
        i8::try_from(month).ok()?,
        i8::try_from(number(day)?).ok()?,
    );
    let days = date.ok()?.since(Date::constant(1970, 1, 1)).ok()?.get_days();
    Some(days)
}

/// Runs of letters and digits, outside comments.
fn words(value: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < value.len() {
        let length = value[at..]
            .iter()
            .position(|b| !b.is_ascii_alphanumeric())
            .unwrap_or(value.len() - at);
        if length > 0 {
            words.push(&value[at..at + length]);
            at += length;
        } else if value[at] == b'(' {
            at += comment_length(&value[at..]);
        } else {
            at += 1;
        }
    }
    words
}

/// RFC 5322 §4.3: two digits are 1950 to 2049, three count from 1900.
fn year_of(word: &[u8]) -> Option<i16> {
    let year = number(word)?;
    let year = match word.len() {
        2 if year < 50 => year + 2000,
        2 | 3 => year + 1900,
        4 => year,
        _ => return None,
    };
    i16::try_from(year).ok()
}

fn number(word: &[u8]) -> Option<u16> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// `at` as an RFC 5322 date-time in UTC, such as `Thu, 1 Jan 1970 00:00:00 +0000`. A time outside the years 0 to 9999
/// is shown as the epoch.
#[must_use]
pub fn format(at: UnixMillis) -> String {
    let mut text = Vec::new();
    write(at, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends what [`format()`] gives.
pub fn write(at: UnixMillis, out: &mut Vec<u8>) {
    let mut print = |seconds| {
        let zoned = Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC);
        // It checks the year before it writes anything.
        DateTimePrinter::new().print_zoned(&zoned, &mut *out).ok()
    };
    let _ = print(at.seconds()).or_else(|| print(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_those_of_utc() {
        let day = 14_614 * 86_400;
        for (value, seconds) in [
            ("Wed, 05 Jan 2010 10:20:30 +0200", 8 * 3600 + 20 * 60 + 30),
            ("5 Jan 2010 10:20 -0130 (x:y)", 11 * 3600 + 50 * 60),
            ("5 Jan 2010 10:20:30", 10 * 3600 + 20 * 60 + 30),
            ("5 Jan 2010 10:20:30 EST", 15 * 3600 + 20 * 60 + 30),
            ("5 Jan 2010 25:20:30 EST", 0),
            ("5 Jan 2010 10:20:30 +9999", 10 * 3600 + 20 * 60 + 30),
            ("5 Jan 2010 10:20:30 -0060", 10 * 3600 + 20 * 60 + 30),
            ("5 Jan 2010 10:20:30 -2400", 10 * 3600 + 20 * 60 + 30),
            ("5 Jan 2010 10:20:30 -1359", 24 * 3600 + 19 * 60 + 30),
            ("5 Jan 2010", 0),
            ("5 Jan 2010 1x:20", 0),
        ] {
            let header = format!("Date: {value}\r\n\r\n");
            assert_eq!(sent_at(header.as_bytes()), Some(day + seconds), "{value}");
        }
        assert_eq!(sent_at(b"Date: today\r\n\r\n"), None);
    }

    #[test]
    fn days_are_read_without_time_and_zone() {
        for (value, expected) in [
            ("Thu, 1 Jan 1970 23:59:59 -1200", Some(0)),
            (" Fri, 21 Nov 1997 09:55:06 -0600", Some(10_186)),
            ("21 Nov 97 09:55:06 GMT", Some(10_186)),
            ("Fri, 21 Nov 097", Some(10_186)),
            ("Fri,\r\n 21(x (y)) November 1997", Some(10_186)),
            ("Wed, 31 Dec 1969 00:00:00 +0000", Some(-1)),
            ("Fri, 30 Feb 2024 00:00:00 +0000", None),
            ("1 Foo 2024", None),
            ("99999999999 Jan 2024", None),
            ("Thursday", None),
            ("", None),
        ] {
            assert_eq!(day(value.as_bytes()), expected, "{value}");
        }
        assert_eq!(
            sent_date(b"date: 2 Jan 1970 0:00\r\nDate: 3 Jan 1970\r\n\r\n"),
            Some(1)
        );
    }

    #[test]
    fn dates_are_written_in_utc() {
        assert_eq!(format(UnixMillis(0)), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(
            format(UnixMillis(1_700_000_000_999)),
            "Tue, 14 Nov 2023 22:13:20 +0000"
        );
        assert_eq!(format(UnixMillis(i64::MAX)), format(UnixMillis(0)));
        assert_eq!(
            day(format(UnixMillis(86_400_000 * 9_999)).as_bytes()),
            Some(9_999)
        );
    }
}
