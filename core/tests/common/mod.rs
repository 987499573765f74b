//! What tests of the pure parts of the core begin with.

use core_registrar::keys::ClusterKeys;
use core_registrar::settings::{Challenged, Settings};
use registrar::Policy;
use sip::digest::Algorithm;

/// The core of `example.com`, which asks everybody for a proof.
pub(crate) fn settings() -> Settings {
    Settings {
        name: "core-1".to_owned(),
        domains: ["example.com".to_owned()].into(),
        keys: ClusterKeys::random([1; 32]),
        nonce_lifetime: 300,
        algorithms: vec![Algorithm::Sha256],
        challenged: Challenged::All,
        policy: Policy::default(),
        service_route: false,
        change_feed: false,
        reg_watchers: [].into(),
        routes: core_registrar::routes::Routes::default(),
    }
}
