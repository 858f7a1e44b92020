//! Timestamps of RFC 3339.

use halley_model::Millis;

/// Whether `text` is a timestamp such as `2026-01-02T03:04:05.678Z` or `2026-01-02T03:04:05+01:00`.
pub(crate) fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() {
        return false;
    }
    let number = |from: usize, to: usize| {
        text[from..to]
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text[from..to].parse::<u32>().unwrap_or(u32::MAX))
    };
    let within =
        |value: Option<u32>, min: u32, max: u32| value.is_some_and(|value| (min..=max).contains(&value));
    let separators = bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    let fields = within(number(0, 4), 0, 9999)
        && within(number(5, 7), 1, 12)
        && within(number(8, 10), 1, 31)
        && within(number(11, 13), 0, 23)
        && within(number(14, 16), 0, 59)
        && within(number(17, 19), 0, 60);
    separators && fields && is_rest(&text[19..])
}

/// An optional fraction and a zone.
fn is_rest(rest: &str) -> bool {
    let zone = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
    };
    match zone.as_bytes() {
        b"Z" | b"z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let pair = |a: &u8, b: &u8| {
                (a.is_ascii_digit() && b.is_ascii_digit()).then(|| (a - b'0') * 10 + (b - b'0'))
            };
            pair(h1, h2).is_some_and(|hours| hours < 24) && pair(m1, m2).is_some_and(|minutes| minutes < 60)
        }
        _ => false,
    }
}

/// A time as RFC 3339 in UTC with milliseconds; days by the civil calendar (proleptic Gregorian).
pub fn format(millis: Millis) -> String {
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // Days since 0000-03-01, so that leap days end their year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The milliseconds since 1970 of a timestamp of RFC 3339; what is finer is left out.
pub fn parse(text: &str) -> Option<Millis> {
    if !is_rfc3339(text) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (clock, rest) = (number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?, &text[19..]);
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let fraction = &rest[usize::from(digits > 0)..][..digits];
    let millis = format!("{fraction:0<3}")[..3].parse::<i64>().ok()?;
    let zone = match &rest[digits + usize::from(digits > 0)..] {
        "Z" | "z" => 0,
        zone => {
            let minutes = zone[1..3].parse::<i64>().ok()? * 60 + zone[4..6].parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    // Days by the civil calendar, as in `format`.
    let shifted = year - i64::from(month <= 2);
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some((days * 86_400 + clock - zone * 60) * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_times() {
        for millis in [0, 1_709_210_096_789, -1, 951_782_400_000, 1_764_000_000_001] {
            assert_eq!(parse(&format(millis)), Some(millis));
        }
        for (text, same) in [
            ("2026-01-02T03:04:05+01:30", "2026-01-02T01:34:05.000Z"),
            ("2026-01-02T23:04:05.7-02:00", "2026-01-03T01:04:05.700Z"),
            ("2026-01-02t03:04:05.123999z", "2026-01-02T03:04:05.123Z"),
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some(same));
        }
        assert_eq!(parse("2026-01-02"), None);
    }

    #[test]
    fn timestamps() {
        for text in ["2026-01-02T03:04:05Z", "2018-04-05T17:31:00.123456789+01:00", "2026-12-31t23:59:60z"] {
            assert!(is_rfc3339(text), "{text}");
        }
        for text in [
            "",
            "2026-01-02",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+1:00",
            "2026-01-02T24:04:05Z",
        ] {
            assert!(!is_rfc3339(text), "{text}");
        }
        assert_eq!(format(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format(1_709_210_096_789), "2024-02-29T12:34:56.789Z");
        assert_eq!(format(-1), "1969-12-31T23:59:59.999Z");
        assert!(is_rfc3339(&format(1_764_000_000_000)));
    }
}
