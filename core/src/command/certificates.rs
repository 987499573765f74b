//! `certs`: certificates of the link, for clusters without a PKI.

use std::fmt::Write;
use std::path::Path;

use node::exit::Failure;

/// Makes what is missing and keeps what is there, so that a node can be added with the same command.
pub(super) fn run(dir: &Path, names: &[String]) -> Result<String, Failure> {
    let is_there = |file: String| dir.join(file).exists();
    let mut text = String::new();
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|earlier| earlier == name) {
            continue;
        }
        let done = if is_there(format!("{name}.pem")) && is_there(format!("{name}-key.pem")) {
            "kept"
        } else {
            check_authority(dir)?;
            link::make_certificates(dir, &[name]).map_err(failed)?;
            "made"
        };
        let files = dir.join(name);
        writeln!(text, "{done} {0}.pem {0}-key.pem", files.display()).expect("a string takes anything");
    }
    Ok(text)
}

/// A CA is a certificate and its key. With one of them alone, new certificates would be signed by a key that no node
/// believes.
fn check_authority(dir: &Path) -> Result<(), Failure> {
    let [certificate, key] = ["ca.pem", "ca-key.pem"].map(|file| dir.join(file));
    let (has, lacks) = match (certificate.exists(), key.exists()) {
        (true, false) => (certificate, key),
        (false, true) => (key, certificate),
        (true, true) | (false, false) => return Ok(()),
    };
    let (has, lacks) = (has.display(), lacks.display());
    Err(Failure::Refused(format!("{has} is there, {lacks} is not: put it back, or take an empty folder")))
}

fn failed(error: link::Error) -> Failure {
    match error {
        link::Error::CertificateName(_) => Failure::Refused(error.to_string()),
        other => Failure::Unavailable(other.to_string()),
    }
}
