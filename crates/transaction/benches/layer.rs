//! Nanoseconds per pair of transactions, client and server, messages parsed and written as on a real hop.
//!
//! Each pair comes a little later than the one before, so that the timers hold the usual crowd of ended calls
//! (64·T1 at 1000 pairs per second are 32,000 on either side).

#![expect(clippy::print_stdout, reason = "the result of a bench is its output")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Message, Method, Request, Response, StatusCode, parse};
use transaction::{Event, Ids, Layer, Output, Peer, Timers};

/// The only hop there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Hop {
    is_reliable: bool,
}

impl Peer for Hop {
    fn is_reliable(&self) -> bool {
        self.is_reliable
    }
}

/// A client's and a server's layer with a wire between them that loses nothing.
struct Pair {
    hop: Hop,
    client: Layer<Hop>,
    server: Layer<Hop>,
    /// What the server answers.
    answers: &'static [u16],
}

impl Pair {
    fn new(is_reliable: bool, answers: &'static [u16]) -> Self {
        let layer = |seed| Layer::new(Timers::default(), Ids::new([seed; 32]));
        Self { hop: Hop { is_reliable }, client: layer(1), server: layer(2), answers }
    }

    /// One request and its answers; whatever is due fires first.
    fn exchange(&mut self, method: &Method, number: u32, now: Instant) {
        for layer in [&mut self.client, &mut self.server] {
            if layer.poll_timeout().is_some_and(|due| due <= now) {
                layer.handle_timeout(now);
            }
        }
        let branch = self.client.ids().branch();
        self.client.request(request(method, &branch, number), self.hop, now);
        loop {
            let mut is_busy = false;
            while let Some(output) = self.client.poll_output() {
                if let Output::Send { bytes, .. } = output {
                    self.server.receive(read(bytes), self.hop, now);
                    is_busy = true;
                }
            }
            while let Some(output) = self.server.poll_output() {
                match output {
                    Output::Send { bytes, .. } => self.client.receive(read(bytes), self.hop, now),
                    Output::Event(Event::Request { id, request, .. }) => {
                        for status in self.answers {
                            let response = Response::to(&request, StatusCode::new(*status), Some("uas"));
                            self.server.respond(id, response, now);
                        }
                    }
                    Output::Event(_) => continue,
                }
                is_busy = true;
            }
            if !is_busy {
                return;
            }
        }
    }
}

fn request(method: &Method, branch: &str, number: u32) -> Request {
    let text = format!(
        "{method} sip:bob@biloxi.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP pc33.atlanta.example:5060;branch={branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:alice@atlanta.example>;tag=9fxced76sl\r\n\
         To: Bob <sip:bob@biloxi.example>\r\n\
         Call-ID: {number}-3848276298220188511@atlanta.example\r\n\
         CSeq: 2 {method}\r\n\
         Contact: <sip:alice@client.atlanta.example;transport=udp>\r\n\
         User-Agent: bench\r\n\
         Supported: path, outbound\r\n\
         Content-Length: 0\r\n\r\n"
    );
    match read(text.into()) {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!("it starts with a method"),
    }
}

fn read(bytes: Bytes) -> Message {
    parse::message(bytes, &parse::Limits::default()).expect("written by ourselves")
}

fn measure(name: &str, method: &Method, is_reliable: bool, answers: &'static [u16]) {
    const PAIRS: u32 = 100_000;
    let mut pair = Pair::new(is_reliable, answers);
    let mut now = Instant::now();
    let start = now;
    for number in 0..PAIRS {
        now += Duration::from_millis(1);
        pair.exchange(method, number, now);
    }
    let each = start.elapsed() / PAIRS;
    let counts = pair.client.counts().total() + pair.server.counts().total();
    println!("{name:32} {:7} ns per pair, {counts} transactions alive", each.as_nanos());
}

fn main() {
    measure("INVITE 180 200, reliable", &Method::Invite, true, &[180, 200]);
    measure("INVITE 180 200, unreliable", &Method::Invite, false, &[180, 200]);
    measure("INVITE 486 ACK, reliable", &Method::Invite, true, &[486]);
    measure("INVITE 486 ACK, unreliable", &Method::Invite, false, &[486]);
    measure("REGISTER 200, reliable", &Method::Register, true, &[200]);
    measure("REGISTER 200, unreliable", &Method::Register, false, &[200]);
}
