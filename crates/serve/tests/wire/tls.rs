//! Encrypted connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use fathom_serve::Tls;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::Running;

/// Writes a new certificate for localhost and its key.
fn certificate(dir: &Path) -> (Tls, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Tls {
        certificate: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    (tls, made.cert.der().clone())
}

/// What a client that trusts `root` alone is told over the protocol it asks for.
fn get(
    server: &Running,
    root: &rustls::pki_types::CertificateDer<'static>,
    protocol: &str,
    request: &[u8],
) -> std::io::Result<(Vec<u8>, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(server.address)?);
    stream.write_all(request)?;
    let mut reply = vec![0; 9];
    stream.read_exact(&mut reply)?;
    Ok((reply, stream.conn.alpn_protocol().map(<[u8]>::to_vec)))
}

const HTTP_1: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// The preface and empty settings.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[test]
fn both_versions_of_http_are_spoken_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, root) = certificate(dir.path());
    let server = Running::start(|options| options.network.tls = Some(tls));
    let (reply, protocol) = get(&server, &root, "http/1.1", HTTP_1).unwrap();
    assert_eq!(
        (reply.as_slice(), protocol.as_deref()),
        (&b"HTTP/1.1 "[..], Some(&b"http/1.1"[..]))
    );
    let (reply, protocol) = get(&server, &root, "h2", HTTP_2).unwrap();
    // The head of a frame of type 4, its settings.
    assert_eq!((reply[3], protocol.as_deref()), (4, Some(&b"h2"[..])));
    // Nobody else's certificate, and no plain text.
    let (_, other) = certificate(tempfile::tempdir().unwrap().path());
    assert!(get(&server, &other, "http/1.1", HTTP_1).is_err());
    let mut plain = server.send_bytes(HTTP_1);
    let mut bytes = Vec::new();
    plain.read_to_end(&mut bytes).ok();
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
}

#[cfg(unix)]
#[test]
fn a_renewed_certificate_is_taken_into_use_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, old) = certificate(dir.path());
    let server = Running::start(|options| options.network.tls = Some(tls.clone()));
    assert!(get(&server, &old, "http/1.1", HTTP_1).is_ok());
    let hang_up = || {
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::HUP).unwrap();
    };
    // Half-written: the old one stays.
    std::fs::write(&tls.certificate, "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    hang_up();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(get(&server, &old, "http/1.1", HTTP_1).is_ok());
    let (_, new) = certificate(dir.path());
    hang_up();
    while get(&server, &new, "http/1.1", HTTP_1).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(get(&server, &old, "http/1.1", HTTP_1).is_err());
}

#[test]
fn files_that_cannot_be_used_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, _) = certificate(dir.path());
    let missing = Tls {
        key: dir.path().join("none.pem"),
        ..tls.clone()
    };
    let error = missing.check().unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read a private key from ") && error.contains("none.pem"),
        "{error}"
    );
    let swapped = Tls {
        certificate: tls.key.clone(),
        key: tls.certificate.clone(),
    };
    let error = swapped.check().unwrap_err().to_string();
    assert!(
        error.contains("it holds no certificate") && error.contains("BEGIN CERTIFICATE"),
        "{error}"
    );
    let other = tempfile::tempdir().unwrap();
    let (other, _) = certificate(other.path());
    let mixed = Tls {
        certificate: tls.certificate,
        ..other
    };
    let error = mixed.check().unwrap_err().to_string();
    assert!(error.contains("cannot be used"), "{error}");
}
