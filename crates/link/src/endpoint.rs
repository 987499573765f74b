//! The UDP socket of the link and QUIC's settings on it.
//!
//! # Numbers
//!
//! An idle connection is kept alive every 300 ms and given up after 1.5 s: at most 300 ms pass from the last packet
//! to the next keep-alive, which starts the 1.5 s once more, so a silent peer is known within 1.8 s
//! (RFC 9000 §10.1). The first guess of the round-trip time is that of a continent, not QUIC's 333 ms: a handshake
//! packet that is lost in one machine room is repeated after 0.3 s instead of 1 s.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
    congestion::CubicConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{config::Config, error::Error, tls::Identity};

/// An endpoint that dials. One socket reaches both address families where the system allows it.
pub(crate) fn client(config: &Config, name: &str) -> Result<Endpoint, Error> {
    let crypto = QuicClientConfig::try_from(Identity::load(config)?.client()?)
        .expect("the provider has the cipher suite of QUIC's first packets");
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport());
    let everywhere = |ip: std::net::IpAddr| SocketAddr::new(ip, 0);
    let socket = open(everywhere(Ipv6Addr::UNSPECIFIED.into()))
        .or_else(|_| open(everywhere(Ipv4Addr::UNSPECIFIED.into())))?;
    let mut endpoint = bind(config, name, None, socket)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// An endpoint that accepts.
pub(crate) fn server(config: &Config, name: &str, listen: SocketAddr) -> Result<Endpoint, Error> {
    let crypto = QuicServerConfig::try_from(Identity::load(config)?.server()?)
        .expect("the provider has the cipher suite of QUIC's first packets");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(transport());
    bind(config, name, Some(server), open(listen)?)
}

fn bind(
    config: &Config,
    name: &str,
    server: Option<ServerConfig>,
    socket: (SocketAddr, UdpSocket),
) -> Result<Endpoint, Error> {
    let (address, socket) = socket;
    tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
    Endpoint::new(endpoint_config(config, name), server, socket, Arc::new(TokioRuntime))
        .map_err(|source| Error::Socket { address, source })
}

/// With a key that outlives the process, a restarted node recognises the connection IDs of its former life and
/// can prove to its peers that those connections are gone (RFC 9000 §10.3).
fn endpoint_config(config: &Config, name: &str) -> EndpointConfig {
    let Some(secret) = config.cluster_key else { return EndpointConfig::default() };
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let derive = |purpose: &str| hmac::sign(&secret, format!("signalbox link {purpose} {name}").as_bytes());
    let mut config =
        EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, derive("reset").as_ref())));
    let ids = derive("connection id").as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    // All peers of a restarted node want their reset at once, not one every 20 ms.
    config.min_reset_interval(Duration::from_micros(100));
    config
}

fn transport() -> Arc<TransportConfig> {
    let mut congestion = CubicConfig::default();
    // The link is between machines of one operator: a burst of calls need not wait for the window to open.
    congestion.initial_window(128 << 10);
    // A message is mostly followed by its answer, which carries the acknowledgement along; one alone costs as much as a
    // message. The loss of a packet is still seen by the next one (draft-ietf-quic-ack-frequency).
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(16)).max_ack_delay(Some(Duration::from_millis(20)));
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(acks))
        .keep_alive_interval(Some(Duration::from_millis(300)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(1_500))))
        .initial_rtt(Duration::from_millis(100))
        .max_concurrent_bidi_streams(VarInt::from_u32(64))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .congestion_controller_factory(Arc::new(congestion))
        .datagram_receive_buffer_size(None)
        // What may wait in QUIC towards a peer that stopped reading: seconds of traffic, not memory without end.
        .send_window(4 << 20)
        .stream_receive_window(VarInt::from_u32(1 << 20));
    Arc::new(transport)
}

fn open(address: SocketAddr) -> Result<(SocketAddr, UdpSocket), Error> {
    let attempt = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // Bursts of a whole cluster must fit. The system may allow less: then so be it.
        for set in [Socket::set_recv_buffer_size, Socket::set_send_buffer_size] {
            if let Err(error) = set(&socket, 4 << 20) {
                tracing::debug!(%error, "the socket keeps the buffers of the system");
            }
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(UdpSocket::from(socket))
    };
    attempt().map(|socket| (address, socket)).map_err(|source| Error::Socket { address, source })
}
