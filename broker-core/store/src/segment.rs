//! Segments: the files that together are the log's address space.

use crate::{
    disk::{Disk, DiskError, DiskFile, read_full},
    frame::{self, Fields, FrameError, HEADER_BYTES, Header, Kind, u32_at, u64_at},
    index::sidecar::Sidecar,
    keys::Summary,
};
use halley_model::{LogOffset, Millis};
use parking_lot::RwLock;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

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
    /// Where it ends, once the next one began: also when that one is long removed.
    ended: OnceLock<LogOffset>,
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
        Self::at(base, Arc::new(file), base, None)
    }

    /// The stretch from `base` on of a file of RocketMQ's.
    pub(crate) fn foreign(base: LogOffset, file: Arc<F>, file_base: LogOffset, fingerprint: u32) -> Self {
        Self::at(base, file, file_base, Some(fingerprint))
    }

    fn at(base: LogOffset, file: Arc<F>, file_base: LogOffset, foreign: Option<u32>) -> Self {
        let (sidecar, keys, ended) = (OnceLock::new(), RwLock::default(), OnceLock::new());
        Self { base, file, file_base, foreign, sidecar, keys, ended }
    }

    /// Where it ends; `None` while it is the last.
    pub(crate) fn end(&self) -> Option<LogOffset> {
        self.ended.get().copied()
    }

    /// Where in the file the byte with this address lies.
    pub(crate) fn position(&self, at: LogOffset) -> u64 {
        at - self.file_base
    }
}

/// All segments of a store, in log order. The log's thread adds some at the end, retention takes some from the beginning.
pub(crate) struct Segments<D: Disk> {
    list: RwLock<List<D::File>>,
}

struct List<F> {
    there: VecDeque<Arc<Segment<F>>>,
    /// How many were taken from the beginning. The index knows segments by number, those that are gone counted.
    gone: u32,
}

impl<F> List<F> {
    /// The place of the first segment that begins behind `offset`.
    fn behind(&self, offset: LogOffset) -> usize {
        self.there.partition_point(|segment| segment.base <= offset)
    }

    fn get(&self, at: usize) -> Option<Arc<Segment<F>>> {
        self.there.get(at).map(Arc::clone)
    }
}

impl<D: Disk> Segments<D> {
    pub(crate) fn new() -> Self {
        Self { list: RwLock::new(List { there: VecDeque::new(), gone: 0 }) }
    }

    pub(crate) fn push(&self, segment: Arc<Segment<D::File>>) {
        let mut list = self.list.write();
        if let Some(last) = list.there.back() {
            assert!(last.base < segment.base, "segments are added in log order");
            let first = last.ended.set(segment.base).is_ok();
            assert!(first, "only the last segment has no end");
        }
        list.there.push_back(segment);
    }

    /// Takes away the segments before `until`, where one begins. The last one stays.
    pub(crate) fn take_before(&self, until: LogOffset) -> Vec<Arc<Segment<D::File>>> {
        let mut list = self.list.write();
        let count = list.there.partition_point(|segment| segment.base < until);
        assert!(list.there.get(count).is_some_and(|first| first.base == until), "a segment begins there");
        list.gone += u32::try_from(count).expect("four thousand million segments do not fit memory");
        list.there.drain(..count).collect()
    }

    /// The segment that holds `offset`, where one begins at or before it.
    pub(crate) fn holding(&self, offset: LogOffset) -> Option<Arc<Segment<D::File>>> {
        let list = self.list.read();
        list.get(list.behind(offset).checked_sub(1)?)
    }

    /// The number of the segment beginning at `base`, which is in the list.
    pub(crate) fn number_of(&self, base: LogOffset) -> u32 {
        let list = self.list.read();
        let at = list.there.binary_search_by_key(&base, |segment| segment.base);
        let at = at.expect("only segments in the list are asked for");
        list.gone + u32::try_from(at).expect("four thousand million segments do not fit memory")
    }

    /// The segment of this number; `None` where it is gone.
    pub(crate) fn at(&self, number: u32) -> Option<Arc<Segment<D::File>>> {
        let list = self.list.read();
        list.get(number.checked_sub(list.gone)? as usize)
    }

    /// The first segment that begins behind `base`.
    pub(crate) fn after(&self, base: LogOffset) -> Option<Arc<Segment<D::File>>> {
        let list = self.list.read();
        list.get(list.behind(base))
    }

    /// The segment before the one beginning at `base`.
    pub(crate) fn before(&self, base: LogOffset) -> Option<Arc<Segment<D::File>>> {
        let list = self.list.read();
        let at = list.there.partition_point(|segment| segment.base < base);
        list.get(at.checked_sub(1)?)
    }

    /// The segments that are whole and have their sidecars, from the first one on.
    pub(crate) fn sealed(&self) -> Vec<Arc<Segment<D::File>>> {
        let list = self.list.read();
        let sealed = list.there.iter().take_while(|segment| segment.sidecar.get().is_some());
        sealed.filter(|segment| segment.end().is_some()).map(Arc::clone).collect()
    }

    /// Where the last segment begins.
    pub(crate) fn last(&self) -> LogOffset {
        self.list.read().there.back().map_or(0, |segment| segment.base)
    }

    /// Where the log begins.
    pub(crate) fn first(&self) -> LogOffset {
        self.list.read().there.front().map_or(0, |segment| segment.base)
    }

    /// Where the first segment with frames begins.
    pub(crate) fn foreign_end(&self) -> LogOffset {
        let list = self.list.read();
        let own = list.there.partition_point(|segment| segment.foreign.is_some());
        list.there.get(own).map_or(0, |segment| segment.base)
    }

    pub(crate) fn count(&self) -> usize {
        self.list.read().there.len()
    }
}
