//! The README's word on code and tests: what it names exists.
//!
//! In the README, `path/to/file.rs` names a file and `path/to/file.rs::name` a test (or a module of tests) in it. The
//! table under *Conformance* says which section of which RFC is where: `RFC 3261 §10.3 | code | tests`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const README: &str = include_str!("../../README.md");

/// The folders of the product.
const SOURCES: [&str; 4] = ["crates", "core", "edge", "proto"];

/// What a path of this repository starts with.
const TOP: [&str; 8] =
    ["crates/", "core/", "edge/", "proto/", "tests/", "deploy/", ".github/", ".clippy.toml"];

/// A row of the table.
struct Row {
    sections: String,
    code: Vec<String>,
    tests: Vec<String>,
}

#[test]
fn every_section_has_code_and_a_test() {
    let rows = rows();
    assert!(rows.len() > 30, "the table of the README is not found");
    for row in rows {
        assert!(row.sections.starts_with("RFC "), "{}: starts with its RFC", row.sections);
        assert!(!row.code.is_empty(), "{}: names its code", row.sections);
        assert!(!row.tests.is_empty(), "{}: names its tests", row.sections);
        for code in &row.code {
            assert!(code.contains("/src/") && code.ends_with(".rs"), "{}: {code} is no source", row.sections);
        }
        for test in &row.tests {
            assert!(test.contains("::"), "{}: {test} names no test in its file", row.sections);
        }
    }
}

/// Whoever looks for a section in the code that the README names finds it there.
#[test]
fn every_section_stands_in_its_code() {
    for row in rows() {
        let code: Vec<String> = row.code.iter().map(|path| read(&root().join(path))).collect();
        let words: Vec<&str> = row.sections.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let sections: Vec<&&str> = words.iter().filter(|word| word.starts_with('§')).collect();
        if sections.is_empty() {
            let rfc = words.get(..2).expect("a row starts with its RFC").join(" ");
            assert!(code.iter().any(|text| text.contains(&rfc)), "{rfc}: not in its code");
        }
        for section in sections {
            assert!(
                code.iter().any(|text| cites(text, section)),
                "{}: {section} not in its code",
                row.sections
            );
        }
    }
}

/// An RFC in a comment that the README does not list is a rule that nobody knows we follow, and the other way round.
#[test]
fn the_rfcs_of_the_sources_are_those_of_the_readme() {
    let mut cited = BTreeSet::new();
    for folder in SOURCES {
        for path in files(&root().join(folder)) {
            if path.iter().any(|part| part == "src") {
                rfcs(&read(&path), &mut cited);
            }
        }
    }
    let mut listed = BTreeSet::new();
    rfcs(chapter("Conformance"), &mut listed);
    let not_listed: Vec<_> = cited.difference(&listed).collect();
    assert!(
        not_listed.is_empty(),
        "not in the README's chapter Conformance: RFCs {not_listed:?} of the sources"
    );
    let not_cited: Vec<_> = listed.difference(&cited).collect();
    assert!(
        not_cited.is_empty(),
        "not in the sources: RFCs {not_cited:?} of the README's chapter Conformance"
    );
}

#[test]
fn everything_named_exists() {
    let mut missing = Vec::new();
    for name in names(README) {
        let (path, test) = name.split_once("::").map_or((name, None), |(path, test)| (path, Some(test)));
        let file = root().join(path);
        if !file.exists() {
            missing.push(format!("{path} does not exist"));
        } else if let Some(test) = test
            && !has_test(&read(&file), test)
        {
            missing.push(format!("{path} has no test {test}"));
        }
    }
    assert_eq!(missing, [""; 0]);
}

/// An invariant is kept by a test or a lint, not by its sentence.
#[test]
fn every_invariant_has_a_guard() {
    let lints = read(&root().join("Cargo.toml"));
    for sentence in chapter("Invariants").split("\n- ").skip(1) {
        let names: Vec<&str> = sentence.split('`').skip(1).step_by(2).collect();
        let is_lint = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let guards = names.iter().filter(|name| name.contains("::") || is_lint(name)).count();
        assert!(guards > 0, "{sentence}: what keeps this true?");
        for lint in names.iter().filter(|name| is_lint(name) && **name != "unsafe" && **name != "unwrap") {
            assert!(lints.contains(&format!("\n{lint} = ")), "{lint} is no lint of the workspace");
        }
    }
}

/// Commands in the README that use a file use one that is there.
#[test]
fn files_in_examples_exist() {
    let mut fenced = false;
    for line in README.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let paths = line.split([' ', '=', '<', '>', '"', '\'']).filter(|word| word.starts_with("deploy/"));
        for path in paths.filter(|_| fenced) {
            assert!(root().join(path).exists(), "{path} does not exist");
        }
    }
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

/// The rows of the table under *Conformance*.
fn rows() -> Vec<Row> {
    let lines = chapter("Conformance").lines().filter(|line| line.starts_with("| RFC "));
    lines
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let mut next = || cells.next().unwrap_or_default();
            let (sections, code, tests) = (next().to_owned(), names(next()), names(next()));
            Row { sections, code: owned(&code), tests: owned(&tests) }
        })
        .collect()
}

/// The text between a heading of the second level and the next one.
fn chapter(title: &str) -> &'static str {
    let heading = format!("\n## {title}\n");
    let (_, text) =
        README.split_once(&heading).unwrap_or_else(|| panic!("the README has no chapter {title}"));
    text.split_once("\n## ").map_or(text, |(text, _)| text)
}

/// Paths of this repository in backticks, outside of fenced blocks.
fn names(text: &str) -> Vec<&str> {
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
fn has_test(source: &str, name: &str) -> bool {
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
fn cites(text: &str, section: &str) -> bool {
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
fn rfcs(text: &str, into: &mut BTreeSet<u32>) {
    for behind in text.split("RFC").skip(1) {
        let digits: String = behind.trim_start().chars().take_while(char::is_ascii_digit).collect();
        if digits.len() == 4 {
            into.extend(digits.parse::<u32>());
        }
    }
}

/// The sources in a folder and below.
fn files(folder: &Path) -> Vec<PathBuf> {
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

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
