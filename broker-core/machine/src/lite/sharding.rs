//! Which of a parent topic's queues a lite topic belongs to, and so which broker (`LiteShardingImpl`, 5.5, with Guava's
//! `Hashing.consistentHash`).

use halley_model::tag::java_hash;

/// The position of the lite topic's queue among `queues`, which are all that producers write, by broker and number.
pub fn shard_of(lite: &str, queues: usize) -> usize {
    let mut generator = Generator(i64::from(java_hash(lite)));
    let mut candidate = 0;
    loop {
        let next = ((candidate + 1) as f64 / generator.next()) as i64;
        match usize::try_from(next) {
            Ok(next) if next < queues => candidate = next,
            _ => return candidate,
        }
    }
}

/// Guava's linear congruential generator.
struct Generator(i64);

impl Generator {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        f64::from(((self.0 as u64 >> 33) as i32).wrapping_add(1)) / f64::from(1u32 << 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_stay_when_others_come() {
        for lite in ["a", "b", "lite-7", "session/42"] {
            let mut before = shard_of(lite, 1);
            assert_eq!(before, 0);
            for queues in 2..64 {
                let now = shard_of(lite, queues);
                assert!(now == before || now == queues - 1, "a new queue only takes, {lite}");
                before = now;
            }
        }
    }
}
