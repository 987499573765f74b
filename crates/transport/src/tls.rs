//! The certificates of this node and what is negotiated with them: RFC 3261 §26.2.1, RFC 5922.
//!
//! The certificate is chosen by the name that the user agent asks for (SNI, RFC 6066 §3); whoever asks for none, or for one that no
//! certificate is valid for, is shown the first. User agents need show none themselves: they prove who they are by digest. Where an
//! authority for them is configured they are asked for one, and what they show must be good (RFC 8446 §4.4.2.4); nothing else follows from it.
//!
//! A reload makes everything anew, the cache of sessions included, so that no session outlives the certificate that it was
//! made with except those that are open.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    client::verify_server_name,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{
        ClientHello, NoClientAuth, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// Where one certificate of this node lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those between it and the authority's.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// Which file of a certificate is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePart {
    /// The certificate and its chain.
    Certificate,
    /// The private key.
    Key,
    /// The authorities of those who connect.
    ClientAuthority,
}

/// A certificate that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct CertificateError {
    /// The file.
    pub path: PathBuf,
    /// What it should hold.
    pub part: CertificatePart,
    why: String,
}

/// What TLS handshakes are made with; it may change while flows are open.
pub(crate) struct Tls {
    files: Vec<CertificateFiles>,
    clients: Option<PathBuf>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files. `clients` names the authorities of those who connect, when they are asked for certificates.
    pub(crate) fn load(
        files: Vec<CertificateFiles>,
        clients: Option<PathBuf>,
    ) -> Result<Self, CertificateError> {
        let current = RwLock::new(Arc::new(configuration(&files, clients.as_deref())?));
        Ok(Self { files, clients, current })
    }

    /// Reads the files again: what they hold now is for the handshakes to come. If they are no good, nothing changes.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        let fresh = Arc::new(configuration(&self.files, self.clients.as_deref())?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// For one handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn configuration(
    files: &[CertificateFiles],
    clients: Option<&Path>,
) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(ring::default_provider());
    let keys: Result<Vec<_>, _> = files.iter().map(|files| read(files, &provider).map(Arc::new)).collect();
    let keys = keys?;
    let asks = match clients {
        Some(path) => verifier(path, &provider)?,
        None => Arc::new(NoClientAuth),
    };
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(asks)
        .with_cert_resolver(Arc::new(ByName(keys))))
}

/// Asks for a certificate, and bears it when there is none.
fn verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let wrong = |why: &dyn fmt::Display| CertificateError {
        path: path.to_owned(),
        part: CertificatePart::ClientAuthority,
        why: why.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"no certificate in it"));
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    verifier.allow_unauthenticated().build().map_err(|error| wrong(&error))
}

/// What certificates are told apart by in a log: the first half of SHA-256, as tools show it.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let wrong = |part, path: &Path, why: &dyn fmt::Display| CertificateError {
        path: path.to_owned(),
        part,
        why: why.to_string(),
    };
    let wrong_certificate =
        |why: &dyn fmt::Display| wrong(CertificatePart::Certificate, &files.certificate, why);
    let wrong_key = |why: &dyn fmt::Display| wrong(CertificatePart::Key, &files.key, why);

    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong_certificate(&error))?;
    let first = chain.first().ok_or_else(|| wrong_certificate(&"no certificate in it"))?;
    ParsedCertificate::try_from(first).map_err(|error| wrong_certificate(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong_key(&error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            wrong_key(&format_args!("not the key of the certificate in {}", files.certificate.display()))
        }
        error => wrong_key(&error),
    })
}

/// The certificates in the order of the configuration.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| asked.as_ref().is_some_and(|name| is_valid_for(key, name));
        self.0.iter().find(fits).or_else(|| self.0.first()).cloned()
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.cert.first().and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
    certificate.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
