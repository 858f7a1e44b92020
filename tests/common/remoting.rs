//! A bare Remoting client: any request, also wrong ones, and the whole reply.

use super::PATIENCE;
use bytes::BytesMut;
use halley_wire::{
    ExtValue, Serialize, VERSION_5_5_0,
    encode::{self, Request},
    frame::{self, Limits},
    language,
};
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

/// A reply as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    pub code: i32,
    pub remark: Option<String>,
    pub ext: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// A connection that asks one request at a time, as a client of version 5.5.0 in a language without a name would.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    opaque: i32,
}

impl Connection {
    pub fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: Vec::new(), opaque: 0 }
    }

    /// Sends a request and waits for its reply; `None` where the server closes the connection instead, an error where it does
    /// neither for as long as anything is waited for.
    pub fn ask(
        &mut self,
        serialize: Serialize,
        code: i32,
        fields: &[(String, String)],
        body: &[u8],
    ) -> io::Result<Option<Reply>> {
        self.send(serialize, code, fields, body, false);
        self.read_reply()
    }

    /// Sends a request that wants no reply.
    pub fn tell(&mut self, serialize: Serialize, code: i32, fields: &[(String, String)], body: &[u8]) {
        self.send(serialize, code, fields, body, true);
    }

    fn send(
        &mut self,
        serialize: Serialize,
        code: i32,
        fields: &[(String, String)],
        body: &[u8],
        oneway: bool,
    ) {
        self.opaque += 1;
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), ExtValue::Text(value))).collect();
        let opaque = self.opaque;
        let head =
            Request { serialize, code, opaque, oneway, language: language::OTHER, version: VERSION_5_5_0 };
        let mut bytes = BytesMut::new();
        encode::request(&mut bytes, head, &fields, body).unwrap();
        // Who closed the connection already says so when it is read.
        let _ = self.stream.write_all(&bytes);
    }

    /// The next request of the server, as its code and fields; `None` where it closes the connection instead.
    pub fn next_request(&mut self) -> io::Result<Option<Reply>> {
        loop {
            while let Some((frame, used)) = frame::decode(&self.input, &Limits::default()).unwrap() {
                let request = (!frame.is_reply()).then(|| Reply {
                    code: frame.code,
                    remark: None,
                    ext: frame
                        .ext
                        .iter()
                        .map(|(name, value)| (name.into_owned(), value.text().into_owned()))
                        .collect(),
                    body: frame.body.to_vec(),
                });
                self.input.drain(..used);
                if request.is_some() {
                    return Ok(request);
                }
            }
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Ok(None),
                read => self.input.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// The reply to the last request; what else the server sends meanwhile, as notifications, is dropped.
    fn read_reply(&mut self) -> io::Result<Option<Reply>> {
        loop {
            while let Some((frame, used)) = frame::decode(&self.input, &Limits::default()).unwrap() {
                let is_ours = frame.is_reply() && frame.opaque == self.opaque;
                let reply = Reply {
                    code: frame.code,
                    // An absent remark is an empty one in binary headers.
                    remark: frame.remark.filter(|remark| !remark.is_empty()).map(String::from),
                    ext: frame
                        .ext
                        .iter()
                        .map(|(name, value)| (name.into_owned(), value.text().into_owned()))
                        .collect(),
                    body: frame.body.to_vec(),
                };
                self.input.drain(..used);
                if is_ours {
                    return Ok(Some(reply));
                }
            }
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => self.input.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
