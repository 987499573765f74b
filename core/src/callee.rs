//! Whom a request means, and which ways lead there: RFC 3261 §16.5, RFC 5627 §6.1, RFC 5626 §7.

use bytes::Bytes;
use proxy::target::Target;
use registrar::gruu::{self, Gruu};
use registrar::select::{self, Candidate};
use registrar::{Record, UnixTime};
use sip::{Aor, Name, NameAddr, Reject, Request, StatusCode, Uri};

use crate::gruu::{Temporary, open};
use crate::keys::ClusterKeys;
use crate::routing::{NOT_FOUND, UNAVAILABLE};
use crate::settings::Settings;
use crate::sips;

/// An address-of-record of ours, and who of those that registered there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callee {
    /// Whose record has to be loaded.
    pub aor: Aor,
    /// Which of its bindings count.
    pub who: Who,
}

/// Which bindings of a record a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// All of them.
    Everybody,
    /// Those of one instance: a public GRUU.
    Instance(String),
    /// Those of one instance, as long as its temporary GRUUs hold.
    Temporary(Temporary),
    /// Those of the UA whose contact is the Request-URI: a dialog's remote target (RFC 3261 §12.2.1.1).
    RemoteTarget,
}

impl Callee {
    /// Everybody at an address.
    pub fn everybody(aor: Aor) -> Self {
        Self { aor, who: Who::Everybody }
    }

    /// The instance that a GRUU of a domain of ours names; `None` when the URI is no GRUU.
    ///
    /// # Errors
    ///
    /// RFC 5627 §6.1: 404 for a `gr` parameter that is none of ours.
    pub fn of_gruu(uri: &Uri<'_>, keys: &ClusterKeys) -> Result<Option<Self>, Reject> {
        let unknown = || Reject::new(NOT_FOUND);
        let Some(gruu) = Gruu::of(uri) else { return Ok(None) };
        let aor = Aor::of(uri).map_err(|_| unknown())?;
        match gruu {
            Gruu::Public(instance) => Ok(Some(Self { aor, who: Who::Instance(instance) })),
            Gruu::Temporary(token) => {
                let found = open(keys, aor.domain(), token).ok_or_else(unknown)?;
                Ok(Some(Self { aor: found.aor.clone(), who: Who::Temporary(found) }))
            }
            Gruu::Unknown => Err(unknown()),
        }
    }

    /// The ways to the callee of `request` by what is registered, the best first. Ways to one UA share its instance.
    pub fn targets(&self, record: &Record, request: &Request, now: UnixTime) -> Vec<Target> {
        let found = match &self.who {
            Who::Everybody => select::candidates(record, now),
            Who::Instance(instance) => select::of_instance(record, instance, now),
            Who::Temporary(temporary) => {
                let holds = |instance: &&str| {
                    gruu::epoch(record, instance, now).is_some_and(|epoch| temporary.holds(instance, epoch))
                };
                let mut instances = record.live(now).filter_map(|binding| binding.instance.as_deref());
                let instance = instances.find(holds);
                instance.map_or_else(Vec::new, |instance| select::of_instance(record, instance, now))
            }
            Who::RemoteTarget => match request.request_uri() {
                Ok(uri) => select::of_contact(record, &uri, now),
                Err(_) => Vec::new(),
            },
        };
        let mut targets: Vec<_> =
            found.into_iter().enumerate().map(|(mark, candidate)| target(candidate, mark as u64)).collect();
        sips::fit(&mut targets, request);
        if self.who != Who::Everybody {
            // RFC 5627 §6.1: the order is that of the refreshes; q would weigh a UA against itself.
            targets.iter_mut().for_each(|target| target.q = 1000);
        }
        targets
    }

    /// The answer when there is no way; `None` where it depends on whether there is such a user.
    pub fn missing(&self) -> Option<StatusCode> {
        match self.who {
            Who::Everybody | Who::Instance(_) => None,
            // RFC 5627 §5.3: without a contact it is invalid, as after a change of the Call-ID.
            Who::Temporary(_) => Some(NOT_FOUND),
            Who::RemoteTarget => Some(UNAVAILABLE),
        }
    }
}

/// RFC 5627 §6.2: the contact of a proven caller is no GRUU of somebody else.
///
/// Record-routing, the other matter of that section, is the edges': each of them stands in every dialog.
///
/// # Errors
///
/// 403.
pub fn check_contact(request: &Request, caller: &Aor, settings: &Settings) -> Result<(), Reject> {
    let Some(contact) = request.headers.top(Name::Contact).map(NameAddr::parse).and_then(Result::ok) else {
        return Ok(());
    };
    let Ok(uri) = contact.parsed_uri() else { return Ok(()) };
    if !uri.is_sip() || !settings.serves(&uri) {
        return Ok(());
    }
    match Callee::of_gruu(&uri, &settings.keys) {
        Ok(Some(owner)) if owner.aor != *caller => {
            Err(Reject::new(StatusCode::new(403)).because("Not Your Contact"))
        }
        // One that nobody has given out is not valid, and so nobody's.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A binding with its own Path vector as its own route (RFC 3327 §5.4).
fn target(candidate: Candidate<'_>, mark: u64) -> Target {
    let binding = candidate.binding;
    Target {
        uri: Bytes::copy_from_slice(binding.contact.as_bytes()),
        route: binding.path.iter().map(|hop| Bytes::copy_from_slice(hop.as_bytes())).collect(),
        q: binding.q,
        instance: candidate.instance.map(|instance| Bytes::copy_from_slice(instance.as_bytes())),
        tag: mark,
    }
}
