//! TLS of the link: version 1.3, both ends proven by the cluster CA, ALPN `signalbox/1`, no 0-RTT and no resumption.
//!
//! Resumption would save little, since links live for days, and would let a peer in whose CA is no longer ours.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::WebPkiClientVerifier,
    version::TLS13,
};

use crate::{certificates::Development, config::Config, error::Error};

/// Names the protocol on the link. A change that neighbours could not ignore takes another number.
pub(crate) const ALPN: &[u8] = b"signalbox/1";

/// What this node is to its peers.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: Arc<RootCertStore>,
}

impl Identity {
    /// Reads the certificates that are configured, or else those for development.
    pub(crate) fn load(config: &Config) -> Result<Self, Error> {
        match config.files()? {
            Some(files) => Self::read(files.ca, files.cert, files.key),
            None => {
                let files = Development::open(&config.dev_dir)?;
                Self::read(&files.ca, &files.cert, &files.key)
            }
        }
    }

    fn read(ca: &Path, cert: &Path, key: &Path) -> Result<Self, Error> {
        let mut authority = RootCertStore::empty();
        for certificate in certificates(ca)? {
            authority.add(certificate)?;
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| pem_error(key, source))?;
        Ok(Self { chain: certificates(cert)?, key, authority: Arc::new(authority) })
    }

    /// For the end that dials.
    pub(crate) fn client(self) -> Result<rustls::ClientConfig, Error> {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(self.authority)
            .with_client_auth_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }

    /// For the end that accepts.
    pub(crate) fn server(self) -> Result<rustls::ServerConfig, Error> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.authority, provider()).build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// ring, with AES-128-GCM first: the cheapest cipher for every packet of the link.
fn provider() -> Arc<CryptoProvider> {
    use ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|source| pem_error(path, source))?.collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(pem_error(path, pem::Error::NoItemsFound)),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(pem_error(path, source)),
    }
}

fn pem_error(path: &Path, source: pem::Error) -> Error {
    match source {
        pem::Error::Io(source) => Error::File { path: path.to_owned(), source },
        source => Error::Pem { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::make_certificates;

    #[test]
    fn an_unreadable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        make_certificates(dir.path(), &["core-1"]).unwrap();
        let file = |name: &str| Some(dir.path().join(name));
        let complete = Config {
            ca: file("ca.pem"),
            cert: file("core-1.pem"),
            key: file("core-1-key.pem"),
            ..Config::default()
        };
        assert!(Identity::load(&complete).is_ok());

        let missing = Config { cert: file("nobody.pem"), ..complete.clone() };
        let error = Identity::load(&missing).err().expect("no such file").to_string();
        assert!(error.contains("nobody.pem"), "{error}");

        let swapped = Config { key: file("core-1.pem"), ..complete };
        let error = Identity::load(&swapped).err().expect("not a key").to_string();
        assert!(error.contains("core-1.pem"), "{error}");
    }

    #[test]
    fn a_later_node_is_signed_by_the_same_authority() {
        let dir = tempfile::tempdir().unwrap();
        make_certificates(dir.path(), &["core-1"]).unwrap();
        make_certificates(dir.path(), &["edge-a"]).unwrap();
        let file = |name: &str| Some(dir.path().join(name));
        let config = Config {
            ca: file("ca.pem"),
            cert: file("edge-a.pem"),
            key: file("edge-a-key.pem"),
            ..Config::default()
        };
        let identity = Identity::load(&config).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&identity.authority), provider())
                .build()
                .unwrap();
        let (leaf, rest) = identity.chain.split_first().unwrap();
        let now =
            rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        verifier.verify_client_cert(leaf, rest, now).unwrap();
    }
}
