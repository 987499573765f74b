//! A small name server on loopback for real processes: it says what a test tells it, over UDP.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, NAPTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::cluster::Problem;

/// Time to live of every record. Short: what a test changes is asked for again soon.
const TTL: u32 = 1;

/// A running name server; it ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Zone {
    records: BTreeMap<(Name, RecordType), Vec<RData>>,
    is_broken: bool,
    asked: Vec<String>,
}

impl NameServer {
    /// Starts one that knows nothing.
    ///
    /// # Errors
    ///
    /// There is no socket.
    pub async fn start() -> Result<Self, Problem> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let zone = Arc::<Mutex<Zone>>::default();
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Ok(Self { address, zone, task })
    }

    /// One more address of a host.
    pub fn address_of(&self, name: &str, address: Ipv4Addr) {
        self.add(name, RecordType::A, RData::A(A(address)));
    }

    /// One more server of a service, `_sip._udp.example.net`.
    pub fn server_of(&self, service: &str, priority: u16, port: u16, target: &str) {
        self.add(service, RecordType::SRV, RData::SRV(SRV::new(priority, 0, port, name(target))));
    }

    /// One more service of a domain: `SIP+D2T`, and where its SRV records are.
    pub fn service_of(&self, domain: &str, order: u16, service: &str, replacement: &str) {
        let text = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
        let naptr = NAPTR::new(order, 10, text("s"), text(service), text(""), name(replacement));
        self.add(domain, RecordType::NAPTR, RData::NAPTR(naptr));
    }

    /// From now on it answers SERVFAIL to everything, or no longer.
    pub fn set_broken(&self, is_broken: bool) {
        self.zone().is_broken = is_broken;
    }

    /// What it was asked: `example.net. SRV`.
    pub fn asked(&self) -> Vec<String> {
        self.zone().asked.clone()
    }

    fn add(&self, of: &str, kind: RecordType, data: RData) {
        self.zone().records.entry((name(of), kind)).or_default().push(data);
    }

    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("the test writes names");
    name.set_fqdn(true);
    name
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; 4_096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let question = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
        let answer = question.and_then(|question| answer(&question, &zone).to_vec().ok());
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn answer(question: &Message, zone: &Mutex<Zone>) -> Message {
    let mut answer = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let mut zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
    for query in &question.queries {
        answer.add_query(query.clone());
        zone.asked.push(format!("{} {}", query.name(), query.query_type()));
        if zone.is_broken {
            answer.metadata.response_code = ResponseCode::ServFail;
            continue;
        }
        let name = query.name().to_lowercase();
        let found = zone.records.get(&(name.clone(), query.query_type()));
        if let Some(records) = found {
            for data in records {
                answer.add_answer(Record::from_rdata(name.clone(), TTL, data.clone()));
            }
        } else if zone.records.keys().all(|(known, _)| *known != name) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
    }
    answer
}
