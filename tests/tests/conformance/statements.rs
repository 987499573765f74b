//! What the RFCs oblige to, sentence by sentence: the tables under *Conformance* that are headed by a summary.
//!
//! `<summary>RFC 4320: §4</summary>` says that every sentence of §4 and of what is below it that obliges has a row in the
//! table that follows: `| 4.1 | "a fragment of the sentence" | code | test |`. The section may be followed by more
//! words (`16.7 step 5`). Code and test are paths in backticks, or `–` and the reason why there is none; `″` repeats
//! the cell above.
//!
//! When `SIP_RFC_TEXTS` is a folder with `rfc4320.txt` and so on, the rows are held against the texts, and what is
//! missing is printed as rows to be filled in: a new RFC begins with an empty table under its summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use crate::readme;
use crate::rfc::{self, Sentence};

/// Fewer words are hard to find, more are a copy.
const FRAGMENT_WORDS: std::ops::RangeInclusive<usize> = 3..=14;

/// One RFC of the README.
struct Table {
    rfc: u32,
    /// Covered sections.
    sections: Vec<String>,
    rows: Vec<Row>,
}

/// A sentence and where it is kept.
struct Row {
    section: String,
    fragment: String,
    code: String,
    test: String,
}

#[test]
fn every_statement_has_code_and_a_test_or_a_reason() {
    let mut wrong = Vec::new();
    for table in tables() {
        for row in &table.rows {
            let problem = problem_of(row);
            wrong.extend(
                problem.map(|problem| {
                    format!("RFC {} §{} {:?}: {problem}", table.rfc, row.section, row.fragment)
                }),
            );
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_statement_stands_once() {
    let mut seen = BTreeSet::new();
    let mut covered = BTreeSet::new();
    for table in tables() {
        assert!(covered.insert(table.rfc), "RFC {} has two tables", table.rfc);
        for row in table.rows {
            let words = row.fragment.split(' ').count();
            assert!(FRAGMENT_WORDS.contains(&words), "{:?}: {words} words", row.fragment);
            let is_covered = table.sections.iter().any(|section| is_within(&row.section, section));
            assert!(is_covered, "RFC {} §{} is not in the summary", table.rfc, row.section);
            assert!(
                seen.insert((table.rfc, row.section, row.fragment.clone())),
                "{:?} stands twice",
                row.fragment
            );
        }
    }
}

/// Whoever looks for the section in the code that a row names finds it there.
#[test]
fn every_statement_is_cited_in_its_code() {
    let mut sources = BTreeMap::new();
    let mut wrong = BTreeSet::new();
    for table in tables() {
        let (rfc, section_of) = (format!("RFC {}", table.rfc), |row: &Row| format!("§{}", row.section));
        for row in &table.rows {
            let paths = readme::names(&row.code);
            let cites = |path: &&str| {
                let text: &String = sources
                    .entry((*path).to_owned())
                    .or_insert_with(|| readme::read(&readme::root().join(path)));
                text.contains(&rfc) && readme::cites(text, &section_of(row))
            };
            if !paths.is_empty() && !paths.iter().any(cites) {
                wrong.insert(format!("{rfc} {} is not cited in {}", section_of(row), row.code));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Against the texts: each fragment is in one sentence of its section, and each sentence that obliges has a row.
#[test]
fn every_sentence_of_the_covered_sections_has_a_row() {
    let Some(folder) = std::env::var_os("SIP_RFC_TEXTS") else {
        announce("SIP_RFC_TEXTS is unset: the tables are not checked against the RFCs");
        return;
    };
    let mut wrong = Vec::new();
    let (mut rows, mut obliging) = (0, 0);
    for table in tables() {
        let path = Path::new(&folder).join(format!("rfc{}.txt", table.rfc));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let sentences = rfc::sentences(&text);
        obliging += check(&table, &sentences, &mut wrong);
        rows += table.rows.len();
    }
    assert!(wrong.is_empty(), "{} missing or wrong:\n{}", wrong.len(), wrong.join("\n"));
    announce(&format!("{rows} rows checked against {obliging} sentences of the RFCs"));
}

#[test]
fn a_missing_sentence_and_a_wrong_fragment_are_noticed() {
    let row = |section: &str, fragment: &str| Row {
        section: section.to_owned(),
        fragment: fragment.to_owned(),
        code: String::new(),
        test: String::new(),
    };
    let sentences = rfc::sentences(
        "4 A\n\n   It MUST do one.  It MAY do two.\n\n4.1 B\n\n   It SHOULD do three.\n\n5 C\n\n   MUST.\n",
    );
    let found = |rows: Vec<Row>| {
        let mut wrong = Vec::new();
        let obliging = check(&Table { rfc: 1, sections: vec!["4".to_owned()], rows }, &sentences, &mut wrong);
        assert_eq!(obliging, 2);
        wrong
    };
    assert_eq!(found(vec![row("4", "do one"), row("4.1", "do three"), row("4", "do two")]), [""; 0]);
    assert_eq!(found(vec![row("4", "do one")]), ["| 4.1 | \"It SHOULD do three.\" |  |  |"]);
    let wrong = found(vec![row("4", "It M"), row("4.1", "do one"), row("4.1", "do three")]);
    assert_eq!(wrong.len(), 3, "{wrong:?}");
}

/// Holds a table against the sentences of its RFC; the number of those that need a row.
fn check(table: &Table, sentences: &[Sentence], wrong: &mut Vec<String>) -> usize {
    let mut has_row = BTreeSet::new();
    for row in &table.rows {
        let holds = |(_, sentence): &(usize, &Sentence)| {
            sentence.section == row.section && sentence.text.contains(&row.fragment)
        };
        let found: Vec<(usize, &Sentence)> = sentences.iter().enumerate().filter(holds).collect();
        // An RFC may say the same twice.
        if found.first().is_some_and(|(_, first)| found.iter().all(|(_, other)| other == first)) {
            has_row.extend(found.iter().map(|(at, _)| *at));
        } else {
            let (rfc, section, times) = (table.rfc, &row.section, found.len());
            wrong
                .push(format!("RFC {rfc} §{section} {:?} is in {times} sentences, not in one", row.fragment));
        }
    }
    let is_covered =
        |sentence: &Sentence| table.sections.iter().any(|section| is_within(&sentence.section, section));
    let obliging =
        sentences.iter().enumerate().filter(|(_, sentence)| sentence.obliges() && is_covered(sentence));
    let mut count = 0;
    for (at, sentence) in obliging {
        count += 1;
        if !has_row.contains(&at) {
            wrong.push(format!("| {} | \"{}\" |  |  |", sentence.section, sentence.fragment()));
        }
    }
    count
}

fn problem_of(row: &Row) -> Option<&'static str> {
    let (code, tests) = (readme::names(&row.code), readme::names(&row.test));
    if row.code == "–" {
        let reason = row.test.trim_start_matches('–').trim();
        return (reason.split(' ').count() < 2).then_some("neither code nor a reason");
    }
    if code.is_empty() || !code.iter().all(|path| path.contains("/src/") && path.ends_with(".rs")) {
        return Some("names no source");
    }
    (tests.is_empty() || !tests.iter().all(|test| test.contains("::"))).then_some("names no test")
}

/// Whether a section is this one or below it.
fn is_within(section: &str, of: &str) -> bool {
    section.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in readme::chapter("Conformance").lines() {
        if let Some(summary) =
            line.split_once("<summary>RFC ").and_then(|(_, rest)| rest.split_once("</summary>"))
        {
            let (rfc, sections) = summary.0.split_once(": ").expect("a summary is `RFC number: sections`");
            let sections =
                sections.split(", ").map(|section| section.trim_start_matches('§').to_owned()).collect();
            tables.push(Table {
                rfc: rfc.parse().expect("the number of an RFC"),
                sections,
                rows: Vec::new(),
            });
        } else if let Some(table) = tables.last_mut()
            && let Some(row) = row(line, table.rows.last())
        {
            table.rows.push(row);
        }
    }
    assert!(!tables.is_empty(), "the README has no table of statements");
    tables
}

/// A line of a table that begins with the number of a section.
fn row(line: &str, above: Option<&Row>) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
    let [section, fragment, code, test, ""] = cells[..] else { return None };
    let section = section
        .split(' ')
        .next()
        .filter(|number| number.starts_with(|first: char| first.is_ascii_digit()))?;
    let fragment = fragment.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let fragment = fragment.unwrap_or_else(|| panic!("{line}: the second cell is in quotes"));
    let cell = |text: &str, above: Option<&String>| match above {
        Some(above) if text == "″" => above.clone(),
        _ => text.to_owned(),
    };
    Some(Row {
        section: section.to_owned(),
        fragment: rfc::normal(fragment),
        code: cell(code, above.map(|row| &row.code)),
        test: cell(test, above.map(|row| &row.test)),
    })
}

/// Writes past the capture of the test harness, so that what is left out is seen.
fn announce(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").expect("standard error can be written to");
}
