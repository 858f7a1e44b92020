//! `server.tls`: which connections the Remoting ports take, and with which certificate.

use crate::{
    diagnostic::Diagnostic,
    read::{Problems, Table, text, word},
    yaml::Node,
};

/// TLS on the ports of name server and broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSection {
    /// Which connections are taken.
    pub mode: TlsMode,
    /// Where certificate and key are; without them the process makes a certificate of its own.
    pub files: Option<TlsFiles>,
}

/// Which connections the Remoting ports take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain ones only.
    Disabled,
    /// Both; the first byte tells.
    #[default]
    Permissive,
    /// TLS only.
    Enforcing,
}

/// Paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates, the server's own first.
    pub cert: String,
    /// Its private key, not encrypted.
    pub key: String,
}

pub(super) fn read(node: &Node, problems: &mut Problems) -> TlsSection {
    let mut table = Table::of(node, problems);
    let modes = [
        ("disabled", TlsMode::Disabled),
        ("permissive", TlsMode::Permissive),
        ("enforcing", TlsMode::Enforcing),
    ];
    let mode = table.get("mode").and_then(|node| word(node, &modes, problems)).unwrap_or_default();
    let [cert, key] = ["cert", "key"].map(|name| table.get(name).and_then(|node| text(node, problems)));
    table.finish(problems);
    let files = match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        _ => {
            problems.push(Diagnostic::new(node.at, "`cert` and `key` go together"));
            None
        }
    };
    TlsSection { mode, files }
}
