//! Registration information documents, RFC 3680 §5.
//!
//! A document tells the state of one address-of-record, all of it or what has changed. Its text is written here: it has
//! four elements, and all that has to be got right is what strangers have put into them (`escape`).

use std::fmt::Write;

use sip::Aor;

use crate::update::split_params;
use crate::watcher::{ContactEvent, Notice};
use crate::{Binding, UnixTime};

/// The type of every document, RFC 3680 §4.5.
pub const MIME: &str = "application/reginfo+xml";

/// RFC 3680 §5.1: how much a document tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every contact.
    Full,
    /// The contacts that have changed.
    Partial,
}

/// The document with this version about an address-of-record with these bindings, after these events.
///
/// A full document tells of contacts that are gone, too, when nobody has told of them yet: so the reason is not lost.
pub fn document(
    aor: &Aor,
    bindings: &[Binding],
    notices: &[Notice],
    scope: Scope,
    version: u32,
    now: UnixTime,
) -> String {
    let live = || bindings.iter().filter(|binding| binding.is_live(now));
    let has_contact = live().next().is_some();
    let contacts: Vec<(ContactEvent, &Binding)> = match scope {
        Scope::Full => {
            let gone = notices.iter().filter(|notice| !notice.event.is_active());
            let gone = gone.filter(|notice| live().all(|binding| !binding.is_same_contact(&notice.binding)));
            live()
                .map(|binding| (last_event(binding), binding))
                .chain(gone.map(|notice| (notice.event, &notice.binding)))
                .collect()
        }
        Scope::Partial => notices.iter().map(|notice| (notice.event, &notice.binding)).collect(),
    };
    // RFC 3680 §4.7.1: nobody is told of the way from terminated to init.
    let state = match (has_contact, contacts.is_empty()) {
        (true, _) => "active",
        (false, true) => "init",
        (false, false) => "terminated",
    };
    let scope = match scope {
        Scope::Full => "full",
        Scope::Partial => "partial",
    };
    let mut text = String::with_capacity(256 + 512 * contacts.len());
    // A string takes whatever is written to it.
    let _ = write!(
        text,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"{version}\" state=\"{scope}\">\n\
         <registration aor=\""
    );
    escape(aor.as_str(), &mut text);
    let _ = writeln!(text, "\" id=\"{:x}\" state=\"{state}\">", hash([aor.as_str()]));
    for (event, binding) in contacts {
        contact(event, binding, now, &mut text);
    }
    text.push_str("</registration>\n</reginfo>\n");
    text
}

/// The event that has led to a binding as it is.
fn last_event(binding: &Binding) -> ContactEvent {
    if binding.registered_at == binding.updated_at {
        ContactEvent::Registered
    } else {
        ContactEvent::Refreshed
    }
}

fn contact(event: ContactEvent, binding: &Binding, now: UnixTime, text: &mut String) {
    let is_active = event.is_active() && binding.is_live(now);
    let state = if is_active { "active" } else { "terminated" };
    let event = if event.is_active() && !is_active { ContactEvent::Expired } else { event };
    let _ = write!(
        text,
        "<contact id=\"{:x}\" state=\"{state}\" event=\"{}\" duration-registered=\"{}\"",
        id(binding),
        event.as_str(),
        now.0.min(binding.expires_at.0).saturating_sub(binding.registered_at.0),
    );
    if is_active {
        let _ = write!(text, " expires=\"{}\"", binding.expires_at.remaining(now));
    }
    if binding.q < 1000 {
        let thousandths = format!("{:03}", binding.q);
        let digits = thousandths.trim_end_matches('0');
        let _ = write!(text, " q=\"0{}{digits}\"", if digits.is_empty() { "" } else { "." });
    }
    text.push_str(" callid=\"");
    escape(&binding.call_id, text);
    let _ = write!(text, "\" cseq=\"{}\">\n<uri>", binding.cseq);
    escape(&binding.contact, text);
    text.push_str("</uri>\n");
    for param in split_params(&binding.params).filter(|param| !param.is_empty()) {
        let (name, value) = param.split_once('=').map_or((param, ""), |(name, value)| (name, value));
        text.push_str("<unknown-param name=\"");
        escape(name.trim(), text);
        text.push_str("\">");
        escape(value.trim(), text);
        text.push_str("</unknown-param>\n");
    }
    text.push_str("</contact>\n");
}

/// RFC 3680 §5.1: contacts that differ have ids that differ. Flows of one UA may share a URI, so they count, too.
fn id(binding: &Binding) -> u128 {
    let flow = binding.reg_id.map(|id| id.to_string()).unwrap_or_default();
    hash([&binding.contact, binding.instance.as_deref().unwrap_or_default(), &flow])
}

/// FNV-1a over texts that cannot contain the separator. 128 bit: two contacts of one address do not meet by chance.
fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> u128 {
    let bytes = parts.into_iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// Character data or an attribute's value, XML 1.0. What XML has no way to say becomes the replacement character.
fn escape(raw: &str, text: &mut String) {
    for c in raw.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(text, "&#{};", u32::from(c));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => text.push(char::REPLACEMENT_CHARACTER),
            _ => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
