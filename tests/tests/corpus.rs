//! Replays the committed corpora of the fuzz targets, and mutations of every file in them.
//!
//! A failure names the target and leaves the input in the folder of the build: `cargo fuzz run TARGET FILE` replays it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use cluster_tests::fuzz::TARGETS;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

#[test]
fn every_corpus_has_a_target() {
    let mut names: Vec<String> = folder("").map(|path| name(&path)).collect();
    let mut targets = TARGETS.map(|(name, _)| name);
    names.sort();
    targets.sort_unstable();
    assert_eq!(names, targets);
}

#[test]
fn corpora_hold() {
    for (target, check) in TARGETS {
        for path in folder(target) {
            run(target, check, &fs::read(&path).expect("a file of the corpus"));
        }
    }
}

#[test]
fn mutations_hold() {
    std::thread::scope(|scope| {
        for (target, check) in TARGETS {
            scope.spawn(move || {
                let inputs: Vec<Vec<u8>> =
                    folder(target).map(|path| fs::read(path).expect("a file of the corpus")).collect();
                let mut random = ChaCha8Rng::seed_from_u64(1);
                for input in inputs.iter().cycle().take(mutations(target)) {
                    let other = &inputs[below(&mut random, inputs.len())];
                    run(target, check, &mutate(input, other, &mut random));
                }
            });
        }
    });
}

fn run(target: &str, check: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
        fs::write(&path, input).expect("a file in the folder of the build");
        eprintln!("{target} does not hold for {}", path.display());
        resume_unwind(panic);
    }
}

/// Mutations of the files of a target: fewer where each is a whole sequence of operations.
fn mutations(target: &str) -> usize {
    if target.ends_with("_ops") { 400 } else { 3_000 }
}

/// A few bytes changed, cut out, doubled, or replaced by what stands at another place or in another file.
fn mutate(input: &[u8], other: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=below(random, 4) {
        let from = below(random, bytes.len() + 1);
        let to = (from + below(random, 9)).min(bytes.len());
        let start = below(random, other.len() + 1);
        let end = (start + below(random, 40)).min(other.len());
        match below(random, 6) {
            0 => bytes.truncate(from),
            1 => drop(bytes.splice(from..to, [])),
            2 => drop(bytes.splice(from..from, PIECES[below(random, PIECES.len())].iter().copied())),
            3 => drop(bytes.splice(from..to, other[start..end].iter().copied())),
            4 => bytes[from..to].iter_mut().for_each(|byte| *byte ^= 1 << (random.next_u32() % 8)),
            _ => bytes[from..to].iter_mut().for_each(|byte| *byte = random.next_u32().to_le_bytes()[0]),
        }
    }
    bytes
}

fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    usize::try_from(random.next_u64() % bound.max(1) as u64).expect("below a usize")
}

/// Files of a corpus, or the corpora, in a fixed order.
fn folder(target: &str) -> impl Iterator<Item = PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter()
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// What the grammars of SIP turn on.
const PIECES: [&[u8]; 18] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\"",
    b"<",
    b">",
    b"[",
    b"%",
    b"=",
    b"@",
    b"?",
    b"\\",
    b"\r\n\r\n",
];
