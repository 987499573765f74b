//! Who may import whom, and what no source file may contain.
//!
//! [`TABLE`] is the dependency table of the workspace, lowest package first: what is not in it does not pass. The rules
//! about text guard what neither the compiler nor clippy sees: protocol code is stepped, it holds no socket and no task.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package};

/// Every package and what it may use inside the workspace; a package uses only what stands above it.
const TABLE: [(&str, &[&str]); 11] = [
    ("sip", &[]),
    ("transaction", &["sip"]),
    ("proxy", &["sip", "transaction"]),
    ("registrar", &["sip"]),
    ("location", &["sip", "registrar"]),
    ("transport", &["sip"]),
    ("proto", &[]),
    ("link", &["proto"]),
    ("node", &[]),
    ("edge-proxy", &["sip", "transaction", "proxy", "transport", "proto", "link", "node"]),
    ("core-registrar", &["sip", "transaction", "proxy", "registrar", "location", "proto", "link", "node"]),
];

/// May use anything; nothing uses it.
const TESTS: &str = "cluster-tests";

/// Packages from outside that belong to some of ours, besides [`TESTS`].
const OWNERS: [(&str, &[&str]); 9] = [
    ("rsip", &["sip"]),
    ("sqlx", &["location", "core-registrar"]),
    ("quinn", &["link"]),
    ("quinn-proto", &["link"]),
    ("prost", &["proto", "link"]),
    ("nix", &["transport"]),
    ("axum", &["node"]),
    ("figment", &["node"]),
    ("prometheus-client", &["node"]),
];

/// Packages that are stepped: bytes, events and the time come in, actions go out.
const PURE: [&str; 4] = ["sip", "transaction", "proxy", "registrar"];

/// All that a pure package may use from outside: none of it opens a socket, starts a task, reads a clock or draws a number.
const HARMLESS: [&str; 12] = [
    "ahash",
    "base64",
    "bytes",
    "hmac",
    "md-5",
    "memchr",
    "rand_chacha",
    "rsip",
    "sha2",
    "smallvec",
    "subtle",
    "thiserror",
];

/// Features that make a harmless package draw seeds from the system.
const AMBIENT: [&str; 4] = ["compile-time-rng", "getrandom", "os_rng", "runtime-rng"];

/// Sources that are stepped, too, in packages that are not: each is a file with what lies in the folder of its name.
const STEPPED: [&str; 30] = [
    "crates/transport/src/resolve/cache",
    "crates/transport/src/resolve/question",
    "crates/transport/src/resolve/srv",
    "crates/transport/src/resolve/walk",
    "edge/src/ack",
    "edge/src/egress",
    "edge/src/engine",
    "edge/src/next_hop",
    "edge/src/peer",
    "edge/src/access",
    "edge/src/keeper",
    "edge/src/news",
    "edge/src/ping",
    "edge/src/probe",
    "edge/src/rates",
    "edge/src/silence",
    "edge/src/recovery",
    "edge/src/registered",
    "edge/src/registration",
    "core/src/egress",
    "core/src/flows",
    "core/src/routes",
    "core/src/engine",
    "core/src/register",
    "core/src/calls",
    "core/src/routing",
    "core/src/ways",
    "core/src/why",
    "core/src/auth",
    "core/src/nonce",
];

/// What stepped code does not say.
const IMPURE: [&str; 14] = [
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "tokio::",
    "Instant::now",
    "SystemTime",
    ".elapsed()",
    "thread_local!",
    "std::thread",
    "std::fs",
    "std::env",
    "std::process",
    "OsRng",
    "getrandom",
];

