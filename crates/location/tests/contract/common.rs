//! Records and stores for the tests of this crate.

use std::path::Path;

use location::{Credentials, Database, LocationStore, Memory, Save, Saved, User};
use registrar::{Binding, Record, UnixTime, Watcher};
use sip::Aor;
use tempfile::TempDir;

pub(crate) const NOW: UnixTime = UnixTime(1_700_000_000);

pub(crate) fn aor(user: &str) -> Aor {
    Aor::parse(&format!("{user}@example.com")).unwrap()
}

pub(crate) fn user(name: &str) -> User {
    User { name: name.to_owned(), realm: "example.com".to_owned() }
}

pub(crate) fn credentials(text: &str) -> Credentials {
    Credentials { ha1_md5: format!("md5 {text}"), ha1_sha256: format!("sha {text}") }
}

/// A binding that was made at `at` for an hour through `edge`.
pub(crate) fn binding(contact: &str, edge: &str, at: UnixTime) -> Binding {
    Binding {
        contact: contact.to_owned(),
        params: ";audio;+sip.instance=\"<urn:uuid:1>\"".to_owned(),
        q: 500,
        expires_at: at.after(3_600),
        call_id: "call".to_owned(),
        cseq: 1,
        path: vec![format!("<sip:token@{edge};lr;ob>"), "<sip:\u{e9}'\"%00@b;lr>".to_owned()],
        instance: Some("urn:uuid:1".to_owned()),
        reg_id: Some(1),
        gruu_epoch: 7,
        user_agent: "Phone".to_owned(),
        edge: edge.to_owned(),
        source: "udp:192.0.2.1:5060".to_owned(),
        registered_at: at,
        updated_at: at,
        written_by: "core-1".to_owned(),
    }
}

/// A subscription of an hour that was made at `at`.
pub(crate) fn watcher(call_id: &str, at: UnixTime) -> Watcher {
    Watcher {
        call_id: call_id.to_owned(),
        local_tag: "l".to_owned(),
        remote_tag: "r".to_owned(),
        local: "<sip:alice@example.com>".to_owned(),
        remote: "\"A\" <sip:app@example.com>".to_owned(),
        target: "sip:app@192.0.2.7".to_owned(),
        route: vec!["<sip:token@edge;lr>".to_owned()],
        cseq: 1,
        remote_cseq: 7,
        event_id: Some("x".to_owned()),
        version: 1,
        expires_at: at.after(3_600),
        updated_at: at,
        notified_at: at,
        subscriber: "sip:app@example.com".to_owned(),
        ..Watcher::default()
    }
}

pub(crate) fn save(user: &str, expected: u64, bindings: Vec<Binding>) -> Save {
    Save { aor: aor(user), expected, record: Record { bindings, ..Record::default() } }
}

/// Saves one record from version `expected` on and gives its new version.
pub(crate) async fn saved(
    store: &impl LocationStore,
    user: &str,
    expected: u64,
    bindings: Vec<Binding>,
) -> u64 {
    match store.save(&[save(user, expected, bindings)]).await.unwrap()[..] {
        [Saved::Version(version)] => version,
        ref other => panic!("{user} at {expected}: {other:?}"),
    }
}

pub(crate) async fn loaded(store: &impl LocationStore, user: &str) -> Record {
    store.load(&[aor(user)]).await.unwrap().remove(0)
}

pub(crate) fn memory() -> Memory {
    Memory::default()
}

/// A new database file and its folder, which lives as long as the test.
pub(crate) async fn sqlite() -> (Database, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(folder.path()).await, folder)
}

pub(crate) async fn open(folder: &Path) -> Database {
    Database::open(&url(folder)).await.unwrap()
}

pub(crate) fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("signalbox.db").display())
}
