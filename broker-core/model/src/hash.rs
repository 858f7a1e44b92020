//! The hash of a key that keeps events in order. It decides a key's queue and lies in persisted cursors, so that it must
//! never change.

/// FNV-1a, 32 bits.
pub fn of_key(key: &[u8]) -> u32 {
    key.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_fnv1a() {
        assert_eq!(of_key(b""), 0x811C_9DC5);
        assert_eq!(of_key(b"a"), 0xE40C_292C);
        assert_eq!(of_key(b"foobar"), 0xBF9C_F968);
    }
}
