//! Times in the format of Signature Version 4: `20130524T000000Z`, UTC, to the second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};

/// Formats a time as `20130524T000000Z`; a time before 1970 counts as 1970.
pub(in crate::auth) fn amz_date(now: SystemTime) -> String {
    let time = DateTime::<Utc>::from(now.max(UNIX_EPOCH));
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Parses the format of [`amz_date`]; `None` for any other spelling, and for days that do not exist.
pub(in crate::auth) fn parse_amz_date(text: &str) -> Option<SystemTime> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    if bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u32, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    let year = number(&bytes[..4])?.try_into().ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(&bytes[4..6])?, number(&bytes[6..8])?)?;
    let (hour, minute, second) =
        (number(&bytes[9..11])?, number(&bytes[11..13])?, number(&bytes[13..15])?);
    let time = date.and_hms_opt(hour, minute, second)?.and_utc();
    Some(UNIX_EPOCH + Duration::from_secs(time.timestamp().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn dates_follow_the_calendar() {
        let at = |seconds| amz_date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_782_399), "20000228T235959Z");
        assert_eq!(at(951_782_400), "20000229T000000Z");
        assert_eq!(at(1_709_251_199), "20240229T235959Z");
        assert_eq!(at(1_709_251_200), "20240301T000000Z");
        assert_eq!(at(1_735_689_599), "20241231T235959Z");
        assert_eq!(at(4_107_542_400), "21000301T000000Z");
        assert_eq!(amz_date(UNIX_EPOCH - Duration::from_secs(1)), "19700101T000000Z");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for day in 0..200_000 {
            let time = UNIX_EPOCH + Duration::from_secs(day * DAY + day * 7919 % DAY);
            assert_eq!(parse_amz_date(&amz_date(time)), Some(time), "{day}");
        }
    }

    #[test]
    fn no_other_spelling_and_no_impossible_time_is_read() {
        for text in [
            "",
            "20130524",
            "20130524T000000",
            "20130524T000000z",
            "20130524t000000Z",
            "2013-05-24T00:00:00Z",
            "20130524T000000Z ",
            "20130524T0000 0Z",
            "+0130524T000000Z",
            "19691231T235959Z",
            "20130024T000000Z",
            "20131324T000000Z",
            "20130500T000000Z",
            "20130532T000000Z",
            "20130229T000000Z",
            "21000229T000000Z",
            "20130524T240000Z",
            "20130524T006000Z",
            "20130524T000060Z",
            "19700100T000000Z",
        ] {
            assert_eq!(parse_amz_date(text), None, "{text:?}");
        }
    }
}
