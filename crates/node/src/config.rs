//! Configuration: compiled defaults ← optional TOML file ← environment. Nothing else.
//!
//! - [`settings!`](crate::settings) declares a struct once: fields, meaning, defaults. From it come the parser, the
//!   effective configuration ([`check_text`]) and the table of the manual ([`table`]).
//! - A field `nat_ping` is the variable `EDGE_NAT_PING` under the prefix `EDGE_`, and the key `nat_ping` of the TOML
//!   file that `EDGE_CONFIG` names. A file that is named must exist.
//! - Values are text that the field's type reads ([`Setting`]): a realm of digits stays text, a list is written
//!   `a,b`. What parses can run.
//! - An empty variable counts as not set; on an optional field it takes the value away.
//! - A field that holds a [`Secret`] may come from a file: `EDGE_FLOW_KEYS_FILE=/run/secrets/flow-keys`.
//! - A variable with our prefix that is no field is an error, so a typing error cannot pass for a setting. Only what
//!   Kubernetes makes up for a service whose name is our prefix is overlooked, see [`is_service_link`].

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt::{self, Display, Formatter, Write},
    fs,
};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

mod secret;
mod setting;
mod settings;
mod span;

pub use secret::Secret;
pub use setting::{Raw, Setting};
pub use settings::{Field, Settings};
pub use span::{ParseSpanError, Span};

/// Reads the configuration of this process, see the head of this module.
///
/// # Errors
///
/// The first thing that is wrong, named by its variable.
pub fn load<C: Settings>(prefix: &str) -> Result<C, ConfigError> {
    let mut vars = Vec::new();
    for (name, value) in env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else {
            continue;
        };
        vars.push((name.to_owned(), utf8(name, value)?));
    }
    load_from(prefix, vars)
}

/// Like [`load`], from these variables.
///
/// # Errors
///
/// The first thing that is wrong, named by its variable.
pub fn load_from<C: Settings>(
    prefix: &str,
    vars: impl IntoIterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    let mut vars: BTreeMap<String, String> = vars
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value)))
        .collect();
    let file = vars.remove(CONFIG).filter(|path| !path.is_empty());
    let environment = Environment::read::<C>(prefix, vars)?;

    let mut sources = Figment::new();
    if let Some(file) = &file {
        sources = sources.merge(Toml::file_exact(file));
    }
    let sources = sources.merge(environment);
    let values: Dict = sources
        .extract()
        .map_err(|error| ConfigError::new(format!("{prefix}{CONFIG}"), in_one_line(&error)))?;

    let mut config = C::default();
    for (key, value) in &values {
        let source = sources.get_metadata(value.tag());
        Raw::from_value(value)
            .and_then(|raw| match field::<C>(key) {
                Some(_) => config.read(key, &raw),
                None => Err(unknown::<C>(key, |name| name.to_owned())),
            })
            .map_err(|problem| ConfigError::new(place(prefix, key, source), problem))?;
    }
    Ok(config)
}

/// The effective configuration as lines `NAME=value` in the order of the fields, secrets hidden.
pub fn check_text<C: Settings>(prefix: &str, config: &C) -> String {
    C::FIELDS.iter().zip(config.show()).fold(String::new(), |mut text, (field, value)| {
        writeln!(text, "{}={value}", field.variable(prefix)).expect("a string takes anything");
        text
    })
}

/// The table of variables for the manual, in Markdown, in the order of the fields.
pub fn table<C: Settings>(prefix: &str, defaults: &C) -> String {
    let mut text = String::from("| variable | meaning | default |\n|---|---|---|\n");
    for (field, value) in C::FIELDS.iter().zip(defaults.show()) {
        let default = match field.default {
            Some(words) => words.to_owned(),
            None if value.is_empty() => "none".to_owned(),
            None => format!("`{value}`"),
        };
        let name = field.variable(prefix);
        let mut meaning = field.meaning();
        if field.secret {
            let _ = write!(meaning, " Or `{name}_FILE`: a file that holds it.");
        }
        row(&mut text, &name, &meaning, &default);
    }
    let about_file =
        "A TOML file with the same settings: keys without prefix, in lower case. The environment wins.";
    row(&mut text, &format!("{prefix}{CONFIG}"), about_file, "none");
    text
}

fn row(text: &mut String, name: &str, meaning: &str, default: &str) {
    let [meaning, default] = [meaning, default].map(|cell| cell.replace('|', "\\|"));
    writeln!(text, "| `{name}` | {meaning} | {default} |").expect("a string takes anything");
}

/// The host name, which is the default name of a node.
pub fn host_name() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// Something is wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: the variable.
    pub name: String,
    /// What.
    pub problem: String,
}

