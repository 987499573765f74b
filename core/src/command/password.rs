//! Where a password comes from: never from an argument, which every user of the host can see in the list of
//! processes and which stays in the history of the shell.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use node::config::Secret;
use node::exit::Failure;

/// The options that say where it is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct PasswordSource {
    /// `-`: the first line of standard input is the password. Anything else is refused.
    #[arg(long, value_name = "-", allow_hyphen_values = true, value_parser = secret)]
    password: Option<Secret>,
    /// The first line of this file is the password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// What is no password here may still be one somewhere, so it is not shown.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

impl PasswordSource {
    /// Reads the password.
    ///
    /// # Errors
    ///
    /// When it stands on the command line, cannot be read, or is empty.
    pub fn read(&self) -> Result<Secret, Failure> {
        match (&self.password, &self.password_file) {
            (Some(dash), _) if dash.expose() == "-" => first_line(io::stdin().lock(), "standard input"),
            (None, Some(path)) => {
                let shown = path.display().to_string();
                let file = File::open(path)
                    .map_err(|error| Failure::Refused(format!("--password-file {shown}: {error}")))?;
                first_line(BufReader::new(file), &shown)
            }
            _ => Err(Failure::Refused(
                "a password on the command line can be seen by everybody on this host: \
                 give `--password -` and write it to standard input, or `--password-file FILE`"
                    .to_owned(),
            )),
        }
    }
}

/// A line without its end, which editors and `echo` put there.
fn first_line(from: impl BufRead, name: &str) -> Result<Secret, Failure> {
    let mut line = Vec::new();
    from.take(MAX_LINE)
        .read_until(b'\n', &mut line)
        .map_err(|error| Failure::Refused(format!("{name}: {error}")))?;
    if line.len() as u64 == MAX_LINE {
        return Err(Failure::Refused(format!("{name}: the first line is too long for a password")));
    }
    let text = String::from_utf8(line).map_err(|_| Failure::Refused(format!("{name}: not UTF-8")))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Failure::Refused(format!("{name}: the password is empty")));
    }
    Ok(Secret::new(password))
}

/// More than anybody types, less than a device that never ends.
const MAX_LINE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        match first_line(bytes, "it") {
            Ok(password) => Ok(password.expose().to_owned()),
            Err(Failure::Refused(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_line_without_its_end_is_the_password() {
        for text in ["pass word", "pass word\n", "pass word\r\n", "pass word\nuser: alice\n"] {
            assert_eq!(read(text.as_bytes()).unwrap(), "pass word");
        }
        assert_eq!(read(" \n".as_bytes()).unwrap(), " ");
    }

    #[test]
    fn what_is_no_password_is_refused() {
        assert!(read(b"").unwrap_err().contains("empty"));
        assert!(read(b"\nlater\n").unwrap_err().contains("empty"));
        assert!(read(b"\xff\n").unwrap_err().contains("UTF-8"));
        assert!(read(&[b'x'; 10_000]).unwrap_err().contains("too long"));
    }
}
