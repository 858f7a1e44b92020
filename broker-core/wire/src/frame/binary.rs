//! The binary header (`RocketMQSerializable`, 5.5).

use super::{Frame, FrameError, Serialize};
use crate::ext::{self, Ext};

const FIXED_BYTES: usize = 13;

/// Reads a whole header.
pub(super) fn decode(header: &[u8]) -> Result<Frame<'_>, FrameError> {
    let Some((fixed, rest)) = header.split_first_chunk::<FIXED_BYTES>() else {
        return Err(malformed(header.len(), "13 bytes of code, language, version, opaque and flag"));
    };
    let [c0, c1, language, v0, v1, o0, o1, o2, o3, f0, f1, f2, f3] = *fixed;
    let mut frame = Frame {
        code: i16::from_be_bytes([c0, c1]).into(),
        language,
        version: i16::from_be_bytes([v0, v1]).into(),
        opaque: i32::from_be_bytes([o0, o1, o2, o3]),
        flag: i32::from_be_bytes([f0, f1, f2, f3]),
        ..Frame::empty(Serialize::Binary)
    };
    let at = |rest: &[u8]| header.len() - rest.len();
    let (remark, rest) = prefixed(rest).ok_or(malformed(at(rest), "a remark within the header"))?;
    if !remark.is_empty() {
        frame.remark = Some(String::from_utf8_lossy(remark));
    }
    if rest.is_empty() {
        // No client is known to end here, but nothing is missing either.
        return Ok(frame);
    }
    let (fields, _) = prefixed(rest).ok_or(malformed(at(rest), "ext fields within the header"))?;
    let fields_at = at(rest) + 4;
    let mut unread = fields;
    let mut count = 0;
    while !unread.is_empty() {
        let at = fields_at + fields.len() - unread.len();
        ext::binary_pair(&mut unread).ok_or(malformed(at, "a name and a value within the ext fields"))?;
        count += 1;
        if count > ext::FIELDS_MAX {
            return Err(FrameError::TooManyFields);
        }
    }
    frame.ext = Ext::checked(fields, Serialize::Binary);
    Ok(frame)
}

/// `int32 length` and as many bytes.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)
}

fn malformed(at: usize, expected: &'static str) -> FrameError {
    FrameError::Header { form: "binary", at, expected }
}
