//! The files in `deploy/` say what this version of a core understands.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use core_registrar::Config;
use core_registrar::config::PREFIX;
use node::config::{ConfigError, Field, Settings, check_text, load_from};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// A line of the file of settings: `NAME=value`, or `#NAME=value`, which sets nothing.
struct Line {
    is_set: bool,
    name: String,
    value: String,
}

impl Line {
    fn of(text: &str) -> Option<Self> {
        let name = text.trim_start_matches('#');
        let (name, value) = name.split_once('=').filter(|(name, _)| name.starts_with(PREFIX))?;
        let is_name = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        name.bytes().all(is_name).then(|| Self {
            is_set: !text.starts_with('#'),
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    fn field(&self) -> &'static Field {
        let is_it = |field: &&Field| {
            let variable = field.variable(PREFIX);
            self.name == variable || (field.secret && self.name == format!("{variable}_FILE"))
        };
        Config::FIELDS.iter().find(is_it).unwrap_or_else(|| panic!("{} is no setting", self.name))
    }

    fn is_file(&self) -> bool {
        self.name.ends_with("_FILE")
    }
}

fn lines() -> Vec<Line> {
    let text = fs::read_to_string(deploy().join("core.env")).unwrap();
    text.lines().filter_map(Line::of).collect()
}

fn load<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Result<Config, ConfigError> {
    let vars = lines.into_iter().map(|line| (line.name.clone(), line.value.clone()));
    let config: Config = load_from(PREFIX, vars)?;
    config.check().map(|()| config)
}

fn shown(config: &Config, field: &Field) -> String {
    let start = format!("{}=", field.variable(PREFIX));
    let text = check_text(PREFIX, config);
    text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
}

#[test]
fn the_settings_can_run() {
    let config = load(lines().iter().filter(|line| line.is_set)).unwrap();
    for line in lines().iter().filter(|line| line.is_set) {
        assert_eq!(shown(&config, line.field()), line.value, "{}", line.name);
    }
}

#[test]
fn every_setting_is_in_the_file_once() {
    let mut named: Vec<_> = lines().iter().map(|line| line.field().name).collect();
    let mut all: Vec<_> = Config::FIELDS.iter().map(|field| field.name).collect();
    named.sort_unstable();
    all.sort_unstable();
    assert_eq!(named, all);
}

#[test]
fn a_line_that_sets_nothing_shows_the_default_or_an_example() {
    /// Settings of which none goes without the other.
    const PAIR: &str = "CORE_ADMIN_TLS_";
    let (default, lines) = (Config::default(), lines());
    for line in lines.iter().filter(|line| !line.is_set && !line.is_file()) {
        let field = line.field();
        let is_of_pair = |other: &&Line| line.name.starts_with(PAIR) && other.name.starts_with(PAIR);
        let set = lines.iter().filter(|other| other.name == line.name || is_of_pair(other));
        let example = shown(&load(set).unwrap(), field);
        let by_default = shown(&default, field);
        if field.default.is_none() && !by_default.is_empty() {
            assert_eq!(example, by_default, "{}", line.name);
        }
    }
}

#[test]
fn no_file_names_a_setting_that_is_not_there() {
    let mut known: BTreeSet<String> = Config::FIELDS.iter().map(|field| field.variable(PREFIX)).collect();
    let secrets = Config::FIELDS.iter().filter(|field| field.secret);
    known.extend(secrets.map(|field| format!("{}_FILE", field.variable(PREFIX))));
    for folder in [deploy(), deploy().join("systemd")] {
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_dir() {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
            for word in words.filter(|word| word.len() > PREFIX.len() && word.starts_with(PREFIX)) {
                assert!(known.contains(word), "{word} in {}", file.display());
            }
        }
    }
}

/// The number behind `NAME=` in the unit.
fn unit(name: &str) -> u64 {
    let text = fs::read_to_string(deploy().join("systemd/signalbox-core.service")).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap();
    value.parse().unwrap()
}

#[test]
fn the_unit_waits_for_the_drain() {
    assert!(unit("TimeoutStopSec") > Config::default().drain_grace.secs());
}
