//! The README taken apart: its chapters, the paths that it names, and the sources behind them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const README: &str = include_str!("../../../README.md");

/// What a path of this repository starts with.
const TOP: [&str; 8] =
    ["crates/", "core/", "edge/", "proto/", "tests/", "deploy/", ".github/", ".clippy.toml"];

/// The text between a heading of the second level and the next one.
pub(crate) fn chapter(title: &str) -> &'static str {
    let heading = format!("\n## {title}\n");
    let (_, text) =
        README.split_once(&heading).unwrap_or_else(|| panic!("the README has no chapter {title}"));
    text.split_once("\n## ").map_or(text, |(text, _)| text)
}

/// Paths of this repository in backticks, outside of fenced blocks.
pub(crate) fn names(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if !fenced {
            let quoted = line.split('`').skip(1).step_by(2);
            found.extend(quoted.filter(|name| is_path(name)));
        }
    }
    found
}

fn is_path(name: &str) -> bool {
    TOP.iter().any(|top| name.starts_with(top)) && !name.contains([' ', '*', '…'])
}

/// Whether a source has a test of this name: a function with a test attribute, a rule of a `contract!`, or a module.
pub(crate) fn has_test(source: &str, name: &str) -> bool {
    let mut is_test = false;
    let mut in_contract = false;
    for line in source.lines().map(str::trim) {
        if in_contract && line.strip_suffix(',') == Some(name) {
            return true;
        }
        match line {
            "contract!(" => in_contract = true,
            ");" => in_contract = false,
            _ => {}
        }
        if line == format!("mod {name} {{") || line == format!("mod {name};") {
            return source.contains("#[test]") || source.contains("#[tokio::test");
        }
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(function) = function {
            let rest = function.strip_prefix(name);
            if is_test && rest.is_some_and(|rest| rest.starts_with(['(', '<'])) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

/// Whether a text names this section or one below it.
pub(crate) fn cites(text: &str, section: &str) -> bool {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once(section) {
        if !behind.starts_with(|next: char| next.is_ascii_digit()) {
            return true;
        }
        rest = behind;
    }
    false
}

/// The numbers of all RFCs in a text.
pub(crate) fn rfcs(text: &str, into: &mut BTreeSet<u32>) {
    for behind in text.split("RFC").skip(1) {
        let digits: String = behind.trim_start().chars().take_while(char::is_ascii_digit).collect();
        if digits.len() == 4 {
            into.extend(digits.parse::<u32>());
        }
    }
}

/// The sources in a folder and below.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry of the folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !["target", "corpus", "artifacts"].contains(&&*name) {
            found.append(&mut files(&path));
        } else if [".rs", ".proto", ".sql", ".toml"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    found
}

pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_test_is_told_from_other_functions() {
    let text = "fn help() {}\n#[test]\nfn one() {}\n    #[tokio::test]\n    async fn two() {}\n\
                #[test]\n#[cfg(unix)]\nfn three(x in any()) {}\nmod four {\n#[test]\ncontract!(\n    five,\n);\n\
                async fn five(store: &S) {}\n";
    for name in ["one", "two", "three", "four", "five"] {
        assert!(has_test(text, name), "{name}");
    }
    for name in ["help", "on", "tw", "six"] {
        assert!(!has_test(text, name), "{name}");
    }
}
