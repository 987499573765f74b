//! A scripted phone on a real socket in the network: the UA of the simulation with a clock and a wire.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use node::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::Network;
use crate::cluster::{DOMAIN, Problem, poll};
use crate::ua::digest::Algorithm;
use crate::ua::{Answer, CallOptions, Profile, Register, Ua};

/// A phone. It ends with the value.
#[derive(Debug)]
pub struct Phone {
    shared: Arc<Shared>,
    runs: JoinHandle<()>,
}

/// The transport of a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Datagrams.
    Udp,
    /// One connection.
    Tcp,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Somebody has given the UA an order.
    ordered: Notify,
    began: Instant,
}

#[derive(Debug)]
struct State {
    ua: Ua,
    /// When the last ping came, whatever it looked like, and how many did.
    pinged: Option<Duration>,
    pings: usize,
    /// Why it runs no more.
    over: Option<String>,
}

/// The socket with what has been read of the next message.
enum Socket {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream, Vec<u8>),
}

/// What came.
enum Arrival {
    Message(Vec<u8>),
    Ping,
}

/// How long an answer from a cluster that is well may take.
const SOON: Duration = Duration::from_secs(5);
/// The password of everybody.
pub const PASSWORD: &str = "secret";

impl Phone {
    /// A phone of `user` on a host of the network, at one edge. It answers every call at once.
    ///
    /// # Errors
    ///
    /// The socket cannot be opened.
    pub fn open(
        network: &Network,
        host: &str,
        user: &str,
        at: (Wire, SocketAddr, u16),
    ) -> Result<Self, Problem> {
        let (wire, edge, port) = at;
        let space = network.space(host);
        let local = SocketAddr::from((Network::address(host), port));
        let socket = match wire {
            Wire::Udp => Socket::Udp(space.datagrams(local)?, edge),
            Wire::Tcp => Socket::Tcp(space.connect(edge)?, Vec::new()),
        };
        let mut ua = Ua::new(Profile {
            user: user.to_owned(),
            domain: DOMAIN.to_owned(),
            password: PASSWORD.to_owned(),
            // Every list of algorithms in these tests has it.
            algorithm: Algorithm::Md5,
            host: local.to_string(),
            instance: None,
            follows_service_route: false,
            supports_path: true,
        });
        ua.answer = Answer::after_ms(0);
        ua.add_line(edge.to_string(), wire == Wire::Tcp);
        let state = Mutex::new(State { ua, pinged: None, pings: 0, over: None });
        let shared = Arc::new(Shared { state, ordered: Notify::new(), began: clock::now() });
        let runs = tokio::spawn(run(Arc::clone(&shared), socket));
        Ok(Self { shared, runs })
    }

    /// Registers, or refreshes.
    ///
    /// # Errors
    ///
    /// Refused, or no answer.
    pub async fn register(&self) -> Result<(), Problem> {
        let number = self.order(|ua| ua.register(Register::on(0)));
        let status = self.wait(SOON, |ua| ua.registrations.get(number)?.status).await;
        match status {
            Some(200) => Ok(()),
            status => Err(self.problem(&format!("REGISTER: {status:?}"))),
        }
    }

    /// Calls `user`; gives the number of the call.
    pub fn call(&self, user: &str) -> usize {
        self.order(|ua| ua.call(0, &format!("sip:{user}@{DOMAIN}"), CallOptions::default()))
    }

    /// The final answer to a call, and how long it took to come; `None` when there is none within `limit`.
    pub async fn answer(&self, call: usize, limit: Duration) -> Option<(u16, Duration)> {
        let began = clock::now();
        let last = self.wait(limit, |ua| ua.calls.get(call)?.last).await?;
        Some((last, clock::now().saturating_duration_since(began)))
    }

    /// Hangs up an answered call; true when the other end has said 200 to that.
    pub async fn hang_up(&self, call: usize) -> bool {
        let Some(dialog) = self.look(|ua| ua.calls.get(call)?.dialog) else { return false };
        self.order(|ua| ua.hang_up(dialog));
        self.wait(SOON, |ua| ua.dialogs.get(dialog)?.bye).await == Some(200)
    }

    /// Gives up an unanswered call.
    pub fn cancel(&self, call: usize) {
        self.order(|ua| ua.cancel(call));
    }

    /// How many calls have come to it.
    pub fn rung(&self) -> usize {
        self.look(|ua| ua.transactions("INVITE").len())
    }

