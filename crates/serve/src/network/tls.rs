//! The certificate, which may be renewed while the server runs.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those it leads to, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error(
        "cannot read {what} from {}: {reason}. Expected a PEM file with a section `-----BEGIN {section}-----`", path.display()
    )]
    File {
        /// What is in it.
        what: &'static str,
        /// What its section is called.
        section: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key cannot be used together.
    #[error("the certificate in {} and the key in {} cannot be used: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads the files, to see whether they can be used.
    pub fn check(&self) -> Result<(), TlsError> {
        self.load().map(drop)
    }

    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let file = |what, section, path: &Path, reason: String| TlsError::File {
            what,
            section,
            path: path.to_owned(),
            reason,
        };
        let chain = |reason: String| file("a certificate", "CERTIFICATE", &self.certificate, reason);
        let certificates: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| chain(error.to_string()))?;
        if certificates.is_empty() {
            return Err(chain("it holds no certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| file("a private key", "PRIVATE KEY", &self.key, error.to_string()))?;
        let pair = |source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        // The provider is named here because other crates of a program may bring another one.
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(pair)?
                .with_no_client_auth()
                .with_single_cert(certificates, key)
                .map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A certificate in use.
pub(crate) struct Certificate {
    tls: Tls,
    config: RustlsConfig,
    /// The files when they were last looked at.
    seen: Files,
    /// Listened to from the beginning: what is not listened to ends the process.
    hangups: Hangups,
}

/// What the files hold; `None` for one that cannot be read.
type Files = [Option<Vec<u8>>; 2];

impl Certificate {
    /// Must be called inside a tokio runtime.
    pub(crate) fn load(tls: Tls) -> Result<Self, TlsError> {
        let seen = files(&tls);
        let config = RustlsConfig::from_config(tls.load()?);
        Ok(Self {
            tls,
            config,
            seen,
            hangups: Hangups::new(),
        })
    }

    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Takes a renewed certificate into use: soon after its files change, and at once on SIGHUP. What cannot be used is
    /// reported and changes nothing.
    pub(crate) async fn watch(mut self) -> Infallible {
        loop {
            let asked = tokio::select! {
                () = self.hangups.next() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            let tls = self.tls.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || files(&tls)).await else {
                continue;
            };
            if !asked && now == self.seen {
                continue;
            }
            self.seen = now;
            match self.tls.load() {
                Ok(config) => {
                    self.config.reload_from_config(config);
                    tracing::info!(target: "fathom::network", "the certificate was read again");
                }
                Err(error) => {
                    tracing::error!(target: "fathom::network", %error, "the old certificate stays in use");
                }
            }
        }
    }
}

fn files(tls: &Tls) -> Files {
    [&tls.certificate, &tls.key].map(|path| std::fs::read(path).ok())
}

/// SIGHUP, where there is such a thing.
struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    fn new() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
