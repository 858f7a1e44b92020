use super::{Tls, TlsFiles, TlsMode};
use crate::NameServer;
use bytes::BytesMut;
use halley_wire::{
    encode::{self, Request},
    frame,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

/// A name server with TLS.
struct Served {
    _runtime: Runtime,
    stop: watch::Sender<bool>,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Served {
    fn new(mode: TlsMode, files: Option<TlsFiles>) -> Self {
        let runtime = Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (stop, stopped) = watch::channel(false);
        let tls = Tls::new(mode, files).unwrap();
        let names = NameServer::open(dir.path().to_owned()).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(tls.clone().watch(stopped.clone()));
        let (house, house_stopped) = (names.clone(), stopped.clone());
        runtime.spawn(async move { house.keep_house(house_stopped).await });
        runtime.spawn(async move { names.serve(listener, tls, stopped).await });
        Self { _runtime: runtime, stop, address, _dir: dir }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A certificate for `localhost` in files; as who trusts it needs it.
fn certificate(dir: &Path) -> (TlsFiles, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    fs::write(&files.cert, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (files, roots)
}

fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn sealed(address: SocketAddr, roots: &RootCertStore) -> StreamOwned<ClientConnection, TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(client, plain(address))
}

/// Puts a value of this size and gets it again, all of `requests` at once; how many replies came, in order.
fn converse(stream: &mut (impl Read + Write), size: usize, requests: i32) -> io::Result<i32> {
    let value = "v".repeat(size);
    let request = |code, opaque, value: &str| {
        let fields = [("namespace", "n"), ("key", "k"), ("value", value)];
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut bytes = BytesMut::new();
        encode::request(&mut bytes, Request::new(code, opaque), &fields, b"").unwrap();
        bytes
    };
    stream.write_all(&request(100, 0, &value))?;
    stream.flush()?;
    let mut input = BytesMut::new();
    let mut part = vec![0; 16 * 1024];
    let mut replies = 0;
    while replies < requests {
        while let Some((frame, length)) = frame::decode(&input, &frame::Limits::default()).unwrap() {
            assert_eq!((frame.opaque, frame.code), (replies, 0), "{:?}", frame.remark);
            assert!(frame.opaque == 0 || length > size);
            let _ = input.split_to(length);
            if replies == 0 {
                let gets: Vec<u8> = (1..requests).flat_map(|opaque| request(101, opaque, "")).collect();
                stream.write_all(&gets)?;
                stream.flush()?;
            }
            replies += 1;
        }
        if replies < requests {
            let read = stream.read(&mut part)?;
            if read == 0 {
                break;
            }
            input.extend_from_slice(&part[..read]);
        }
    }
    Ok(replies)
}

#[test]
fn one_port_takes_both() {
    let dir = tempfile::tempdir().unwrap();
    let (files, roots) = certificate(dir.path());
    let served = Served::new(TlsMode::Permissive, Some(files));
    assert_eq!(converse(&mut plain(served.address), 10, 5).unwrap(), 5);
    let mut stream = sealed(served.address, &roots);
    assert_eq!(converse(&mut stream, 10, 5).unwrap(), 5);
    // More than fits into the socket and into the buffer of sealed bytes at once: the client reads only after it wrote all.
    assert_eq!(converse(&mut stream, 60_000, 400).unwrap(), 400);
    // Whoever leaves in order gets his leave.
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn modes_refuse_what_they_do_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let (files, roots) = certificate(dir.path());
    let enforcing = Served::new(TlsMode::Enforcing, Some(files.clone()));
    assert_eq!(converse(&mut sealed(enforcing.address, &roots), 10, 2).unwrap(), 2);
    assert_ne!(converse(&mut plain(enforcing.address), 10, 2).unwrap_or(0), 2);
    let disabled = Served::new(TlsMode::Disabled, Some(files));
    assert_eq!(converse(&mut plain(disabled.address), 10, 2).unwrap(), 2);
    assert!(converse(&mut sealed(disabled.address, &roots), 10, 2).is_err());
}

#[test]
fn a_certificate_made_here_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let (_, roots) = certificate(dir.path());
    let served = Served::new(TlsMode::Permissive, None);
    let error = converse(&mut sealed(served.address, &roots), 10, 2).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn a_replaced_certificate_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let (files, first) = certificate(dir.path());
    let served = Served::new(TlsMode::Permissive, Some(files));
    assert_eq!(converse(&mut sealed(served.address, &first), 10, 2).unwrap(), 2);
    // It must have been seen once before it can be seen to change.
    std::thread::sleep(Duration::from_millis(100));
    let (_, second) = certificate(dir.path());
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while converse(&mut sealed(served.address, &second), 10, 2).unwrap_or(0) != 2 {
        assert!(std::time::Instant::now() < end, "the new certificate is not used");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_is_no_certificate_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = certificate(dir.path());
    let swapped = TlsFiles { cert: files.key.clone(), key: files.cert.clone() };
    let error = Tls::new(TlsMode::Permissive, Some(swapped)).unwrap_err().to_string();
    assert!(error.contains("key.pem is not a certificate"), "{error}");
    let missing = TlsFiles { cert: dir.path().join("none.pem"), key: files.key };
    let error = Tls::new(TlsMode::Enforcing, Some(missing)).unwrap_err().to_string();
    assert!(error.contains("none.pem: No such file"), "{error}");
}

#[test]
fn garbage_after_the_first_byte_ends_the_connection() {
    let served = Served::new(TlsMode::Permissive, None);
    let mut stream = plain(served.address);
    stream.write_all(&[super::HANDSHAKE, 3, 1, 0, 4, 9, 9, 9, 9]).unwrap();
    let mut answer = Vec::new();
    // An alert, and the end.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 64, "{answer:?}");
}
