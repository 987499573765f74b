//! The archive in Appendix A of RFC 4475: base64 of a gzip-compressed tar file between two marks.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

/// Message by name, as the text of the RFC holds them.
pub(crate) fn unpack(rfc: &str) -> BTreeMap<String, Bytes> {
    // The marks also occur in the script above the archive, inside longer lines.
    let base64: String = rfc
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "-- BEGIN MESSAGE ARCHIVE --")
        .take_while(|line| *line != "-- END MESSAGE ARCHIVE --")
        // Page heads and feet are the lines with a space in them.
        .filter(|line| !line.contains(char::is_whitespace))
        .collect();
    let gzip = STANDARD.decode(base64).expect("base64 between the marks");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&gzip[..]));
    let mut messages = BTreeMap::new();
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry of the archive");
        let path = entry.path().expect("a path of the archive").into_owned();
        let name = Path::file_stem(&path).expect("a file name").to_string_lossy().into_owned();
        let mut message = Vec::new();
        entry.read_to_end(&mut message).expect("a message of the archive");
        messages.insert(name, message.into());
    }
    messages
}

/// Writes past the capture of the test harness, so that what is left out is seen.
pub(crate) fn announce(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").expect("standard error can be written to");
}
