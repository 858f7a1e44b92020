//! TLS on the ports that also take plain connections: the first byte tells which a client wants.
//!
//! As RocketMQ 5.5 does (`NettyRemotingServer.TlsModeHandler`, `TlsHelper`): mode permissive unless told otherwise, and a
//! certificate of the process's own where none is given (`tls.test.mode.enable`), which keeps listeners out and authenticates nobody.

mod stream;
#[cfg(test)]
mod tests;

pub(crate) use stream::TlsStream;

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer,
        pem::{self, PemObject},
    },
    server::ServerConfig as Settings,
};
use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// The first byte of a TLS connection. No Remoting frame begins with it: it would be a frame of 352 MiB.
pub(crate) const HANDSHAKE: u8 = 0x16;

/// Files are looked at this often for whether they changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Which connections a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain ones only.
    Disabled,
    /// Both.
    #[default]
    Permissive,
    /// TLS only.
    Enforcing,
}

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates in PEM, the server's own first.
    pub cert: PathBuf,
    /// Its private key in PEM, not encrypted.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is not a {what} in PEM: {error}", path = path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why.
        error: pem::Error,
    },
    /// The parts do not fit.
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// The TLS of all ports of a process. Clones share it.
#[derive(Debug, Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mode: TlsMode,
    files: Option<TlsFiles>,
    settings: RwLock<Option<Arc<ServerConfig>>>,
}

impl Tls {
    /// Reads the certificate, or makes one. Blocks on the disk.
    pub fn new(mode: TlsMode, files: Option<TlsFiles>) -> Result<Self, TlsError> {
        let settings = match (mode, &files) {
            (TlsMode::Disabled, _) => None,
            (_, Some(files)) => Some(settings(&Contents::read(files)?, files)?),
            (_, None) => Some(own_settings()?),
        };
        Ok(Self { shared: Arc::new(Shared { mode, files, settings: RwLock::new(settings) }) })
    }

    /// No TLS.
    pub fn disabled() -> Self {
        let shared = Shared { mode: TlsMode::Disabled, files: None, settings: RwLock::new(None) };
        Self { shared: Arc::new(shared) }
    }

    /// Which connections are taken.
    pub fn mode(&self) -> TlsMode {
        self.shared.mode
    }

    /// What new connections are served with.
    pub(crate) fn settings(&self) -> Option<Arc<ServerConfig>> {
        self.shared.settings.read().clone()
    }

    /// Uses another certificate as soon as its files have one, for connections from then on, until `shutdown` turns true
    /// (`FileWatchService` in RocketMQ). Files that do not fit together, as while they are being replaced, are looked at again.
    pub async fn watch(self, mut shutdown: watch::Receiver<bool>) {
        let Some(files) = self.shared.files.clone().filter(|_| self.mode() != TlsMode::Disabled) else {
            return;
        };
        let mut seen = None;
        while !*shutdown.borrow() {
            let read = {
                let files = files.clone();
                tokio::task::spawn_blocking(move || Contents::read(&files)).await
            };
            if let Ok(Ok(contents)) = read
                && seen.as_ref() != Some(&contents)
            {
                match settings(&contents, &files) {
                    Ok(settings) => {
                        if seen.is_some() {
                            tracing::info!(cert = %files.cert.display(), "another certificate is used from now on");
                        }
                        *self.shared.settings.write() = Some(settings);
                    }
                    Err(error) => tracing::warn!(%error, "the certificate is not replaced"),
                }
                seen = Some(contents);
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|error| TlsError::Read { path: path.clone(), error });
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)? })
    }
}

fn settings(contents: &Contents, files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let mut chain = CertificateDer::pem_slice_iter(&contents.cert).collect::<Result<Vec<_>, _>>();
    if chain.as_ref().is_ok_and(Vec::is_empty) {
        chain = Err(pem::Error::NoItemsFound);
    }
    let chain =
        chain.map_err(|error| TlsError::Pem { path: files.cert.clone(), what: "certificate", error })?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| TlsError::Pem {
        path: files.key.clone(),
        what: "private key",
        error,
    })?;
    with(chain, key)
}

/// A certificate that nobody else has, and nobody can check.
fn own_settings() -> Result<Arc<ServerConfig>, TlsError> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    with(vec![cert.into()], key.into())
}

fn with(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let settings = Settings::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(settings))
}
