//! Certificates of a cluster: a CA and one certificate per node, made here for those who have no PKI.
//!
//! # Why one DNS name for all
//!
//! Edges find cores by address, by headless services, by whatever DNS says today, so no name in a certificate could
//! be compared with what was dialled. Every node certificate therefore carries the same DNS name, [`NODE`], and
//! what counts is that the cluster CA signed it. The node's own name is the common name, for people.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem;

use crate::error::Error;

/// The DNS name in every node certificate, compared by the end that dials.
pub const NODE: &str = "signalbox-node";

/// Makes certificates for the nodes `names` in `dir`: `NAME.pem` (`LINK_CERT`) and `NAME-key.pem` (`LINK_KEY`),
/// signed by the CA `ca.pem` (`LINK_CA`), whose key `ca-key.pem` no node needs.
///
/// The CA is made by the first call and used again by later ones. Nothing is overwritten: a node that has a
/// certificate is an error. Certificates serve both ends of a connection (`serverAuth`, `clientAuth`) and do not
/// expire within anybody's planning; take a node away by making a new CA.
pub fn make_certificates<S: AsRef<str>>(dir: &Path, names: &[S]) -> Result<(), Error> {
    for name in names {
        check_name(name.as_ref())?;
    }
    fs::create_dir_all(dir).map_err(|source| Error::File { path: dir.to_owned(), source })?;
    let issuer = open_authority(dir)?;
    for name in names {
        let name = name.as_ref();
        let key = KeyPair::generate()?;
        let certificate = node_params(name)?.signed_by(&key, &issuer)?;
        write_new(&dir.join(format!("{name}-key.pem")), &key.serialize_pem(), Secrecy::Private)?;
        write_new(&dir.join(format!("{name}.pem")), &certificate.pem(), Secrecy::Public)?;
    }
    Ok(())
}

/// The development certificates of this host.
pub(crate) struct Development {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Development {
    /// Finds the certificates in `dir` or makes them. All processes of the host share one certificate; the key of
    /// its CA is not kept.
    ///
    /// Safe when several processes start at once: each makes a complete folder of its own and one of them
    /// succeeds in giving it the name that all of them use.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let home = dir.join("link-certificates");
        let files =
            Self { ca: home.join("ca.pem"), cert: home.join("node.pem"), key: home.join("node-key.pem") };
        if !files.ca.exists() {
            Self::make(dir, &home)?;
        }
        Ok(files)
    }

    fn make(dir: &Path, home: &Path) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let draft = dir.join(format!("link-certificates.{}-{:016x}", std::process::id(), crate::random()));
        create_private_dir(&draft).map_err(failed(&draft))?;
        make_certificates(&draft, &["node"])?;
        let spare = draft.join("ca-key.pem");
        fs::remove_file(&spare).map_err(failed(&spare))?;
        // Renaming onto a folder that is not empty fails: somebody else was first, and his are as good.
        if let Err(source) = fs::rename(&draft, home) {
            fs::remove_dir_all(&draft).map_err(failed(&draft))?;
            if !home.join("ca.pem").exists() {
                return Err(Error::File { path: home.to_owned(), source });
            }
        }
        Ok(())
    }
}

/// The CA in `dir`, made when there is none.
fn open_authority(dir: &Path) -> Result<Issuer<'static, KeyPair>, Error> {
    let path = dir.join("ca-key.pem");
    let key = match fs::read_to_string(&path) {
        Ok(text) => {
            use pem::PemObject;
            let der = rustls::pki_types::PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|source| Error::Pem { path: path.clone(), source })?;
            KeyPair::try_from(&der)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate()?;
            let certificate = authority_params().self_signed(&key)?;
            write_new(&path, &key.serialize_pem(), Secrecy::Private)?;
            write_new(&dir.join("ca.pem"), &certificate.pem(), Secrecy::Public)?;
            key
        }
        Err(source) => return Err(Error::File { path, source }),
    };
    // The same parameters and key name the same issuer: the certificate itself is not needed to sign.
    Ok(Issuer::new(authority_params(), key))
}

fn authority_params() -> CertificateParams {
    let mut params = lifetime(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, "Signalbox cluster CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn node_params(name: &str) -> Result<CertificateParams, Error> {
    let mut params = lifetime(CertificateParams::new([NODE.to_owned()])?);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Fixed dates: a cluster must not stop because a calendar did, nor refuse a node whose clock is behind.
fn lifetime(mut params: CertificateParams) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 12, 31);
    params
}

fn check_name(name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let reserved = matches!(name, "ca" | "ca-key");
    if name.is_empty() || name.starts_with('.') || reserved || !name.bytes().all(legal) {
        return Err(Error::CertificateName(name.to_owned()));
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Secrecy {
    Public,
    Private,
}

/// Writes a file that does not exist yet. A private one is never readable by anybody else, not even for a moment.
fn write_new(path: &Path, text: &str, secrecy: Secrecy) -> Result<(), Error> {
    use io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(match secrecy {
            Secrecy::Public => 0o644,
            Secrecy::Private => 0o600,
        });
    }
    #[cfg(not(unix))]
    let _ = secrecy;
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| Error::File { path: path.to_owned(), source })
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_private_and_nothing_is_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        make_certificates(dir.path(), &["edge-a", "core-1"]).unwrap();
        for key in ["ca-key.pem", "edge-a-key.pem", "core-1-key.pem"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        assert!(matches!(make_certificates(dir.path(), &["edge-a"]), Err(Error::File { .. })));
    }

    #[test]
    fn names_stay_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "../x", "a/b", ".hidden", "ca", "ca-key", "ä"] {
            let error = make_certificates(dir.path(), &[name]).unwrap_err();
            assert!(matches!(error, Error::CertificateName(_)), "{name}: {error}");
        }
    }

    #[test]
    fn processes_that_start_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let certificates: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| fs::read(Development::open(dir.path()).unwrap().cert).unwrap()))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(certificates.windows(2).all(|pair| pair[0] == pair[1]));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no drafts are left: {left:?}");
    }
}
