//! Message ids that name a place: the broker's address and the log offset, in hexadecimal
//! (RocketMQ `MessageDecoder.createMessageId`).

use crate::{LogOffset, Millis};
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

/// A message's unique key, for a client that gave none: 32 characters, 56 with an IPv6 host (`MessageClientIDSetter`, 5.5:
/// address, process, a class loader's hash, time, counter). It is unique as long as a process makes fewer than 2^32 keys
/// in the 49 days after which the time comes round.
pub fn unique_key(host: SocketAddr, process: u32, now: Millis, counter: u32) -> String {
    use std::fmt::Write;
    let mut key = String::with_capacity(56);
    let written = match host.ip() {
        IpAddr::V4(ip) => write!(key, "{:08X}", ip.to_bits()),
        IpAddr::V6(ip) => write!(key, "{:032X}", ip.to_bits()),
    };
    // Java has a hash of its class loader where the counter's upper half stands here.
    let (process, upper, lower) = (process as u16, counter >> 16, counter as u16);
    written
        .and_then(|()| write!(key, "{process:04X}{upper:08X}{:08X}{lower:04X}", now as u32))
        .expect("writing to a string does not fail");
    key
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
        assert_eq!(unique_key(host, 0x1_0002, 0xABCDEF, 0x3_0004), "7F00000100020000000300ABCDEF0004");
        let six: SocketAddr = "[::1]:10911".parse().unwrap();
        assert_eq!(parse_offset_id(&offset_id(six, 7)), Some((six, 7)));
        assert_eq!(parse_offset_id("xyz"), None);
        assert_eq!(parse_offset_id("7F00000100FFFFFF0000000000001234"), None);
    }
}
