//! Two URIs, one on each line: RFC 3261 §19.1, RFC 3966.
//!
//! Comparison is reflexive and symmetric. (By the RFC's own examples it is not transitive.)

use sip::{Aor, Uri};

/// Reads both and compares them.
pub fn check(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let one = lines.next().and_then(|line| Uri::parse(line).ok());
    let two = lines.next().and_then(|line| Uri::parse(line).ok());
    for uri in [&one, &two].into_iter().flatten() {
        look(uri);
    }
    if let (Some(one), Some(two)) = (one, two) {
        assert_eq!(one.equivalent(&two), two.equivalent(&one), "symmetric");
    }
}

fn look(uri: &Uri<'_>) {
    assert!(uri.equivalent(uri), "reflexive");
    for (name, value) in uri.params.iter() {
        assert!(!name.is_empty() && uri.params.has(name));
        _ = value;
    }
    _ = (uri.host_port(), uri.is_loose_router(), uri.param("maddr"));
    if let Ok(aor) = Aor::of(uri) {
        // RFC 3261 §10.3 step 5: the canonical form of a canonical form is itself.
        assert_eq!(Aor::parse(aor.as_str()).as_ref(), Ok(&aor));
        assert_eq!(format!("sip:{}@{}", aor.user(), aor.domain()), aor.as_str());
    }
}
