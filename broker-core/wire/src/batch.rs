//! The body of a batch send: messages one after the other (`MessageDecoder.encodeMessage`, RocketMQ 5.5).
//!
//! ```text
//! 0 total size 4 · magic 4 · CRC 4 · flag 4 · body length 4, body · properties length 2, properties
//! ```
//! Total size, magic and CRC are not looked at: clients send magic and CRC as 0, and RocketMQ reads by the inner
//! lengths only.

use bytes::BufMut;

const FIXED_BYTES: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    /// The application's own flag.
    pub flag: i32,
    /// The payload.
    pub body: &'a [u8],
    /// Raw properties, see `halley_model::property`.
    pub properties: &'a [u8],
}

/// A batch breaks off within a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "message {index} of the batch, at byte {at} of the body, has a {part} that does not fit in the rest of the body"
)]
pub struct BatchError {
    /// The message's number, from 0.
    pub index: usize,
    /// Where it begins, in bytes from the beginning of the body.
    pub at: usize,
    /// Its "head", "body" or "properties".
    pub part: &'static str,
}

/// The messages of a batch, in order. After an error nothing more comes. An empty body has no messages.
pub fn messages(body: &[u8]) -> Messages<'_> {
    Messages { body, at: 0, index: 0 }
}

/// See [`messages`].
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    body: &'a [u8],
    at: usize,
    index: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<BatchMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        match message(rest) {
            Ok((message, tail)) => {
                self.at = self.body.len() - tail.len();
                self.index += 1;
                Some(Ok(message))
            }
            Err(part) => {
                let error = BatchError { index: self.index, at: self.at, part };
                self.at = self.body.len();
                Some(Err(error))
            }
        }
    }
}

fn message(rest: &[u8]) -> Result<(BatchMessage<'_>, &[u8]), &'static str> {
    let (head, rest) = rest.split_first_chunk::<20>().ok_or("head")?;
    let [.., f0, f1, f2, f3, b0, b1, b2, b3] = *head;
    let flag = i32::from_be_bytes([f0, f1, f2, f3]);
    let length = usize::try_from(i32::from_be_bytes([b0, b1, b2, b3])).map_err(|_| "body")?;
    let (body, rest) = rest.split_at_checked(length).ok_or("body")?;
    let (length, rest) = rest.split_first_chunk().ok_or("properties")?;
    let length = usize::try_from(i16::from_be_bytes(*length)).map_err(|_| "properties")?;
    let (properties, rest) = rest.split_at_checked(length).ok_or("properties")?;
    Ok((BatchMessage { flag, body, properties }, rest))
}

/// Appends one message to a batch. `false`, appending nothing, where its lengths do not fit their fields.
pub fn push(out: &mut impl BufMut, message: BatchMessage<'_>) -> bool {
    let BatchMessage { flag, body, properties } = message;
    let Ok(properties_len) = i16::try_from(properties.len()) else { return false };
    let total = FIXED_BYTES.saturating_add(body.len()).saturating_add(properties.len());
    let Ok(total) = i32::try_from(total) else { return false };
    out.put_i32(total);
    out.put_slice(&[0; 8]);
    out.put_i32(flag);
    // The body is shorter than the total, which fits.
    out.put_i32(body.len() as i32);
    out.put_slice(body);
    out.put_i16(properties_len);
    out.put_slice(properties);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_name_the_place() {
        let mut body = Vec::new();
        assert!(push(&mut body, BatchMessage { flag: 7, body: b"one", properties: b"a\x01b\x02" }));
        let second = body.len();
        assert!(push(&mut body, BatchMessage { flag: -1, body: b"", properties: b"" }));
        assert_eq!(second, 29);
        assert_eq!(messages(&body).collect::<Result<Vec<_>, _>>().unwrap().len(), 2);
        let part_of = |body: &[u8]| match messages(body).last() {
            Some(Err(error)) => (error.index, error.at, error.part),
            other => panic!("{other:?}"),
        };
        assert_eq!(part_of(&body[..second + 19]), (1, second, "head"));
        assert_eq!(part_of(&body[..second + 21]), (1, second, "properties"));
        assert_eq!(part_of(&body[..22]), (0, 0, "body"));
        body[16] = 0xFF;
        assert_eq!(part_of(&body), (0, 0, "body"));
        assert_eq!(messages(&[]).count(), 0);
        assert!(!push(&mut Vec::new(), BatchMessage { flag: 0, body: b"", properties: &[0; 32_768] }));
    }

    proptest! {
        #[test]
        fn batches_come_back(batch in proptest::collection::vec((any::<i32>(), proptest::collection::vec(any::<u8>(), 0..30), proptest::collection::vec(any::<u8>(), 0..30)), 0..6)) {
            let batch: Vec<_> = batch.iter().map(|(flag, body, properties)| BatchMessage { flag: *flag, body, properties }).collect();
            let mut body = Vec::new();
            for message in &batch {
                prop_assert!(push(&mut body, *message));
            }
            prop_assert_eq!(messages(&body).collect::<Result<Vec<_>, _>>().unwrap(), batch);
        }

        #[test]
        fn any_bytes_end(body in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200)) {
            prop_assert!(messages(&body).count() <= body.len() / FIXED_BYTES + 1);
        }
    }
}
