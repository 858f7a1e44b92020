//! Tags as the queue index knows them: a Java `String.hashCode()`, so that a filter need not read the record.

/// Java's `String.hashCode()` of `text`: over UTF-16 units, `h = 31 * h + unit`, wrapping (JLS, `java.lang.String`).
pub fn java_hash(text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(0i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    }
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// What the queue index holds for a message with these raw properties: the hash of its tag, 0 without one
/// (RocketMQ `MessageExtBrokerInner.tagsString2tagsCode`).
pub fn code_of(raw_properties: &[u8]) -> i32 {
    crate::property::get(raw_properties, crate::property::TAGS).map_or(0, java_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_like_java() {
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("the quick brown fox"), 1_302_335_171);
        assert_eq!(java_hash("ü"), 252);
        assert_eq!(java_hash("😀"), 1_772_899);
    }
}
