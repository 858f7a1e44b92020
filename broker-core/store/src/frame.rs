//! The frame: what the log is made of, and what is there as a whole or not at all. Byte diagram and reasons in
//! `docs/format/log.md`.

use halley_model::{LogOffset, RecordView};

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 32;
/// Longest frame with its header, in bytes.
pub(crate) const BYTES_MAX: usize = 16 << 20;

/// "HLF1".
pub(crate) const MAGIC: u32 = 0x484C_4631;
const VERSION: u16 = 0;

/// What a frame holds. The numbers are on disk and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Records = 1,
    SegmentStart = 2,
    Open = 3,
}

/// A frame's header, as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of the frame with its header.
    pub(crate) length: usize,
    pub(crate) kind: Kind,
    pub(crate) epoch: u32,
    pub(crate) crc: u32,
    pub(crate) records: u32,
    /// How many bytes right before the frame were not known to be durable when it was written.
    pub(crate) unsynced: u64,
}

/// Why bytes are not a frame here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("nothing is written here")]
    Nothing,
    #[error("0x{0:08X} is not a frame's magic number")]
    Magic(u32),
    #[error("a frame cannot have {0} bytes")]
    Length(u32),
    #[error("version {1} of frame kind {0} is unknown")]
    Unknown(u16, u16),
    #[error("the frame's crc does not match: it is damaged, or does not follow the frame before it")]
    Crc,
    #[error("the frame of epoch {found} follows one of epoch {before}")]
    Epoch { found: u32, before: u32 },
    #[error("the frame is cut off")]
    CutOff,
    #[error("a segment start frame stands inside a segment")]
    Start,
}

impl Header {
    /// Reads a header and checks everything that the header alone can tell.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        if *bytes == [0; HEADER_BYTES] {
            return Err(FrameError::Nothing);
        }
        let length = u32_at(bytes, 0);
        let magic = u32_at(bytes, 4);
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        if (length as usize) < HEADER_BYTES || length as usize > BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        let kind = u16::from_be_bytes([bytes[8], bytes[9]]);
        let version = u16::from_be_bytes([bytes[10], bytes[11]]);
        let kind = match (kind, version) {
            (1, VERSION) => Kind::Records,
            (2, VERSION) => Kind::SegmentStart,
            (3, VERSION) => Kind::Open,
            _ => return Err(FrameError::Unknown(kind, version)),
        };
        Ok(Self {
            length: length as usize,
            kind,
            epoch: u32_at(bytes, 12),
            crc: u32_at(bytes, 16),
            records: u32_at(bytes, 20),
            unsynced: u64_at(bytes, 24),
        })
    }
}

/// What the writer puts into a header.
pub(crate) struct Fields {
    pub(crate) kind: Kind,
    pub(crate) epoch: u32,
    pub(crate) records: u32,
    pub(crate) unsynced: u64,
}

/// Fills in the header of `frame`, whose first [`HEADER_BYTES`] are free for it. Returns the crc, to be the `chain` of
/// the next frame.
pub(crate) fn seal(frame: &mut [u8], fields: &Fields, chain: u32) -> u32 {
    let length = u32::try_from(frame.len()).expect("the sequencer bounds frames by BYTES_MAX");
    assert!(frame.len() >= HEADER_BYTES && frame.len() <= BYTES_MAX, "a frame of {length} bytes");
    frame[0..4].copy_from_slice(&length.to_be_bytes());
    frame[4..8].copy_from_slice(&MAGIC.to_be_bytes());
    frame[8..10].copy_from_slice(&(fields.kind as u16).to_be_bytes());
    frame[10..12].copy_from_slice(&VERSION.to_be_bytes());
    frame[12..16].copy_from_slice(&fields.epoch.to_be_bytes());
    frame[20..24].copy_from_slice(&fields.records.to_be_bytes());
    frame[24..32].copy_from_slice(&fields.unsynced.to_be_bytes());
    let crc = crc_of(frame, chain);
    frame[16..20].copy_from_slice(&crc.to_be_bytes());
    crc
}

/// The crc that a whole frame must carry where the frame before it carries `chain`.
pub(crate) fn crc_of(frame: &[u8], chain: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(chain);
    hasher.update(&frame[..16]);
    hasher.update(&frame[20..]);
    hasher.finalize()
}

/// Calls `each` for the records of a frame that begins at `at`, whose crc was checked. Fails where they are not the
/// records that the writer put there: then the writer was wrong, or the crc was met by chance.
pub(crate) fn for_each_record(
    frame: &[u8],
    header: &Header,
    at: LogOffset,
    mut each: impl FnMut(&RecordView<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut position = HEADER_BYTES;
    let mut records = 0;
    while position < frame.len() {
        let log_offset = at + position as u64;
        let view = RecordView::parse(&frame[position..])
            .map_err(|error| format!("no record at log offset {log_offset}: {error}"))?;
        if view.log_offset() != log_offset {
            return Err(format!(
                "the record at log offset {log_offset} says it lies at {}",
                view.log_offset()
            ));
        }
        each(&view)?;
        position += view.total_len();
        records += 1;
    }
    if records != header.records {
        return Err(format!("the frame at {at} has {records} records, its header says {}", header.records));
    }
    Ok(())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(payload: &[u8], epoch: u32, chain: u32) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES];
        frame.extend_from_slice(payload);
        seal(&mut frame, &Fields { kind: Kind::Records, epoch, records: 1, unsynced: 0 }, chain);
        frame
    }

    fn header(frame: &[u8]) -> Result<Header, FrameError> {
        Header::parse(frame[..HEADER_BYTES].try_into().unwrap())
    }

    #[test]
    fn zeros_are_nothing_and_other_bytes_are_named() {
        assert_eq!(header(&[0; HEADER_BYTES]), Err(FrameError::Nothing));
        assert!(matches!(header(&[7; HEADER_BYTES]), Err(FrameError::Magic(0x0707_0707))));
        let mut frame = sealed(b"x", 1, 0);
        frame[3] = 31;
        assert_eq!(header(&frame), Err(FrameError::Length(31)));
        frame[3] = 33;
        frame[9] = 9;
        assert_eq!(header(&frame), Err(FrameError::Unknown(9, 0)));
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..200), chain: u32, at: prop::sample::Index, bit in 0u8..8) {
            let mut frame = sealed(&payload, 3, chain);
            let crc = header(&frame).unwrap().crc;
            prop_assert_eq!(crc_of(&frame, chain), crc);
            prop_assert_ne!(crc_of(&frame, chain ^ 1), crc, "a frame follows one frame only");
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            let noticed = match header(&frame) {
                Ok(header) => crc_of(&frame, chain) != header.crc || header.length != frame.len(),
                Err(_) => true,
            };
            prop_assert!(noticed);
        }
    }
}
