//! Segments: the files that together are the log's address space.

use crate::{
    disk::{Disk, DiskError, DiskFile, read_full},
    frame::{self, Fields, FrameError, HEADER_BYTES, Header, Kind, u32_at, u64_at},
    index::sidecar::Sidecar,
    keys::Summary,
};
use halley_model::{LogOffset, Millis};
use parking_lot::RwLock;
use std::sync::{Arc, OnceLock};

/// Bytes of a segment's first frame.
pub(crate) const START_BYTES: usize = HEADER_BYTES + 24;
/// Bytes of the frame each opening writes.
pub(crate) const OPEN_BYTES: usize = HEADER_BYTES + 8;

/// Where segments lie.
pub(crate) const DIR: &str = "log";
/// The reserved file that becomes the next segment.
pub(crate) const SPARE: &str = "log/next.tmp";

pub(crate) fn path_of(base: LogOffset) -> String {
    format!("{DIR}/{base:020}.seg")
}

/// The number in a file name of 20 digits and `suffix`.
pub(crate) fn number_in(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The first frame of a segment.
pub(crate) struct Start {
    pub(crate) base: LogOffset,
    pub(crate) created: Millis,
    pub(crate) epoch: u32,
    /// The crc of the last frame before this segment.
    pub(crate) chain: u32,
    /// How many bytes before this segment were not known to be durable when it was begun.
    pub(crate) unsynced: u64,
}

impl Start {
    /// The frame's bytes, and its crc.
    pub(crate) fn encode(&self) -> ([u8; START_BYTES], u32) {
        let mut frame = [0; START_BYTES];
        frame[32..40].copy_from_slice(&self.base.to_be_bytes());
        frame[40..48].copy_from_slice(&self.created.to_be_bytes());
        frame[48..52].copy_from_slice(&self.chain.to_be_bytes());
        let fields =
            Fields { kind: Kind::SegmentStart, epoch: self.epoch, records: 0, unsynced: self.unsynced };
        let crc = frame::seal(&mut frame, &fields, self.chain);
        (frame, crc)
    }

    /// Reads and checks the first frame of the segment that should begin at `base`; gives its crc too.
    pub(crate) fn read(
        file: &impl DiskFile,
        base: LogOffset,
    ) -> Result<Result<(Self, u32), String>, DiskError> {
        let mut bytes = [0; START_BYTES];
        if !read_full(file, 0, &mut bytes)? {
            return Ok(Err("the segment start frame is cut off".to_owned()));
        }
        let checked = Self::decode(&bytes).map_err(|error| error.to_string());
        Ok(checked.and_then(|(start, crc)| {
            if start.base == base {
                Ok((start, crc))
            } else {
                Err(format!("the segment start frame says that the segment begins at {}", start.base))
            }
        }))
    }

    fn decode(bytes: &[u8; START_BYTES]) -> Result<(Self, u32), FrameError> {
        let (head, _) = bytes.split_first_chunk().expect("a start frame is longer than a header");
        let header = Header::parse(head)?;
        if header.kind != Kind::SegmentStart || header.length != START_BYTES {
            return Err(FrameError::Length(header.length as u32));
        }
        let chain = u32_at(bytes, 48);
        if frame::crc_of(bytes, chain) != header.crc {
            return Err(FrameError::Crc);
        }
        let created = u64_at(bytes, 40) as Millis;
        let base = u64_at(bytes, 32);
        Ok((Self { base, created, epoch: header.epoch, chain, unsynced: header.unsynced }, header.crc))
    }
}

/// The frame that makes a new epoch durable; gives its crc too.
pub(crate) fn open_frame(now: Millis, epoch: u32, chain: u32) -> ([u8; OPEN_BYTES], u32) {
    let mut frame = [0; OPEN_BYTES];
    frame[32..40].copy_from_slice(&now.to_be_bytes());
    let crc = frame::seal(&mut frame, &Fields { kind: Kind::Open, epoch, records: 0, unsynced: 0 }, chain);
    (frame, crc)
}

/// One segment: a stretch of the log's addresses, and the file it lies in.
pub(crate) struct Segment<F> {
    pub(crate) base: LogOffset,
    pub(crate) file: Arc<F>,
    /// The address of the file's first byte.
    file_base: LogOffset,
    /// Set for a stretch of RocketMQ's log, which has records and no frames: what tells its file from others.
    pub(crate) foreign: Option<u32>,
    /// The sidecar with its index, once it is sealed and the sidecar written.
    pub(crate) sidecar: OnceLock<Sidecar<F>>,
    /// What the key index knows of it, once it is sealed.
    pub(crate) keys: RwLock<Keys>,
}

/// How far the key index is with a sealed segment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Keys {
    /// Nobody has looked yet whether it has a file.
    #[default]
    Unknown,
    /// It has a file.
    Indexed(Summary),
    /// It has none that can be trusted.
    Missing,
}