/// What no source says. (Written so that this file does not say it.)
const UNFINISHED: [&str; 5] = [
    concat!("#[", "ignore"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

/// Lines of a source file before its tests.
const LONGEST: usize = 500;

#[test]
fn dependencies_follow_the_table() {
    let metadata = metadata();
    let members: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let listed: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).chain([TESTS]).collect();
    assert_eq!(members, listed, "the table lists every package");

    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in package.dependencies.iter().filter(|it| members.contains(it.name.as_str())) {
            if !may_use(package.name.as_str(), dependency) {
                wrong.push(format!("{} uses {} ({})", package.name, dependency.name, dependency.kind));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_table_has_no_cycle() {
    for (at, (name, uses)) in TABLE.iter().enumerate() {
        for used in *uses {
            assert!(rank(used) < Some(at), "{name} uses {used}, which stands below it");
        }
    }
}

#[test]
fn packages_from_outside_have_owners() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        for (name, owners) in OWNERS {
            let allowed = package.name.as_str() == TESTS || owners.contains(&package.name.as_str());
            if !allowed && package.dependencies.iter().any(|it| it.name == name) {
                wrong.push(format!("{} uses {name}", package.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn pure_packages_use_nothing_that_acts() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in pure(&metadata) {
        for dependency in package.dependencies.iter().filter(|it| it.kind != DependencyKind::Development) {
            let name = dependency.name.as_str();
            if !HARMLESS.contains(&name) && !PURE.contains(&name) {
                wrong.push(format!("{} uses {name}", package.name));
            }
            // The default features of ahash seed every map from the system.
            let ambient = dependency.features.iter().any(|feature| AMBIENT.contains(&feature.as_str()));
            if ambient || (name == "ahash" && dependency.uses_default_features) {
                wrong.push(format!("{} uses {name} with randomness of the system", package.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let manifest = read(package.manifest_path.as_std_path());
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{} has lints of its own", package.name);
    }
}

#[test]
fn stepped_sources_do_not_act() {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let mut sources = Vec::new();
    for package in pure(&metadata) {
        sources.append(&mut rust_files(&folder(package).join("src")));
    }
    for name in STEPPED {
        let (file, inside) = (root.join(name).with_extension("rs"), root.join(name));
        assert!(file.is_file(), "{name}.rs is gone: list the file that took its place");
        sources.push(file);
        if inside.is_dir() {
            sources.append(&mut rust_files(&inside));
        }
    }
    let mut wrong = Vec::new();
    for path in sources.iter().filter(|path| !is_test(path)) {
        for (number, line) in product(&read(path)).filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn no_source_is_longer_than_one_sitting() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        for path in rust_files(&folder(package).join("src")).iter().filter(|path| !is_test(path)) {
            let lines = product(&read(path)).count();
            if lines > LONGEST {
                wrong.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn nothing_is_left_unfinished() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        for path in
            ["src", "tests", "benches"].iter().flat_map(|part| rust_files(&folder(package).join(part)))
        {
            let text = read(&path);
            for word in UNFINISHED.iter().filter(|word| text.contains(**word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// The manifests of the workspace; what they name from outside is not looked at, so no network is needed.
fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo reads the manifests")
}

fn may_use(package: &str, dependency: &Dependency) -> bool {
    let (name, package_rank) = (dependency.name.as_str(), rank(package));
    if package == TESTS {
        return name != TESTS;
    }
    match dependency.kind {
        DependencyKind::Development => rank(name).is_some() && rank(name) < package_rank,
        _ => TABLE.iter().any(|(user, uses)| *user == package && uses.contains(&name)),
    }
}

/// The place in the table: a package with a lower rank knows nothing of one with a higher rank.
fn rank(package: &str) -> Option<usize> {
    TABLE.iter().position(|(name, _)| *name == package)
}

fn pure(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.workspace_packages().into_iter().filter(|package| PURE.contains(&package.name.as_str()))
}

fn folder(package: &Package) -> &Path {
    package.manifest_path.parent().expect("a manifest lies in a folder").as_std_path()
}

/// All Rust files in a folder and below, in a fixed order; none when there is no such folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(entries) = folders.pop().map(fs::read_dir) {
        for entry in entries.into_iter().flatten() {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file below `src` that holds nothing but tests of its parent module.
fn is_test(path: &Path) -> bool {
    path.iter().rev().take_while(|part| *part != "src").any(|part| part == "tests.rs" || part == "tests")
}

/// The numbered lines of a file before its tests.
fn product(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().take_while(|line| !line.starts_with("mod tests")))
}
