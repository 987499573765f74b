//! The README as a manual: its tables of settings and metrics are those of the code, its commands are understood.
//!
//! `UPDATE=1 cargo test -p cluster-tests --test manual` writes the tables of settings anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, Subcommand};
use node::config::{Settings, table};

/// The sources that name the metrics of each tier.
const METRICS: [(&str, &str); 2] = [("edge", "edge/src/metrics.rs"), ("core", "core/src/metrics.rs")];

/// One test for both tables: two would write the file at once.
#[test]
fn settings_are_those_of_the_code() {
    compare::<edge_proxy::Config>("edge settings", edge_proxy::config::PREFIX);
    compare::<core_registrar::Config>("core settings", core_registrar::config::PREFIX);
}

/// Compares the table between two markers with that of the code, or replaces it.
fn compare<C: Settings>(name: &str, prefix: &str) {
    let path = root().join("README.md");
    let readme = read(&path);
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (head, rest) = readme.split_once(&begin).unwrap_or_else(|| panic!("the README has no {begin}"));
    let (written, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("the README has no {end}"));
    let right = table(prefix, &C::default());
    if written == right {
        return;
    }
    assert!(
        std::env::var_os("UPDATE").is_some(),
        "the README's table of {name} is not that of the code; UPDATE=1 writes it anew:\n{right}"
    );
    fs::write(&path, format!("{head}{begin}{right}{end}{tail}")).expect("the README can be written");
}

/// Every metric of the code is in the README and the other way round.
#[test]
fn metrics_are_those_of_the_code() {
    let mut known: BTreeSet<String> =
        transport::Stats::TABLE.iter().map(|(name, ..)| format!("edge_{name}")).collect();
    for (tier, path) in METRICS {
        known.extend(declared(&read(&root().join(path))).map(|name| format!("{tier}_{name}")));
    }
    let readme = read(&root().join("README.md"));
    let (_, chapter) = readme.split_once("\n## Metrics\n").expect("a chapter of the README");
    let chapter = chapter.split_once("\n## ").map_or(chapter, |(chapter, _)| chapter);
    let told: BTreeSet<String> = chapter
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.starts_with("edge_") || name.starts_with("core_"))
        .map(|name| name.split('{').next().unwrap_or_default().trim_end_matches("_total").to_owned())
        .collect();
    assert_eq!(known.difference(&told).collect::<Vec<_>>(), [""; 0], "in the code, not in the README");
    assert_eq!(told.difference(&known).collect::<Vec<_>>(), [""; 0], "in the README, not in the code");
}

/// Names in `("name", "Help …")`: a help text starts with a capital letter, the value of a label does not.
fn declared(source: &str) -> impl Iterator<Item = String> {
    let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let pieces: Vec<String> = source.split("(\"").skip(1).map(str::to_owned).collect();
    pieces.into_iter().filter_map(|piece| {
        let (name, rest) = piece.split_once('"')?;
        let help = rest.strip_prefix(", \"")?;
        help.starts_with(|first: char| first.is_ascii_uppercase()).then(|| name.to_owned())
    })
}

/// Every command of ours in the README's examples is one that the program takes.
#[test]
fn commands_are_understood() {
    let check = || Arg::new("check").long("check").action(ArgAction::SetTrue);
    let core =
        core_registrar::command::Command::augment_subcommands(Command::new("core-registrar").arg(check()));
    let programs = [core, Command::new("edge-proxy").arg(check())];
    let readme = read(&root().join("README.md"));
    let mut seen = 0;
    for line in
        readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).flat_map(str::lines)
    {
        for words in commands(line) {
            // On the host of the database the README has a function for the long way to run it.
            let name = words.first().map_or("", |word| word.rsplit('/').next().unwrap_or_default());
            let name = if name == "registrar" { "core-registrar" } else { name };
            for program in programs.iter().filter(|program| program.get_name() == name) {
                seen += 1;
                if let Err(error) = program.clone().try_get_matches_from(&words) {
                    panic!("{line}\n{error}");
                }
            }
        }
    }
    assert!(seen >= 8, "only {seen} commands are found");
}

/// The commands of a line of the shell: their words, without redirections and comments.
fn commands(line: &str) -> Vec<Vec<&str>> {
    let mut commands = vec![Vec::new()];
    let mut skipped = false;
    for word in line.split_whitespace() {
        match word {
            "#" => break,
            "|" | "&&" | "||" | ";" | "&" | "do" => {
                skipped = false;
                commands.push(Vec::new());
            }
            "<" | ">" | ">>" => skipped = true,
            _ if skipped => {}
            word => commands.last_mut().expect("there is always one").push(word),
        }
    }
    commands
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
