//! Durations as people write them: `5s`, `500ms`, `1h30m`, and ISO 8601 as Knative has it: `PT5S`.

/// Longest duration, in milliseconds: a thousand years, so that sums never overflow.
const MILLIS_MAX: u64 = 1000 * 366 * 24 * 3_600_000;

/// The duration in milliseconds, `None` where `text` is not one.
pub fn parse(text: &str) -> Option<u64> {
    let millis = match text.strip_prefix('P') {
        Some(iso) => parse_iso(iso)?,
        None => {
            parse_units(text, &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)])?
        }
    };
    (millis <= MILLIS_MAX).then_some(millis)
}

fn parse_iso(text: &str) -> Option<u64> {
    let (days, time) = text.split_once('T').unwrap_or((text, ""));
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let of =
        |part: &str, units: &[(&str, u64)]| if part.is_empty() { Some(0) } else { parse_units(part, units) };
    let days = of(days, &[("D", 86_400_000)])?;
    of(time, &[("H", 3_600_000), ("M", 60_000), ("S", 1000)])?.checked_add(days)
}

/// Numbers with units behind them, each with up to three decimals.
fn parse_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let (_, millis) = units.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *millis)?)?;
        rest = next;
    }
    Some(total)
}

fn scaled(number: &str, millis: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(millis)?;
    let part = fraction.parse::<u64>().ok()? * millis / 10u64.pow(fraction.len() as u32);
    whole.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_iso_durations() {
        for (text, millis) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("24h", 86_400_000),
            ("1.5s", 1500),
            ("2d", 172_800_000),
            ("PT5S", 5000),
            ("PT0.2S", 200),
            ("P1DT2H", 93_600_000),
            ("PT1M30S", 90_000),
        ] {
            assert_eq!(parse(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5x",
            "-5s",
            "1.s",
            "1.2345s",
            "P",
            "PT",
            "99999999999999999999s",
            "5 s",
            "9999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
