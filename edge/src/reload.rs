//! What SIGHUP changes while the edge runs: certificates and flow keys, read again from where the settings say.
//!
//! Each is taken whole or not at all: what is no good leaves everything as it was. Nothing else of the settings changes.

use std::sync::Arc;

use node::config::{self, ConfigError, Secret};
use node::shutdown::{Reloads, Shutdown};
use transport::token::Keys;
use transport::{CertificatePart, Transport};

use crate::config::{Config, PREFIX};
use crate::engine;
use crate::events::Intake;
use crate::keeper;

/// Who is told.
pub(crate) struct Reload {
    pub(crate) transport: Transport,
    pub(crate) intake: Arc<Intake>,
    /// `EDGE_FLOW_KEYS` as they are in use.
    pub(crate) flow_keys: Secret,
}

impl Reload {
    /// Reads again whenever the process is asked to.
    pub(crate) async fn run(mut self, mut reloads: Reloads, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = reloads.next() => {}
                () = shutdown.stopped() => return,
            }
            self.certificates();
            self.flow_keys();
        }
    }

    fn certificates(&self) {
        match self.transport.reload_certificates() {
            Ok(()) => tracing::info!("certificates are read again"),
            Err(error) => {
                let variable = variable_of(error.part);
                tracing::error!("{PREFIX}{variable}: {error}; the old certificates stay in use");
            }
        }
    }

    /// Tokens of RFC 5626 §5.2 are made with the new keys from now on.
    fn flow_keys(&mut self) {
        match changed(&self.flow_keys) {
            Ok(Some((secret, keys))) => {
                self.flow_keys = secret;
                for shard in &self.intake.inboxes {
                    shard.deliver(engine::Input::Keys(Box::new(keys.clone())));
                }
                self.intake.keeper.deliver(keeper::Input::Keys(Box::new(keys)));
                tracing::info!("flow keys are read again");
            }
            Ok(None) => {}
            Err(error) => tracing::error!("{error}; the old flow keys stay in use"),
        }
    }
}

/// The flow keys if they are others than those in use.
fn changed(now: &Secret) -> Result<Option<(Secret, Keys)>, ConfigError> {
    let config = config::load::<Config>(PREFIX)?;
    if config.flow_keys.expose() == now.expose() {
        return Ok(None);
    }
    if config.flow_keys.is_empty() {
        return Err(ConfigError::new(format!("{PREFIX}FLOW_KEYS"), "it is gone"));
    }
    let keys = config.keys([0; 32])?;
    Ok(Some((config.flow_keys, keys)))
}

/// Which variable names a file.
pub(crate) const fn variable_of(part: CertificatePart) -> &'static str {
    match part {
        CertificatePart::Certificate => "TLS_CERT",
        CertificatePart::Key => "TLS_KEY",
        CertificatePart::ClientAuthority => "TLS_CLIENT_CA",
    }
}
