use axum::http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

use super::*;

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    metrics: Registry,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

async fn running() -> Running {
    let any = "127.0.0.1:0".parse().unwrap();
    let admin = Admin::bind("EDGE_ADMIN", any).await.unwrap();
    let address = admin.address();
    let (readiness, metrics) = (Readiness::new(), Registry::new("edge"));
    let more = Router::new().route("/flows", get(async || "none\n"));
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(admin.serve(readiness.clone(), metrics.clone(), more, async move {
        let _ = stopped.await;
    }));
    Running { address, readiness, metrics, stop, served }
}

/// The status line and all that follows the head.
async fn fetch(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let method = Method::GET;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn health_is_200_also_when_not_ready() {
    let node = running().await;
    let _waits = node.readiness.condition("link");
    assert_eq!(fetch(node.address, "/health").await.0, 200);
}

#[tokio::test]
async fn ready_says_what_is_missing() {
    let node = running().await;
    let link = node.readiness.condition("link");
    let database = node.readiness.condition("database");
    link.ready();
    database.unready("connection refused");
    let (status, _, body) = fetch(node.address, "/ready").await;
    assert_eq!((status, body.as_str()), (503, "database: connection refused\n"));
    database.ready();
    let (status, _, body) = fetch(node.address, "/ready").await;
    assert_eq!((status, body.as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn metrics_are_served_in_their_format() {
    let node = running().await;
    node.metrics.counter("requests", "Requests").inc();
    let (status, head, body) = fetch(node.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    assert!(body.contains("edge_requests_total 1\n"), "{body}");
}

#[tokio::test]
async fn the_tier_adds_its_routes() {
    let node = running().await;
    let (status, _, body) = fetch(node.address, "/flows").await;
    assert_eq!((status, body.as_str()), (200, "none\n"));
    assert_eq!(fetch(node.address, "/nothing").await.0, 404);
}

#[tokio::test]
async fn stops_when_told() {
    let node = running().await;
    node.stop.send(()).unwrap();
    node.served.await.unwrap().unwrap();
    assert!(TcpStream::connect(node.address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_names_the_variable() {
    let node = running().await;
    let error = Admin::bind("EDGE_ADMIN", node.address).await.unwrap_err();
    let expected = format!("EDGE_ADMIN: cannot listen on {}: ", node.address);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn readiness_can_be_awaited() {
    let readiness = Readiness::new();
    readiness.ready().await;
    let link = readiness.condition("link");
    assert_eq!(readiness.reasons(), ["link: starting"]);
    let waiting = {
        let readiness = readiness.clone();
        tokio::spawn(async move { readiness.ready().await })
    };
    link.ready();
    waiting.await.unwrap();
    assert!(readiness.is_ready());
    link.unready("draining");
    assert!(!readiness.is_ready());
}

/// Linux closes a connection whose window stays shut for so long, whatever else this side does about it.
#[tokio::test]
async fn who_takes_nothing_is_not_kept_for_ever() {
    let admin = Admin::bind("EDGE_ADMIN", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(admin.address()), admin.listener.accept());
    let socket = accepted.unwrap().0;
    assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(PATIENCE));
    drop(client);
}
