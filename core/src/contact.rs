//! Addresses and bindings as operators see them: in the API, in the output of commands, and in [`crate::why`].

use registrar::{Binding, UnixTime};
use serde::{Deserialize, Serialize};
use sip::{Aor, Uri};

/// An address as it is written and printed: `alice@example.com`.
pub(crate) fn shown(aor: &Aor) -> String {
    format!("{}@{}", aor.user(), aor.domain())
}

/// A contact as an operator names it.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn uri(text: &str) -> Result<Uri<'_>, String> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    Uri::parse(text.as_bytes()).map_err(|_| format!("{text:?} is no URI of a contact: sip:… expected"))
}

/// What is known of a binding. Fields are only added: scripts read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The contact URI as the UA wrote it.
    pub contact: String,
    /// Its other parameters.
    pub params: String,
    /// In thousandths.
    pub q: u16,
    /// In seconds.
    pub expires_in: u64,
    /// In seconds since 1970.
    #[serde(default)]
    pub expires_at: u64,
    /// Name of the edge that it came through.
    pub edge: String,
    /// Transport and address of the UA as the edge saw them.
    pub source: String,
    /// From the top: the way to the contact (RFC 3327).
    pub path: Vec<String>,
    /// Instance-id (RFC 5626 §4.1).
    pub instance: Option<String>,
    /// The flow among those of the instance.
    pub reg_id: Option<u32>,
    /// User-Agent of the REGISTER.
    pub user_agent: String,
    /// Name of the core that wrote it.
    pub written_by: String,
    /// Of the last REGISTER.
    pub call_id: String,
    /// Of the last REGISTER.
    pub cseq: u32,
    /// Since when the contact is reached this way, in seconds since 1970.
    pub registered_at: u64,
    /// When the last REGISTER came, in seconds since 1970.
    pub updated_at: u64,
}

impl Contact {
    /// A binding at `now`.
    pub fn of(binding: &Binding, now: UnixTime) -> Self {
        Self {
            contact: binding.contact.clone(),
            params: binding.params.clone(),
            q: binding.q,
            expires_in: binding.expires_at.0.saturating_sub(now.0),
            expires_at: binding.expires_at.0,
            edge: binding.edge.clone(),
            source: binding.source.clone(),
            path: binding.path.clone(),
            instance: binding.instance.clone(),
            reg_id: binding.reg_id,
            user_agent: binding.user_agent.clone(),
            written_by: binding.written_by.clone(),
            call_id: binding.call_id.clone(),
            cseq: binding.cseq,
            registered_at: binding.registered_at.0,
            updated_at: binding.updated_at.0,
        }
    }
}
