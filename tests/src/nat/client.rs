//! Phones that somebody else wrote, without a display: baresip, linphone, and JsSIP and SIP.js in Chromium.
//!
//! Each knows a tone that it says, and can tell whether it hears another one. Each answers calls by itself.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Network, PASSWORD, Program, folder, tone};
use crate::cluster::{DOMAIN, Problem, poll};

/// Which phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// baresip, over UDP, TCP or TLS.
    Baresip(Way, Media, Flows),
    /// linphonec, over UDP, TCP or TLS.
    Linphone(Way),
    /// JsSIP in Chromium, over WSS.
    JsSip,
    /// SIP.js in Chromium, over WSS.
    SipJs,
}

/// The transport of a desk phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Datagrams.
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
}

/// What a phone's media looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// RTP, as desk phones do it.
    Rtp,
    /// ICE and DTLS-SRTP, as browsers do it.
    Web,
}

/// How a phone registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// Without RFC 5626.
    Plain,
    /// With RFC 5626, one flow.
    One,
    /// With RFC 5626, a flow to each edge.
    Two,
}

/// Where a phone is and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// Its host.
    pub host: &'a str,
    /// The edge that it knows: 1 or 2.
    pub edge: u8,
    /// Its user.
    pub user: &'a str,
    /// What it says, in hertz.
    pub tone: u32,
}

/// A running phone.
#[derive(Debug)]
pub struct Client {
    model: Model,
    user: String,
    home: PathBuf,
    program: Program,
}

/// How long anything may take: a busy machine is no reason to give up.
const LIMIT: Duration = Duration::from_secs(20);

impl Client {
    /// Starts a phone; its files go to a folder of `dir`, which also holds the certificate of the authority.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not start.
    pub async fn start(network: &Network, dir: &Path, model: Model, seat: Seat<'_>) -> Result<Self, Problem> {
        let home = dir.join(seat.user);
        fs::create_dir_all(home.join(".local/share/linphone"))?;
        tone::write(&home.join("tone.wav"), seat.tone)?;
        let space = network.space(seat.host);
        let path = home.display().to_string();
        let line = match model {
            Model::Baresip(way, media, flows) => {
                write_baresip(&home, way, media, flows, seat)?;
                vec!["baresip".to_owned(), "-f".into(), path]
            }
            Model::Linphone(way) => {
                write_linphone(&home, dir, way, seat)?;
                let file = home.join("linphone.rc").display().to_string();
                // Its lines come when they are written, not when a block is full.
                ["stdbuf", "-oL", "linphonec", "-c", &file].map(str::to_owned).to_vec()
            }
            Model::JsSip | Model::SipJs => {
                vec!["node".into(), folder().join("web/phones.js").display().to_string()]
            }
        };
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let program = Program::start(&space, &home, &line)?;
        let mut client = Self { model, user: seat.user.to_owned(), home, program };
        client.begin(seat).await?;
        Ok(client)
    }

    async fn begin(&mut self, seat: Seat<'_>) -> Result<(), Problem> {
        let kind = match self.model {
            Model::Baresip(..) => return self.program.says(&["baresip is ready"], LIMIT).await.map(drop),
            Model::Linphone(_) => {
                for order in ["soundcard use files", "autoanswer enable"] {
                    self.program.tell(order).await?;
                }
                let (tone, heard) = (self.home.join("tone.wav"), self.home.join("heard.wav"));
                self.program.tell(&format!("play {}", tone.display())).await?;
                return self.program.tell(&format!("record {}", heard.display())).await;
            }
            Model::JsSip => "jssip",
            Model::SipJs => "sipjs",
        };
        self.program.says(&["ready"], LIMIT).await?;
        let Seat { edge, user, tone, .. } = seat;
        let url = format!("wss://edge{edge}.{DOMAIN}/");
        self.program.tell(&format!("open phone {kind} {url} {user} {PASSWORD} {tone}")).await
    }

