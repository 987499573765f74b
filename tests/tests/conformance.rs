//! The README's word on code and tests: what it names exists.
//!
//! In the README, `path/to/file.rs` names a file and `path/to/file.rs::name` a test (or a module of tests) in it. The
//! first table under *Conformance* says which section of which RFC is where: `RFC 3261 §10.3 | code | tests`; the others
//! go sentence by sentence (see `conformance/statements.rs`).

#[path = "conformance/readme.rs"]
mod readme;
#[path = "conformance/rfc.rs"]
mod rfc;
#[path = "conformance/statements.rs"]
mod statements;

use std::collections::BTreeSet;

use readme::{README, chapter, cites, files, has_test, names, owned, read, rfcs, root};

/// The folders of the product.
const SOURCES: [&str; 4] = ["crates", "core", "edge", "proto"];

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
