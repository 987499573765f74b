//! Torture messages after RFC 4475 and RFC 5118: what is accepted, what is refused, with which status and by whom.
//!
//! `torture/*.dat` are messages of our own, each built around the defect or the oddity of the section whose name it
//! bears; that directory and the table below are compared, so neither can lack a row. When `SIP_TORTURE_RFC4475` is
//! the path of the text of RFC 4475, the originals are taken out of the archive in its Appendix A and have to pass
//! the same rows.

#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

mod torture {
    pub(crate) mod archive;
    pub(crate) mod look;
    pub(crate) mod table;
}

use std::{collections::BTreeSet, fs, path::Path};

use bytes::Bytes;
use sip::{
    Message, Name, Response, StatusCode,
    parse::{self, Limits},
};
use torture::{
    archive,
    table::{RFC_4475, RFC_5118, Row, Verdict},
};

/// Holds one message against its row.
fn judge(row: &Row, datagram: &Bytes) {
    let name = row.name;
    let parsed = parse::message(datagram.clone(), &Limits::default());
    match (row.verdict, parsed) {
        (Verdict::Accepted(look) | Verdict::RefusedAbove(_, _, look), Ok(message)) => {
            // Without Content-Length the sender says one thing and we, who know the length, another.
            if message.headers().get(Name::ContentLength).is_some() {
                assert!(datagram.starts_with(&message.encode()), "{name}: does not leave as it came");
            }
            look(&message);
        }
        (Verdict::Refused(status), Err(malformed)) => {
            assert_eq!(malformed.error.status.code(), status, "{name}: {}", malformed.error);
            let request = malformed.request.unwrap_or_else(|| panic!("{name}: cannot be answered"));
            let response = Response::to(&request, malformed.error.status, Some("torture"));
            let vias =
                |headers: &sip::Headers| headers.lines(Name::Via).map(<[u8]>::to_vec).collect::<Vec<_>>();
            assert_eq!(
                vias(&response.headers),
                vias(&request.headers),
                "{name}: the answer has another way back"
            );
            assert!(response.encode().starts_with(format!("SIP/2.0 {status} ").as_bytes()), "{name}");
        }
        (Verdict::Dropped, Err(malformed)) => assert!(malformed.request.is_none(), "{name}: is answered"),
        (Verdict::Accepted(_), Err(malformed)) => panic!("{name}: refused: {}", malformed.error),
        (Verdict::RefusedAbove(layer, way, _), Err(malformed)) => {
            panic!("{name}: {} stops it before {layer:?} can {way:?}", malformed.error)
        }
        (Verdict::Refused(_) | Verdict::Dropped, Ok(_)) => panic!("{name}: accepted"),
    }
}

fn corpus() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture"))
}

fn run(table: &[Row]) {
    for row in table {
        let path = corpus().join(row.name).with_extension("dat");
        let datagram = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        judge(row, &datagram.into());
    }
}

#[test]
fn corpus_after_rfc_4475() {
    run(RFC_4475);
}

#[test]
fn corpus_after_rfc_5118() {
    run(RFC_5118);
}

#[test]
fn every_message_has_a_row_and_a_section() {
    let rows: BTreeSet<_> = RFC_4475.iter().chain(RFC_5118).map(|row| row.name.to_owned()).collect();
    assert_eq!(rows.len(), RFC_4475.len() + RFC_5118.len(), "a name stands twice");
    let files: BTreeSet<_> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "dat"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(rows, files);
    let sections: BTreeSet<_> = RFC_4475.iter().map(|row| row.section).collect();
    assert_eq!(sections.len(), RFC_4475.len());
}

#[test]
fn originals_of_rfc_4475() {
    let Some(text) = std::env::var_os("SIP_TORTURE_RFC4475") else {
        archive::announce("SIP_TORTURE_RFC4475 is unset: the RFC's own archive is not run");
        return;
    };
    let text = fs::read_to_string(&text).unwrap_or_else(|e| panic!("{}: {e}", Path::new(&text).display()));
    let originals = archive::unpack(&text);
    for row in RFC_4475 {
        let original = originals.get(row.name).unwrap_or_else(|| panic!("{}: not in the archive", row.name));
        judge(row, original);
    }
}

#[test]
fn every_message_may_be_cut_anywhere() {
    // Nothing is promised about what comes out, only that something does.
    for row in RFC_4475.iter().chain(RFC_5118) {
        let datagram = Bytes::from(fs::read(corpus().join(row.name).with_extension("dat")).unwrap());
        for len in 0..datagram.len() {
            if let Ok(Message::Request(request)) = parse::message(datagram.slice(..len), &Limits::default()) {
                let _ = (request.request_uri(), request.contacts(), request.top_route().is_some());
                let _ = Response::to(&request, StatusCode::new(400), Some("torture")).encode();
            }
        }
    }
}