    /// Waits until it says that it is registered, on all its flows.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn registered(&mut self) -> Result<(), Problem> {
        self.registered_within(LIMIT).await
    }

    /// The same with a limit.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn registered_within(&mut self, limit: Duration) -> Result<(), Problem> {
        match self.model {
            Model::Baresip(_, _, flows) => {
                let user = format!("{}@{DOMAIN}", self.user);
                let count = if flows == Flows::Two { 2 } else { 1 };
                for _ in 0..count {
                    self.program.says(&[&user, "200 OK"], limit).await?;
                }
                Ok(())
            }
            Model::Linphone(_) => {
                // It tells only who asks.
                let program = &mut self.program;
                let told = poll(limit, async || {
                    program.tell("status register").await.ok()?;
                    program.says(&["registered, identity"], Duration::from_secs(1)).await.ok()
                });
                if told.await.is_some() { Ok(()) } else { Err(self.program.problem("is not registered")) }
            }
            Model::JsSip | Model::SipJs => self.program.says(&["phone: registered"], limit).await.map(drop),
        }
    }

    /// Calls a user.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn call(&mut self, user: &str) -> Result<(), Problem> {
        let order = match self.model {
            Model::Baresip(..) => format!("/dial sip:{user}@{DOMAIN}"),
            Model::Linphone(_) => format!("call sip:{user}@{DOMAIN}"),
            Model::JsSip | Model::SipJs => format!("call phone {user}"),
        };
        self.program.tell(&order).await
    }

    /// Waits until the call stands.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn established(&mut self) -> Result<(), Problem> {
        let words: &[&str] = match self.model {
            Model::Baresip(..) => &["Call established"],
            Model::Linphone(_) => &["Call", "connected"],
            Model::JsSip | Model::SipJs => &["phone: established"],
        };
        self.program.says(words, LIMIT).await.map(drop)
    }

    /// Waits until it has heard a tone for a second.
    ///
    /// # Errors
    ///
    /// It has not.
    pub async fn hears(&mut self, hertz: u32) -> Result<(), Problem> {
        if let Model::JsSip | Model::SipJs = self.model {
            let line = self.program.says(&["phone: heard"], LIMIT).await?;
            let heard: u32 = line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            // The browser's ear is as coarse as its transform.
            return if heard.abs_diff(hertz) <= 15 {
                Ok(())
            } else {
                Err(Problem::new(format!("{self} hears {heard} Hz, not {hertz}")))
            };
        }
        let heard = poll(LIMIT, async || {
            let mut files = fs::read_dir(&self.home).ok()?.filter_map(|file| Some(file.ok()?.path()));
            files.find(|file| is_recording(file) && tone::heard(file, hertz))
        });
        heard.await.map(drop).ok_or_else(|| self.program.problem(&format!("does not hear {hertz} Hz")))
    }

    /// Hangs up.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn hang_up(&mut self) -> Result<(), Problem> {
        let order = match self.model {
            Model::Baresip(..) => "/hangup",
            Model::Linphone(_) => "terminate",
            Model::JsSip | Model::SipJs => "hangup phone",
        };
        self.program.tell(order).await
    }

    /// Waits until the call is over.
    ///
    /// # Errors
    ///
    /// It is not.
    pub async fn ended(&mut self) -> Result<(), Problem> {
        let words: &[&str] = match self.model {
            Model::Baresip(..) => &["Call with", "terminated"],
            Model::Linphone(_) => &["Call", "ended"],
            Model::JsSip | Model::SipJs => &["phone: ended"],
        };
        self.program.says(words, LIMIT).await.map(drop)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.model, self.user)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Baresip(way, media, flows) => {
                write!(f, "baresip {}", way.name().to_uppercase())?;
                f.write_str(match flows {
                    Flows::Plain => "",
                    Flows::One => ", outbound",
                    Flows::Two => ", outbound with two flows",
                })?;
                f.write_str(if *media == Media::Web { ", DTLS-SRTP" } else { "" })
            }
            Self::Linphone(way) => write!(f, "linphone {}", way.name().to_uppercase()),
            Self::JsSip => f.write_str("JsSIP WSS"),
            Self::SipJs => f.write_str("SIP.js WSS"),
        }
    }
}

impl Way {
    /// As in a URI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    fn port(self) -> u16 {
        if self == Self::Tls { 5061 } else { 5060 }
    }
}

fn is_recording(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "heard.wav" || name.ends_with("-dec.wav")
}

fn write_baresip(home: &Path, way: Way, media: Media, flows: Flows, seat: Seat<'_>) -> Result<(), Problem> {
    let template = fs::read_to_string(folder().join("phones/baresip.config"))?;
    let mux = if media == Media::Web { "yes" } else { "no" };
    let config = template.replace("@HOME@", &home.display().to_string()).replace("@MUX@", mux);
    let edge =
        |number| format!("\"sip:{}:{};transport={}\"", Network::edge(number).ip(), way.port(), way.name());
    let mut account = format!(
        "<sip:{}@{DOMAIN}>;auth_pass={PASSWORD};regint=120;answermode=auto;audio_codecs=pcmu;outbound={}",
        seat.user,
        edge(seat.edge)
    );
    if flows != Flows::Plain {
        account.push_str(";sipnat=outbound");
    }
    if flows == Flows::Two {
        account.push_str(&format!(";outbound2={}", edge(3 - seat.edge)));
    }
    if media == Media::Web {
        account.push_str(";mediaenc=dtls_srtp;medianat=ice");
    }
    fs::write(home.join("config"), config)?;
    fs::write(home.join("accounts"), format!("{account}\n"))?;
    Ok(fs::write(home.join("contacts"), "")?)
}

fn write_linphone(home: &Path, dir: &Path, way: Way, seat: Seat<'_>) -> Result<(), Problem> {
    let template = fs::read_to_string(folder().join("phones/linphone.rc"))?;
    // By name: it compares the name with the certificate.
    let edge = format!("edge{}.{DOMAIN}:{}", seat.edge, way.port());
    let settings = template
        .replace("@AUTHORITY@", &dir.join("authority.pem").display().to_string())
        .replace("@EDGE@", &edge)
        .replace("@TRANSPORT@", way.name())
        .replace("@USER@", seat.user)
        .replace("@PASSWORD@", PASSWORD);
    Ok(fs::write(home.join("linphone.rc"), settings)?)
}