    /// How many pings have come, and how long after the phone's beginning the last one came.
    pub fn pings(&self) -> (usize, Duration) {
        let state = self.state();
        let options = state.ua.transactions("OPTIONS").len();
        let last = state.ua.heard.iter().rev().find(|heard| match &heard.message {
            rsip::SipMessage::Request(request) => request.method == rsip::Method::Options,
            rsip::SipMessage::Response(_) => false,
        });
        let last = last.map(|heard| heard.at).max(state.pinged).unwrap_or_default();
        (state.pings + options, last)
    }

    /// Asks the UA until it has an answer; `None` when it has none within `limit`.
    pub async fn wait<T>(&self, limit: Duration, question: impl Fn(&Ua) -> Option<T>) -> Option<T> {
        poll(limit, async || self.look(&question)).await
    }

    /// Looks at the UA.
    pub fn look<T>(&self, question: impl FnOnce(&Ua) -> T) -> T {
        question(&self.state().ua)
    }

    /// Lets the UA do something.
    pub fn order<T>(&self, order: impl FnOnce(&mut Ua) -> T) -> T {
        let mut state = self.state();
        state.ua.tick(self.shared.now());
        let done = order(&mut state.ua);
        self.shared.ordered.notify_one();
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    fn problem(&self, what: &str) -> Problem {
        let state = self.state();
        let over = state.over.as_deref().unwrap_or_default();
        Problem::new(format!("{}: {what} {over}", state.ua.profile.user))
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.runs.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }
}

/// The life of a phone.
async fn run(shared: Arc<Shared>, mut socket: Socket) {
    let problem = loop {
        let (texts, deadline) = step(&shared);
        if let Err(error) = send(&mut socket, &texts).await {
            break error;
        }
        let deadline = deadline.unwrap_or_else(|| shared.now() + SOON);
        let until = (shared.began + deadline).into();
        tokio::select! {
            arrived = timeout_at(until, socket.receive()) => match arrived {
                Ok(Ok(arrival)) => take(&shared, arrival),
                Ok(Err(error)) => break error,
                Err(_) => {}
            },
            () = shared.ordered.notified() => {}
        }
    };
    shared.state().over = Some(problem.to_string());
}

/// Does what is due; gives what is to be sent, and when something is due again.
fn step(shared: &Shared) -> (Vec<String>, Option<Duration>) {
    let mut state = shared.state();
    state.ua.tick(shared.now());
    state.ua.handle_timeout();
    let mut texts = Vec::new();
    while let Some(packet) = state.ua.poll_packet() {
        texts.push(packet.text);
    }
    (texts, state.ua.next_timeout())
}

fn take(shared: &Shared, arrival: Arrival) {
    let mut state = shared.state();
    let now = shared.now();
    match arrival {
        Arrival::Message(message) => {
            state.ua.tick(now);
            state.ua.receive(0, &message);
        }
        Arrival::Ping => {
            state.pings += 1;
            state.pinged = Some(now);
        }
    }
}

async fn send(socket: &mut Socket, texts: &[String]) -> Result<(), Problem> {
    for text in texts {
        match socket {
            Socket::Udp(socket, edge) => {
                socket.send_to(text.as_bytes(), *edge).await?;
            }
            Socket::Tcp(stream, _) => stream.write_all(text.as_bytes()).await?,
        }
    }
    Ok(())
}

impl Socket {
    /// What comes next. Nothing is lost when nobody waits for the end of it.
    async fn receive(&mut self) -> Result<Arrival, Problem> {
        match self {
            Self::Udp(socket, _) => {
                let mut datagram = vec![0; 65_535];
                let (length, _) = socket.recv_from(&mut datagram).await?;
                datagram.truncate(length);
                let is_text = datagram.first().is_some_and(u8::is_ascii_alphabetic);
                Ok(if is_text { Arrival::Message(datagram) } else { Arrival::Ping })
            }
            Self::Tcp(stream, buffer) => loop {
                if let Some(arrival) = cut(buffer) {
                    return Ok(arrival);
                }
                if stream.read_buf(buffer).await? == 0 {
                    return Err(Problem::new("the edge has closed the connection"));
                }
            },
        }
    }
}

/// Takes the first message off a stream, or the double CRLF of a ping (RFC 5626 §3.5.1).
fn cut(buffer: &mut Vec<u8>) -> Option<Arrival> {
    if buffer.starts_with(b"\r\n") {
        let ping = buffer.starts_with(b"\r\n\r\n");
        if !ping && b"\r\n\r\n".starts_with(buffer) {
            return None;
        }
        buffer.drain(..if ping { 4 } else { 2 });
        return if ping { Some(Arrival::Ping) } else { cut(buffer) };
    }
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(buffer.get(..head)?).to_ascii_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let end = head + length.unwrap_or(0);
    (buffer.len() >= end).then(|| Arrival::Message(buffer.drain(..end).collect()))
}
