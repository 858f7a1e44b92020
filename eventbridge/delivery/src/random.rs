//! A small seeded generator (SplitMix64): the same seed gives the same jitter, so a run can be repeated.

#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0..=max`. The slight bias towards small numbers of `%` is no matter for jitter.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        let drawn = self.next();
        max.checked_add(1).map_or(drawn, |count| drawn % count)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