impl<F> Segment<F> {
    pub(crate) fn new(base: LogOffset, file: F) -> Self {
        let (file, file_base) = (Arc::new(file), base);
        Self { base, file, file_base, foreign: None, sidecar: OnceLock::new(), keys: RwLock::default() }
    }

    /// The stretch from `base` on of a file of RocketMQ's.
    pub(crate) fn foreign(base: LogOffset, file: Arc<F>, file_base: LogOffset, fingerprint: u32) -> Self {
        let foreign = Some(fingerprint);
        Self { base, file, file_base, foreign, sidecar: OnceLock::new(), keys: RwLock::default() }
    }

    /// Where in the file the byte with this address lies.
    pub(crate) fn position(&self, at: LogOffset) -> u64 {
        at - self.file_base
    }
}

/// All segments of a store, in log order. Only the log's thread adds any, and none goes: the index knows them by number.
pub(crate) struct Segments<D: Disk> {
    list: RwLock<Vec<Arc<Segment<D::File>>>>,
}

impl<D: Disk> Segments<D> {
    pub(crate) fn new() -> Self {
        Self { list: RwLock::new(Vec::new()) }
    }

    pub(crate) fn push(&self, segment: Arc<Segment<D::File>>) {
        let mut list = self.list.write();
        assert!(list.last().is_none_or(|last| last.base < segment.base), "segments are added in log order");
        list.push(segment);
    }

    /// The segment that holds `offset`, where one begins at or before it.
    pub(crate) fn holding(&self, offset: LogOffset) -> Option<Arc<Segment<D::File>>> {
        let list = self.list.read();
        let after = list.partition_point(|segment| segment.base <= offset);
        after.checked_sub(1).map(|at| Arc::clone(&list[at]))
    }

    /// The number of the segment beginning at `base`, which is in the list.
    pub(crate) fn number_of(&self, base: LogOffset) -> u32 {
        let at = self.list.read().binary_search_by_key(&base, |segment| segment.base);
        let at = at.expect("only segments in the list are asked for");
        u32::try_from(at).expect("four thousand million segments do not fit memory")
    }

    /// The segment of this number.
    pub(crate) fn at(&self, number: u32) -> Arc<Segment<D::File>> {
        Arc::clone(&self.list.read()[number as usize])
    }

    /// The segment after the one beginning at `base`.
    pub(crate) fn after(&self, base: LogOffset) -> Option<Arc<Segment<D::File>>> {
        let list = self.list.read();
        list.get(list.partition_point(|segment| segment.base <= base)).map(Arc::clone)
    }

    /// The segment before the one beginning at `base`.
    pub(crate) fn before(&self, base: LogOffset) -> Option<Arc<Segment<D::File>>> {
        let list = self.list.read();
        let at = list.partition_point(|segment| segment.base < base);
        at.checked_sub(1).map(|at| Arc::clone(&list[at]))
    }

    /// Where the last segment begins.
    pub(crate) fn last(&self) -> LogOffset {
        self.list.read().last().map_or(0, |segment| segment.base)
    }

    /// Where the log begins.
    pub(crate) fn first(&self) -> LogOffset {
        self.list.read().first().map_or(0, |segment| segment.base)
    }

    /// Where the first segment with frames begins.
    pub(crate) fn foreign_end(&self) -> LogOffset {
        let list = self.list.read();
        list.get(list.partition_point(|segment| segment.foreign.is_some())).map_or(0, |segment| segment.base)
    }

    pub(crate) fn count(&self) -> usize {
        self.list.read().len()
    }
}
