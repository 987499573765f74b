//! Certificates for one test: an authority that signs for names, the files of the node, and a user agent that trusts it.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use transport::{CertificateFiles, Config};

use crate::config;

const AUTHORITY: &str = "authority.pem";

pub(crate) struct Pki {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (authority, folder) = (certificate.der().clone(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join(AUTHORITY), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), authority }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// PEM of the authority.
    pub(crate) fn authority_file(&self) -> PathBuf {
        self.path(AUTHORITY)
    }

    /// Writes a new certificate for `host` to `name`.pem and `name`-key.pem.
    pub(crate) fn issue(&self, name: &str, host: &str) -> (CertificateFiles, CertificateDer<'static>) {
        let files = CertificateFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}-key.pem")),
        };
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        (files, certificate.der().clone())
    }

    /// A configuration with this listener and one certificate, for localhost.
    pub(crate) fn config(&self, listen: &str) -> Config {
        Config { certificates: vec![self.issue("node", "localhost").0], ..config(&[listen]) }
    }

    /// The TLS side of a user agent; its sessions are resumed as long as it lives.
    pub(crate) fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// The same with a certificate of its own, from this authority or another one.
    pub(crate) fn connector_with(&self, own: &CertificateFiles) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_file(&own.certificate).unwrap()];
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&own.key).unwrap())
            .unwrap();
        TlsConnector::from(Arc::new(config))
    }

    /// A user agent that asks for `host` and accepts no other certificate.
    pub(crate) async fn connect(&self, addr: SocketAddr, host: &str) -> TlsStream<TcpStream> {
        connect(&self.connector(), addr, host).await.unwrap()
    }
}

pub(crate) async fn connect(
    connector: &TlsConnector,
    addr: SocketAddr,
    host: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(addr).await?;
    socket.set_nodelay(true)?;
    connector.connect(ServerName::try_from(host.to_owned()).unwrap(), socket).await
}

/// The certificate that the node showed.
pub(crate) fn shown(phone: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    phone.get_ref().1.peer_certificates().unwrap()[0].clone()
}
