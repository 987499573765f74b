//! Logs: one line per event on standard error, as text or JSON, with the users' names made unreadable.
//!
//! `RUST_LOG` filters (`info`, `warn,link=debug`), `LOG_FORMAT` is `text` or `json`. Nothing is logged per message
//! above `debug`: a formatted event costs more than forwarding the message.

use std::{
    env::{self, VarError},
    fmt::{self, Display, Formatter, Write},
    io::{self, IsTerminal},
};

use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

use crate::config::ConfigError;

/// Starts logging as the environment says.
///
/// # Errors
///
/// The variable whose value is wrong.
pub fn init() -> Result<(), ConfigError> {
    let (filter, format) = (variable(FILTER)?, variable(FORMAT)?);
    let logging = Logging::parse(filter.as_deref(), format.as_deref())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(logging.filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match logging.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| ConfigError::new(FILTER, error))
}

fn variable(name: &str) -> Result<Option<String>, ConfigError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(ConfigError::new(name, "not UTF-8")),
    }
}

#[derive(Debug)]
struct Logging {
    filter: EnvFilter,
    format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogFormat {
    Text,
    Json,
}

impl Logging {
    fn parse(filter: Option<&str>, format: Option<&str>) -> Result<Self, ConfigError> {
        let filter = filter.filter(|filter| !filter.trim().is_empty()).unwrap_or("info");
        let filter = EnvFilter::builder()
            .parse(filter)
            .map_err(|error| ConfigError::new(FILTER, format!("{filter:?}: {error}")))?;
        let format = match format.unwrap_or_default() {
            "" | "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                let problem = format!("{other:?}: text or json expected");
                return Err(ConfigError::new(FORMAT, problem));
            }
        };
        Ok(Self { filter, format })
    }
}

/// An address `user@domain` or `scheme:user@domain` for a log: the domain stays, of the user only the first
/// character and about how long the name is.
///
/// What has no `@` counts as a user. Password, parameters and headers of a URI never show, nor does any control
/// character: a stranger who chooses the text cannot write a line of the log.
#[derive(Clone, Copy)]
pub struct Redact<'a, T: AsRef<[u8]> + ?Sized>(pub &'a T);

impl<T: AsRef<[u8]> + ?Sized> Display for Redact<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0.as_ref();
        let (before, domain) = match text.iter().rposition(|byte| *byte == b'@') {
            Some(at) => {
                let (before, domain) = text.split_at(at);
                (before, domain.get(1..))
            }
            None => (text, None),
        };
        let (scheme, user) = split_scheme(before);
        write_ascii(f, scheme)?;
        write_user(f, user)?;
        let Some(domain) = domain else { return Ok(()) };
        f.write_char('@')?;
        let end = domain.iter().position(|byte| !is_host(*byte)).unwrap_or(domain.len());
        write_ascii(f, domain.get(..end).unwrap_or_default())
    }
}

impl<T: AsRef<[u8]> + ?Sized> fmt::Debug for Redact<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// The scheme with its colon, and the rest. A password belongs to the rest: it stands after a later colon.
fn split_scheme(text: &[u8]) -> (&[u8], &[u8]) {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    match text.iter().position(|byte| !is_scheme(byte)) {
        Some(colon) if colon > 0 && text.get(colon) == Some(&b':') => text.split_at(colon + 1),
        _ => (&[], text),
    }
}

/// The first character unless it is all there is, then stars: one up to 3 characters, three up to 15, else five.
fn write_user(f: &mut Formatter<'_>, user: &[u8]) -> fmt::Result {
    let stars = match user.len() {
        0 => return Ok(()),
        1 => return f.write_char('*'),
        2..=3 => "*",
        4..=15 => "***",
        _ => "*****",
    };
    let first = user.first().copied().filter(u8::is_ascii_graphic);
    f.write_char(first.unwrap_or(b'?').into())?;
    f.write_str(stars)
}

fn write_ascii(f: &mut Formatter<'_>, text: &[u8]) -> fmt::Result {
    text.iter().try_for_each(|byte| f.write_char(char::from(*byte)))
}

/// A byte of a host name, of an IPv6 reference or of the port behind it.
fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)
}

const FILTER: &str = "RUST_LOG";
const FORMAT: &str = "LOG_FORMAT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_means_info_as_text() {
        for unset in [None, Some("")] {
            let logging = Logging::parse(unset, unset).unwrap();
            assert_eq!(logging.filter.to_string(), "info");
            assert_eq!(logging.format, LogFormat::Text);
        }
    }

    #[test]
    fn a_filter_and_a_format_are_taken() {
        let logging = Logging::parse(Some("warn,link=debug"), Some("json")).unwrap();
        assert!(logging.filter.to_string().contains("link=debug"));
        assert_eq!(logging.format, LogFormat::Json);
    }

    #[test]
    fn bad_values_name_the_variable() {
        let error = Logging::parse(Some("info,link=loud"), None).unwrap_err();
        assert_eq!(error.name, "RUST_LOG");
        let error = Logging::parse(None, Some("xml")).unwrap_err();
        assert_eq!(error.to_string(), r#"LOG_FORMAT: "xml": text or json expected"#);
    }

    #[test]
    fn the_domain_stays_and_the_user_goes() {
        for (address, shown) in [
            ("alice@example.com", "a***@example.com"),
            ("sip:alice@example.com", "sip:a***@example.com"),
            ("sips:bob@example.com:5061", "sips:b*@example.com:5061"),
            ("sip:+15551234567890123@[2001:db8::1]", "sip:+*****@[2001:db8::1]"),
            ("sip:x@example.com", "sip:*@example.com"),
            ("sip:example@", "sip:e***@"),
            ("@example.com", "@example.com"),
            ("", ""),
        ] {
            assert_eq!(Redact(address).to_string(), shown, "{address}");
            assert_eq!(format!("{:?}", Redact(address.as_bytes())), shown);
        }
    }

    #[test]
    fn what_has_no_domain_counts_as_a_user() {
        assert_eq!(Redact("alice").to_string(), "a***");
        assert_eq!(Redact("tel:+15551234").to_string(), "tel:+***");
    }

    #[test]
    fn passwords_parameters_and_names_never_show() {
        for (address, shown) in [
            ("sip:alice:geheim@example.com", "sip:a***@example.com"),
            ("sip:alice@example.com;user=geheim?subject=geheim", "sip:a***@example.com"),
            ("sip:a@b;x=geheim@example.com", "sip:a***@example.com"),
            (r#""Geheim" <sip:alice@example.com>"#, "\"*****@example.com"),
        ] {
            assert_eq!(Redact(address).to_string(), shown);
        }
    }

    #[test]
    fn no_byte_breaks_the_line() {
        for byte in 0..=u8::MAX {
            let address = [byte, byte, b'@', byte, b'h', byte];
            let shown = Redact(&address).to_string();
            assert!(shown.bytes().all(|b| b.is_ascii_graphic()), "{shown:?}");
        }
    }
}
