//! The text of an RFC as sentences, each with the section that it stands in.
//!
//! Page heads and feet go, lines are joined, paragraphs are cut into sentences. A heading is a line that begins in the
//! first column with the number of a section.

/// Words of RFC 2119 that oblige; `NOT` behind them changes nothing here.
const OBLIGING: [&str; 5] = ["MUST", "SHALL", "REQUIRED", "SHOULD", "RECOMMENDED"];

/// What ends with a full stop and no sentence with it.
const ABBREVIATIONS: [&str; 6] = ["e.g.", "i.e.", "al.", "vs.", "cf.", "Sec."];

/// A sentence of an RFC, its words separated by one space.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// `16.6`; empty above the first section.
    pub(crate) section: String,
    pub(crate) text: String,
}

impl Sentence {
    /// Whether it holds a MUST, SHALL, REQUIRED, SHOULD or RECOMMENDED.
    pub(crate) fn obliges(&self) -> bool {
        self.obligation().is_some()
    }

    /// A fragment of it around the word that obliges: what a row of the README may quote.
    pub(crate) fn fragment(&self) -> String {
        let words: Vec<&str> = self.text.split(' ').collect();
        let from = self.obligation().unwrap_or(0).saturating_sub(3);
        let to = words.len().min(from + 9);
        words.get(from..to).unwrap_or_default().join(" ")
    }

    fn obligation(&self) -> Option<usize> {
        self.text.split(' ').position(|word| {
            word.split(|letter: char| !letter.is_ascii_alphabetic()).any(|word| OBLIGING.contains(&word))
        })
    }
}

/// All sentences of an RFC in their order.
pub(crate) fn sentences(rfc: &str) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut paragraph = String::new();
    for line in without_pages(rfc) {
        if let Some(number) = heading(line) {
            cut(&section, &std::mem::take(&mut paragraph), &mut found);
            number.clone_into(&mut section);
        } else if line.trim().is_empty() {
            cut(&section, &std::mem::take(&mut paragraph), &mut found);
        } else {
            join(&mut paragraph, line);
        }
    }
    cut(&section, &paragraph, &mut found);
    found
}

/// The same words with one space between them, broken lines joined.
pub(crate) fn normal(text: &str) -> String {
    let mut joined = String::new();
    for line in text.lines() {
        join(&mut joined, line);
    }
    joined
}

/// The lines without page heads, page feet and the blank lines around them. A sentence goes on over a page.
fn without_pages(rfc: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    let mut at_top = false;
    for line in rfc.lines() {
        if line.trim_end().ends_with(']') && line.contains("[Page ") {
            while lines.last().is_some_and(|last| last.trim().is_empty()) {
                lines.pop();
            }
            at_top = true;
        } else if line.contains('\x0c') || (at_top && line.trim().is_empty()) {
            // The form feed may stand on the line of the head, or on one of its own.
        } else if at_top && line.starts_with("RFC ") {
        } else {
            if at_top && lines.last().is_some_and(|last| last.trim_end().ends_with(['.', ':', ';', '?', '!']))
            {
                lines.push("");
            }
            at_top = false;
            lines.push(line);
        }
    }
    lines
}

/// The number of the section that begins with this line.
fn heading(line: &str) -> Option<&str> {
    let (number, title) = line.split_once(' ')?;
    let number = number.strip_suffix('.').unwrap_or(number);
    let is_number =
        number.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    (is_number && title.trim_start().starts_with(|first: char| first.is_ascii_alphabetic() || first == '"'))
        .then_some(number)
}

/// Adds a line to a paragraph; a word that is broken at a hyphen stays one word.
fn join(paragraph: &mut String, line: &str) {
    for (at, word) in line.split_whitespace().enumerate() {
        let is_broken_word = at == 0 && paragraph.ends_with('-') && !paragraph.ends_with(" -");
        if !paragraph.is_empty() && !is_broken_word {
            paragraph.push(' ');
        }
        paragraph.push_str(word);
    }
}

fn cut(section: &str, paragraph: &str, into: &mut Vec<Sentence>) {
    let words: Vec<&str> = paragraph.split(' ').filter(|word| !word.is_empty()).collect();
    let mut begin = 0;
    for (at, word) in words.iter().enumerate() {
        let bare = word.trim_end_matches(['"', '\'', ')', ']']);
        let is_leader = bare.bytes().all(|byte| byte == b'.');
        let stops = bare.ends_with(['.', '?', '!'])
            && !is_leader
            && !ABBREVIATIONS.contains(&bare.trim_start_matches('('));
        let is_enumerator = at == 0 && bare.len() <= 3;
        let next = words.get(at + 1).and_then(|next| next.chars().next());
        if at + 1 == words.len()
            || (stops && !is_enumerator && next.is_none_or(|next| !next.is_ascii_lowercase()))
        {
            let text = words.get(begin..=at).unwrap_or_default().join(" ");
            into.push(Sentence { section: section.to_owned(), text });
            begin = at + 1;
        }
    }
}

#[test]
fn a_text_is_cut_into_sentences() {
    let rfc = "\n   1. Scope ........ 2\n\n1. Scope\n\n   One goes (e.g. Foo) to 16.7.  Two\n   MUST follow the re-\n\
               \n\n\nRosenberg    Standards Track   [Page 1]\n\x0c\nRFC 3261    SIP     June 2002\n\n\
               \n   quest - they say.\n\n      2. Three \"SHOULD.\" Four does not.\n\n1.1.  More\n\n   Five";
    let expected = [
        ("", "1. Scope ........ 2"),
        ("1", "One goes (e.g. Foo) to 16.7."),
        ("1", "Two MUST follow the re-quest - they say."),
        ("1", "2. Three \"SHOULD.\""),
        ("1", "Four does not."),
        ("1.1", "Five"),
    ];
    let expected =
        expected.map(|(section, text)| Sentence { section: section.to_owned(), text: text.to_owned() });
    let found = sentences(rfc);
    assert_eq!(found, expected);
    let obliging: Vec<String> =
        found.iter().filter(|found| found.obliges()).map(Sentence::fragment).collect();
    assert_eq!(obliging, ["Two MUST follow the re-quest - they say.", "2. Three \"SHOULD.\""]);
}
