//! Mutations without coverage feedback: cheap, reproducible from a seed, and good at lengths, numbers and joints.

/// A small reproducible generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that always gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.number() % bound as u64) as usize }
    }
}

/// Longest input that mutations make, in bytes.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Numbers at which decoders break.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x00FF_FFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    u64::MAX,
];

/// Changes `input` in one to eight places. `other` is another valid input to take pieces from, `words` are the target's.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    for _ in 0..=random.below(8) {
        step(random, input, other, words);
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn step(random: &mut Random, input: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let at = random.below(input.len());
    match random.below(11) {
        0 => flip(random, input, at),
        1 => set(random, input, at),
        2 => drop(input.drain(at..at + random_len(random, input.len() - at))),
        3 => input.truncate(at),
        4 => {
            let byte = random.number() as u8;
            input.insert(at, byte);
        }
        5 => {
            let piece = input[at..at + random_len(random, input.len() - at)].to_vec();
            insert(random, input, &piece);
        }
        6 => {
            let from = random.below(other.len());
            let piece = &other[from..from + random_len(random, other.len() - from)];
            insert(random, input, piece);
        }
        7 => {
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len())..]);
        }
        8 => number(random, input, at),
        9 => digits(random, input),
        _ => {
            let word = words.get(random.below(words.len())).map_or("", |word| *word);
            insert(random, input, word.as_bytes());
        }
    }
}

/// Mostly short, seldom long.
fn random_len(random: &mut Random, max: usize) -> usize {
    let bound = if random.below(8) == 0 { max } else { max.min(16) };
    random.below(bound + 1)
}

fn flip(random: &mut Random, input: &mut [u8], at: usize) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn set(random: &mut Random, input: &mut [u8], at: usize) {
    if let Some(byte) = input.get_mut(at) {
        *byte = random.number() as u8;
    }
}

fn insert(random: &mut Random, input: &mut Vec<u8>, piece: &[u8]) {
    let at = random.below(input.len() + 1);
    input.splice(at..at, piece.iter().copied());
}

/// Overwrites a big-endian integer of 1, 2, 4 or 8 bytes.
fn number(random: &mut Random, input: &mut [u8], at: usize) {
    let width = 1 << random.below(4);
    let mut value = NUMBERS[random.below(NUMBERS.len())];
    if random.below(2) == 0 {
        value = value.wrapping_add(input.len() as u64).wrapping_sub(random.below(4) as u64);
    }
    if let Some(bytes) = input.get_mut(at..at + width) {
        bytes.copy_from_slice(&value.to_be_bytes()[8 - width..]);
    }
}

/// Replaces a run of ASCII digits by another number, for text formats.
fn digits(random: &mut Random, input: &mut Vec<u8>) {
    let starts: Vec<usize> = (0..input.len())
        .filter(|at| input[*at].is_ascii_digit() && (*at == 0 || !input[*at - 1].is_ascii_digit()))
        .collect();
    let Some(start) = starts.get(random.below(starts.len())) else { return };
    let len = input[*start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = NUMBERS[random.below(NUMBERS.len())];
    let text = if random.below(4) == 0 { format!("-{value}") } else { value.to_string() };
    input.splice(*start..*start + len, text.into_bytes());
}
