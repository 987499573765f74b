//! The other end of the administration socket: a command asks the node that runs beside it.
//!
//! With TLS the node has to show the very certificate that its setting names: the command reads the same file, so neither a
//! name nor an authority has to be believed.

use std::{
    io, net::IpAddr, net::Ipv4Addr, net::Ipv6Addr, net::SocketAddr, path::Path, sync::Arc, time::Duration,
};

use axum::{
    body::Body,
    http::{Request, header},
};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long the socket may take to open, and an answer to come.
const CONNECT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(15);
/// Largest answer.
const LARGEST: usize = 16 * 1024 * 1024;

/// What the node has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// As it came.
    pub body: Vec<u8>,
}

/// `GET path` from the node whose settings say that it administers itself at `address`, with TLS when they name a
/// `certificate`. A wildcard address is reached on loopback.
///
/// # Errors
///
/// Why there is no answer, in words for the operator.
pub async fn ask(
    address: SocketAddr,
    certificate: Option<&Path>,
    token: &str,
    path: &str,
) -> Result<Answer, String> {
    let address = reachable(address);
    let because = |why: &dyn ToString| format!("{address}: {}", why.to_string());
    let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| because(&error))?,
        Err(_) => return Err(because(&"nobody answers")),
    };
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .map_err(|error| because(&error))?;
    let answer = async {
        match certificate {
            None => exchange(stream, request).await,
            Some(file) => {
                let connector = TlsConnector::from(Arc::new(pinned(file)?));
                let stream = connector.connect(ServerName::from(address.ip()), stream).await?;
                exchange(stream, request).await
            }
        }
    };
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| because(&error)),
        Err(_) => Err(because(&"no answer in time")),
    }
}

/// Where a listener on a wildcard address is reached on this host.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> io::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with the sender.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(io::Error::other)?;
    Ok(Answer { status, body: body.to_bytes().to_vec() })
}

/// A client that believes one certificate.
fn pinned(file: &Path) -> io::Result<ClientConfig> {
    let certificate = CertificateDer::from_pem_file(file)
        .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Pinned { certificate, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// Takes this certificate and no other. That the node has its key is verified as ever.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
