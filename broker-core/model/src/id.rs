//! Message ids that name a place: the broker's address and the log offset, in hexadecimal
//! (RocketMQ `MessageDecoder.createMessageId`).

use crate::LogOffset;
use std::net::{IpAddr, SocketAddr};

/// The id of the record at `offset` on the broker at `host`: 32 characters, 56 with an IPv6 host.
pub fn offset_id(host: SocketAddr, offset: LogOffset) -> String {
    let mut id = String::with_capacity(56);
    push_offset_id(&mut id, host, offset);
    id
}

/// Appends [`offset_id`] to `out`.
pub fn push_offset_id(out: &mut String, host: SocketAddr, offset: LogOffset) {
    let mut hex = |byte: u8| {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    };
    match host.ip() {
        IpAddr::V4(ip) => ip.octets().into_iter().for_each(&mut hex),
        IpAddr::V6(ip) => ip.octets().into_iter().for_each(&mut hex),
    }
    u32::from(host.port()).to_be_bytes().into_iter().for_each(&mut hex);
    offset.to_be_bytes().into_iter().for_each(&mut hex);
}

/// The address and offset named by an [`offset_id`], `None` where `id` is not one.
pub fn parse_offset_id(id: &str) -> Option<(SocketAddr, LogOffset)> {
    let bytes = |from: usize, to: usize| id.get(from..to).and_then(|hex| u128::from_str_radix(hex, 16).ok());
    let (ip, at) = match id.len() {
        32 => (IpAddr::V4(u32::try_from(bytes(0, 8)?).ok()?.into()), 8),
        56 => (IpAddr::V6(bytes(0, 32)?.into()), 32),
        _ => return None,
    };
    let port = u16::try_from(bytes(at, at + 8)?).ok()?;
    Some((SocketAddr::new(ip, port), u64::try_from(bytes(at + 8, at + 24)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_place() {
        let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
        assert_eq!(offset_id(host, 0x1234), "7F00000100002A9F0000000000001234");
        assert_eq!(parse_offset_id("7F00000100002A9F0000000000001234"), Some((host, 0x1234)));
        let six: SocketAddr = "[::1]:10911".parse().unwrap();
        assert_eq!(parse_offset_id(&offset_id(six, 7)), Some((six, 7)));
        assert_eq!(parse_offset_id("xyz"), None);
        assert_eq!(parse_offset_id("7F00000100FFFFFF0000000000001234"), None);
    }
}
