//! Sizes as people write them: `500GiB`, `20GB`.

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// The size in bytes, `None` where `text` is not one.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (number, bytes) = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))?;
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { number.parse::<u64>().ok()?.checked_mul(bytes) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("500GiB", 500 << 30), ("128MiB", 128 << 20), ("7B", 7), ("20GB", 20_000_000_000)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "5", "GiB", "-1B", "1.5GiB", "5 GiB", "5gib", "99999999999TiB", "5KiBB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
