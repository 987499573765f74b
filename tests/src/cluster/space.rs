//! A network namespace that somebody else has made: sockets and programs in it.
//!
//! A socket belongs to the namespace of the thread that opened it, for good. So a thread of its own goes there, opens
//! the socket and ends; the tests themselves stay where they are.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream, UdpSocket as StdSocket};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::Command;

use super::Problem;

/// A namespace by its name as `ip netns` knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

/// How long a connection may take.
const LIMIT: Duration = Duration::from_secs(5);

impl Namespace {
    /// The namespace with this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A UDP socket in it.
    ///
    /// # Errors
    ///
    /// There is no such namespace, or the address is taken.
    pub fn datagrams(&self, local: SocketAddr) -> Result<UdpSocket, Problem> {
        let socket = self.inside(|| StdSocket::bind(local))?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from_std(socket)?)
    }

    /// A TCP connection from it.
    ///
    /// # Errors
    ///
    /// There is no such namespace, or nobody listens.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream, Problem> {
        let stream = self.inside(|| StdStream::connect_timeout(&to, LIMIT))?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream)?)
    }

    /// A program, in the namespace if there is one. It is the child itself: nothing stands between.
    pub fn command(space: Option<&Self>, program: impl AsRef<OsStr>) -> Command {
        let Some(Self(name)) = space else { return Command::new(program) };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).arg(program);
        command
    }

    fn inside<T: Send>(&self, open: impl FnOnce() -> io::Result<T> + Send) -> Result<T, Problem> {
        let path = PathBuf::from("/run/netns").join(&self.0);
        let opened = thread::scope(|scope| {
            let opens = scope.spawn(|| {
                setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
                open()
            });
            opens.join().unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
        });
        opened.map_err(|error| Problem::new(format!("{}: {error}", self.0)))
    }
}