impl ConfigError {
    /// What is wrong with this variable.
    pub fn new(name: impl Into<String>, problem: impl Display) -> Self {
        Self { name: name.into(), problem: problem.to_string() }
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Whether this is a variable that Kubernetes makes up for a service, where `name` is without our prefix.
///
/// A service `edge`, or one whose name starts with `edge-`, gives each pod of its namespace variables that start with
/// `EDGE_`. These shapes, with any further words in front, and only these are overlooked:
///
/// - `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_<NAME>`
/// - `PORT` whose value is a URL `tcp://…`, `udp://…` or `sctp://…`
/// - `PORT_<number>_TCP` (or `UDP`, `SCTP`), also followed by `_PROTO`, `_PORT` or `_ADDR`
pub fn is_service_link(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_url = || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    (0..words.len()).any(|first| match words.get(first..).unwrap_or_default() {
        ["SERVICE", "HOST" | "PORT"] | ["SERVICE", "PORT", _, ..] => true,
        ["PORT"] => is_url(),
        ["PORT", port, "TCP" | "UDP" | "SCTP", last @ ..] => {
            port.parse::<u16>().is_ok() && matches!(last, [] | ["PROTO" | "PORT" | "ADDR"])
        }
        _ => false,
    })
}

/// The variables of the process as a source for figment: text, whatever it looks like.
///
/// # Why
///
/// Figment's own environment reads values as literals: a realm `12345` becomes a number and is refused where text
/// is expected, and `a,b` is a syntax error. Here the type of the field decides.
struct Environment(Dict);

impl Environment {
    fn read<C: Settings>(prefix: &str, vars: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut values = Dict::new();
        for (name, value) in vars {
            let variable = format!("{prefix}{name}");
            let (field, value) = if let Some(field) = field_of_variable::<C>(&name) {
                (field, value)
            } else if let Some(field) = secret_of_file_variable::<C>(&name) {
                if value.is_empty() {
                    continue;
                }
                (field, read_secret(&variable, &value)?)
            } else if is_service_link(&name, &value) {
                continue;
            } else {
                let problem =
                    unknown::<C>(&name.to_lowercase(), |name| format!("{prefix}{}", name.to_uppercase()));
                return Err(ConfigError::new(variable, problem));
            };
            if value.is_empty() && !field.optional {
                continue;
            }
            let twice = values.insert(field.name.to_owned(), Value::from(value));
            if twice.is_some_and(|earlier| earlier.as_str() != Some("")) {
                let problem = format!("set together with {}", field.variable(prefix));
                return Err(ConfigError::new(variable, problem));
            }
        }
        Ok(Self(values))
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

fn field<C: Settings>(name: &str) -> Option<&'static Field> {
    C::FIELDS.iter().find(|field| field.name == name)
}

fn field_of_variable<C: Settings>(name: &str) -> Option<&'static Field> {
    C::FIELDS.iter().find(|field| field.name.to_uppercase() == name)
}

fn secret_of_file_variable<C: Settings>(name: &str) -> Option<&'static Field> {
    field_of_variable::<C>(name.strip_suffix("_FILE")?).filter(|field| field.secret)
}

/// The content of a file that holds a secret, without the end of line that editors put there.
fn read_secret(variable: &str, path: &str) -> Result<String, ConfigError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(content.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(ConfigError::new(variable, format!("{path}: {error}"))),
    }
}

/// Says that there is no such setting, and which one may be meant.
fn unknown<C: Settings>(name: &str, spell: impl Fn(&str) -> String) -> String {
    let closest = C::FIELDS.iter().map(|field| (distance(field.name, name), field.name)).min();
    match closest {
        Some((0..=2, field)) => format!("no such setting, is {} meant?", spell(field)),
        _ => "no such setting".to_owned(),
    }
}

/// How many letters must be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = std::mem::replace(&mut row[0], left);
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let cost = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, cost);
            left = cost;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Names a setting where somebody wrote it.
fn place(prefix: &str, key: &str, source: Option<&Metadata>) -> String {
    let variable = format!("{prefix}{}", key.to_uppercase());
    match source.and_then(|source| source.source.as_ref()?.file_path()) {
        Some(file) => format!("{variable} (`{key}` in {})", file.display()),
        None => variable,
    }
}

fn utf8(name: &str, value: OsString) -> Result<String, ConfigError> {
    value.into_string().map_err(|_| ConfigError::new(name, "not UTF-8"))
}

/// A message of a library as one line.
fn in_one_line(message: &impl ToString) -> String {
    let message = message.to_string();
    let words: Vec<&str> = message.split_whitespace().collect();
    words.join(" ")
}

/// The variable, after the prefix, that names the file.
const CONFIG: &str = "CONFIG";

#[cfg(test)]
mod tests;
