//! Where the programs of the nodes are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Problem;

/// The two programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `edge-proxy`
    pub edge: PathBuf,
    /// `core-registrar`
    pub core: PathBuf,
}

/// Names a folder with the programs to use instead of those beside the running one.
const FOLDER: &str = "SIGNALBOX_BIN";
/// What cargo sets for the program that it runs, besides `CARGO_PKG_…`.
const OURS: [&str; 5] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_NAME",
    "CARGO_PRIMARY_PACKAGE",
];

impl Binaries {
    /// Those in the folder `SIGNALBOX_BIN`, else those beside the running program.
    ///
    /// # Errors
    ///
    /// One of them is missing.
    pub fn find() -> Result<Self, Problem> {
        let folder = match env::var_os(FOLDER) {
            Some(folder) => PathBuf::from(folder),
            None => beside_us()?,
        };
        let [edge, core] = ["edge-proxy", "core-registrar"].map(|name| folder.join(name));
        for program in [&edge, &core] {
            if !program.is_file() {
                let problem = format!("{} is missing: build it, or set {FOLDER}", program.display());
                return Err(Problem::new(problem));
            }
        }
        Ok(Self { edge, core })
    }

    /// Has cargo build them like the running program, its output shown; then [`find`](Self::find). A program that
    /// was not started by cargo takes what there is.
    ///
    /// # Errors
    ///
    /// They cannot be built or found.
    pub fn build() -> Result<Self, Problem> {
        if let (None, Some(cargo)) = (env::var_os(FOLDER), env::var_os("CARGO")) {
            let mut build = Command::new(cargo);
            // With the running program's own package, so that all three use what was built for it.
            build.args(["build", "--locked", "--bins"]);
            build.args(["-p", "edge-proxy", "-p", "core-registrar", "-p", "cluster-tests"]);
            // What cargo tells us about our package would look to build scripts like a change of theirs.
            for (name, _) in env::vars_os() {
                if name.to_string_lossy().starts_with("CARGO_PKG_") || OURS.iter().any(|ours| name == *ours) {
                    build.env_remove(name);
                }
            }
            if beside_us()?.ends_with("release") {
                build.arg("--release");
            }
            if !build.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success() {
                return Err(Problem::new("cargo could not build the nodes"));
            }
        }
        Self::find()
    }
}

/// The folder that cargo puts programs in: that of the running one, or above it for a test.
fn beside_us() -> Result<PathBuf, Problem> {
    let us = env::current_exe()?;
    let folder = us.parent().unwrap_or(Path::new("/"));
    Ok(if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder).to_owned()
    } else {
        folder.to_owned()
    })
}
