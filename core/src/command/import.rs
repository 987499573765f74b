//! `user import`: many users from a CSV file (RFC 4180), two fields in a line, `NAME@DOMAIN,PASSWORD`.
//!
//! All lines are read before the first user is written: a file with a mistake changes nothing. Importing a file twice
//! is like importing it once, and of two lines for one user the later counts. What is said about a mistake shows no
//! field, since one that is in the wrong place may be a password.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};

use location::{Credentials, Directory, User};
use node::exit::Failure;
use sip::Aor;

use super::users::{check_domain, subscriber};
use super::{open, store};
use crate::Config;

pub(super) async fn run(file: &str, config: &Config) -> Result<String, Failure> {
    let text = read(file).map_err(|error| Failure::Refused(format!("{file}: {error}")))?;
    let wrong = |(line, why): (usize, String)| Failure::Refused(format!("{file}: line {line}: {why}"));
    for row in rows(&text, config) {
        row.map_err(wrong)?;
    }
    let database = open(config).await?;
    let mut count = 0;
    let mut batch = Vec::with_capacity(BATCH);
    for row in rows(&text, config) {
        let (aor, password) = row.map_err(wrong)?;
        batch.push(subscriber(&aor, &password));
        if batch.len() == BATCH {
            count += write(&database, &mut batch).await?;
        }
    }
    count += write(&database, &mut batch).await?;
    database.close().await;
    Ok(format!("imported {count} users\n"))
}

fn read(file: &str) -> io::Result<String> {
    if file != "-" {
        return fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

async fn write(database: &impl Directory, batch: &mut Vec<(User, Credentials)>) -> Result<usize, Failure> {
    database.put_all(batch).await.map_err(store)?;
    let count = batch.len();
    batch.clear();
    Ok(count)
}

/// The users of a file, or the number of the line and what is wrong with it. Empty lines are passed over.
fn rows<'a>(
    text: &'a str,
    config: &'a Config,
) -> impl Iterator<Item = Result<(Aor, Cow<'a, str>), (usize, String)>> {
    // Spreadsheets mark UTF-8 with U+FEFF.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines.map(|(line, number)| row(line, config).map_err(|why| (number, why)))
}

fn row<'a>(line: &'a str, config: &Config) -> Result<(Aor, Cow<'a, str>), String> {
    let (user, rest) = field(line)?;
    let (password, rest) = field(rest.ok_or(SHAPE)?)?;
    if rest.is_some() {
        return Err("a password with a comma has to stand in double quotes".to_owned());
    }
    if password.is_empty() {
        return Err("the password is empty".to_owned());
    }
    let aor = Aor::parse(user.trim()).map_err(|_| SHAPE.to_owned())?;
    check_domain(&aor, config)?;
    Ok((aor, password))
}

/// RFC 4180 §2 rules 5 to 7: the first field, and what follows its comma.
fn field(text: &str) -> Result<(Cow<'_, str>, Option<&str>), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (field, rest) = text.split_once(',').map_or((text, None), |(field, rest)| (field, Some(rest)));
        if field.contains('"') {
            return Err(
                "a field with a double quote has to stand in double quotes, the quote doubled".to_owned()
            );
        }
        return Ok((Cow::Borrowed(field), rest));
    };
    let mut field = String::new();
    let mut left = quoted;
    loop {
        let (part, after) = left.split_once('"').ok_or("a double quote is not closed")?;
        field.push_str(part);
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            left = more;
            continue;
        }
        return match after.strip_prefix(',') {
            Some(rest) => Ok((Cow::Owned(field), Some(rest))),
            None if after.is_empty() => Ok((Cow::Owned(field), None)),
            None => Err("something stands behind a closing double quote".to_owned()),
        };
    }
}

const SHAPE: &str = "NAME@DOMAIN,PASSWORD expected";

/// Users of one transaction.
const BATCH: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
        let config = Config { domains: vec!["example.com".to_owned()], ..Config::default() };
        rows(text, &config)
            .map(|row| row.map(|(aor, password)| (aor.user().to_owned(), password.into_owned())))
            .collect()
    }

    #[test]
    fn fields_are_those_of_rfc_4180() {
        for (line, user, password) in [
            ("alice@example.com,secret", "alice", "secret"),
            ("sip:alice@EXAMPLE.com, secret ", "alice", " secret "),
            (r#""alice@example.com","secret""#, "alice", "secret"),
            (r#"alice@example.com,"a,""b""""#, "alice", r#"a,"b""#),
            (r#""a,b@example.com",#"#, "a,b", "#"),
        ] {
            assert_eq!(users(line).unwrap(), [(user.to_owned(), password.to_owned())], "{line}");
        }
        let all = users("\u{feff}a@example.com,1\r\n\r\n  \nb@example.com,2").unwrap();
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_mistake_names_its_line_and_shows_no_field() {
        for (line, why) in [
            ("geheim", SHAPE),
            ("geheim,alice@example.com", SHAPE),
            ("alice@example.com,", "empty"),
            (r#"alice@example.com,"""#, "empty"),
            ("alice@example.com,geheim,2", "comma"),
            (r#"alice@example.com,ge"heim"#, "doubled"),
            (r#"alice@example.com,"geheim"#, "not closed"),
            (r#"alice@example.com,"geheim"2"#, "behind"),
            ("alice@example.org,geheim", "CORE_DOMAINS"),
        ] {
            let (number, found) = users(&format!("a@example.com,1\n\n{line}\n")).unwrap_err();
            assert_eq!(number, 3, "{line}");
            assert!(found.contains(why) && !found.contains("heim"), "{line}: {found}");
        }
    }
}
