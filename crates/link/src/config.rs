//! What the operator decides about the link.

use std::{fmt, path::PathBuf};

use crate::error::Error;

/// Settings of one end of the link.
#[derive(Clone)]
pub struct Config {
    /// `LINK_CA`: PEM file with the certificates of the cluster CA. A peer is who that CA says it is.
    pub ca: Option<PathBuf>,
    /// `LINK_CERT`: PEM file with this node's certificate, followed by any intermediate ones.
    pub cert: Option<PathBuf>,
    /// `LINK_KEY`: PEM file with the private key of the certificate.
    pub key: Option<PathBuf>,
    /// Folder for the development certificates, which are used when none of the three files is given. All
    /// processes of a host have to name the same folder.
    pub dev_dir: PathBuf,
    /// Secret that every start of this node knows again. With it a restarted node answers packets of its former
    /// connections with a stateless reset (RFC 9000 §10.3), so that its peers know at once; without it they wait
    /// for the idle time-out.
    pub cluster_key: Option<[u8; 32]>,
    /// Frames that may wait on each stream of each peer. A full queue is overload, not memory.
    pub queue: usize,
}

impl Config {
    /// None of the certificate files is given: development certificates will be used, on loopback only.
    pub fn is_development(&self) -> bool {
        self.ca.is_none() && self.cert.is_none() && self.key.is_none()
    }

    /// The three files; none for development certificates.
    pub(crate) fn files(&self) -> Result<Option<Files<'_>>, Error> {
        match (&self.ca, &self.cert, &self.key) {
            (None, None, None) => Ok(None),
            (Some(ca), Some(cert), Some(key)) => Ok(Some(Files { ca, cert, key })),
            (None, _, _) => Err(Error::Incomplete("LINK_CA")),
            (_, None, _) => Err(Error::Incomplete("LINK_CERT")),
            (_, _, None) => Err(Error::Incomplete("LINK_KEY")),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ca: None,
            cert: None,
            key: None,
            dev_dir: std::env::temp_dir().join("signalbox"),
            cluster_key: None,
            queue: 1024,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("dev_dir", &self.dev_dir)
            .field("cluster_key", &self.cluster_key.map(|_| "***"))
            .field("queue", &self.queue)
            .finish()
    }
}

/// The PEM files of a node.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(crate) ca: &'a PathBuf,
    pub(crate) cert: &'a PathBuf,
    pub(crate) key: &'a PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let file = || Some(PathBuf::from("x.pem"));
        let cases = [
            (None, file(), file(), "LINK_CA"),
            (file(), None, file(), "LINK_CERT"),
            (file(), file(), None, "LINK_KEY"),
        ];
        for (ca, cert, key, missing) in cases {
            let config = Config { ca, cert, key, ..Config::default() };
            let error = config.files().err().expect("incomplete").to_string();
            assert!(error.starts_with(missing), "{error}");
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        let config = Config { cluster_key: Some([0x5a; 32]), ..Config::default() };
        let text = format!("{config:?}");
        assert!(text.contains("***") && !text.contains("90"), "{text}");
    }
}
