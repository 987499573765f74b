//! `user import`: many users from a CSV file (RFC 4180), two fields in a line, `NAME@DOMAIN,PASSWORD`, or with a first line that
//! names the columns.
//!
//! All lines are read before the first user is written: a file with a mistake changes nothing. Importing a file twice
//! is like importing it once, and of two lines for one user the later counts. What is said about a mistake shows no
//! field, since one that is in the wrong place may be a password.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};

use location::{Credentials, User};
use node::exit::Failure;
use sip::Aor;

use super::{open, store};
use crate::Config;
use crate::domains::Served;
use crate::provision::{self, Proof};

pub(super) async fn run(file: &str, config: &Config) -> Result<String, Failure> {
    let text = read(file).map_err(|error| Failure::Refused(format!("{file}: {error}")))?;
    let database = open(config).await?;
    let served = Served::read(&config.domains(), &database).await.map_err(store)?;
    let users: Result<Vec<_>, _> = rows(&text, |aor| served.check(aor)).collect();
    let users = users.map_err(|(line, why)| Failure::Refused(format!("{file}: line {line}: {why}")))?;
    provision::put_all(&database, &users).await.map_err(store)?;
    database.close().await;
    Ok(format!("imported {} users\n", users.len()))
}

fn read(file: &str) -> io::Result<String> {
    if file != "-" {
        return fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// The users of a text, or the number of the line and what is wrong with it. Empty lines are passed over.
///
/// Without a first line that names the columns they are `NAME@DOMAIN,PASSWORD`. With one, they are found by their names, which are
/// those of the `subscriber` table of other proxies; columns of other names are passed over.
pub(crate) fn rows<'a>(
    text: &'a str,
    served: impl Fn(&Aor) -> Result<(), String> + 'a,
) -> impl Iterator<Item = Result<(User, Credentials), (usize, String)>> + 'a {
    // Spreadsheets mark UTF-8 with U+FEFF.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).peekable();
    let columns = lines.peek().and_then(|(line, _)| Columns::named(line));
    if columns.is_some() {
        lines.next();
    }
    let columns = columns.unwrap_or(Columns::PLAIN);
    lines.map(move |(line, number)| {
        let row = columns.read(line).and_then(|(aor, proof)| {
            served(&aor)?;
            Ok(proof.credentials(&aor)?)
        });
        row.map_err(|why| (number, why))
    })
}

/// Which field of a line is what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Columns {
    count: Option<usize>,
    username: usize,
    domain: Option<usize>,
    password: Option<usize>,
    ha1: Option<usize>,
    ha1_sha256: Option<usize>,
}

impl Columns {
    const PLAIN: Self =
        Self { count: Some(2), username: 0, domain: None, password: Some(1), ha1: None, ha1_sha256: None };

    /// The columns that a first line names; `None` when it names no user.
    fn named(line: &str) -> Option<Self> {
        let names: Vec<String> =
            fields(line).ok()?.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        let at = |name: &str| names.iter().position(|known| known == name);
        Some(Self {
            count: None,
            username: at("username").or_else(|| at("address"))?,
            domain: at("domain").or_else(|| at("realm")),
            password: at("password"),
            ha1: at("ha1").or_else(|| at("ha1_md5")),
            ha1_sha256: at("ha1_sha256"),
        })
    }

    fn read(&self, line: &str) -> Result<(Aor, Proof), String> {
        let fields = fields(line)?;
        if self.count.is_some_and(|count| fields.len() > count) {
            return Err("a password with a comma has to stand in double quotes".to_owned());
        }
        let field = |at: Option<usize>| fields.get(at?).map(|field| field.to_string());
        let name = field(Some(self.username)).ok_or(SHAPE)?;
        let address = match field(self.domain) {
            Some(domain) => format!("{}@{}", name.trim(), domain.trim()),
            None => name.trim().to_owned(),
        };
        let aor = Aor::parse(&address).map_err(|_| SHAPE)?;
        let password = field(self.password);
        if self.count.is_some() && password.is_none() {
            return Err(SHAPE.to_owned());
        }
        Ok((aor, Proof::of_row(password, field(self.ha1), field(self.ha1_sha256))))
    }
}

fn fields(line: &str) -> Result<Vec<Cow<'_, str>>, String> {
    let mut fields = Vec::new();
    let mut left = Some(line);
    while let Some(text) = left {
        let (found, rest) = field(text)?;
        fields.push(found);
        left = rest;
    }
    Ok(fields)
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

#[cfg(test)]
mod tests {
    use sip::digest::{Algorithm, ha1};

    use super::*;

    fn users(text: &str) -> Result<Vec<(User, Credentials)>, (usize, String)> {
        let served = Served { configured: ["example.com".to_owned()].into(), stored: [].into() };
        rows(text, |aor| served.check(aor)).collect()
    }

    #[test]
    fn fields_are_those_of_rfc_4180() {
        for (line, name, password) in [
            ("alice@example.com,secret", "alice", "secret"),
            ("sip:alice@EXAMPLE.com, secret ", "alice", " secret "),
            (r#""alice@example.com","secret""#, "alice", "secret"),
            (r#"alice@example.com,"a,""b""""#, "alice", r#"a,"b""#),
            (r#""a,b@example.com",#"#, "a,b", "#"),
        ] {
            let found = users(line).unwrap();
            let [(user, credentials)] = &found[..] else { panic!("{line}") };
            assert_eq!(user.name, name, "{line}");
            assert_eq!(credentials.ha1_md5, ha1(Algorithm::Md5, name, "example.com", password), "{line}");
        }
        let all = users("\u{feff}a@example.com,1\r\n\r\n  \nb@example.com,2").unwrap();
        assert_eq!(all.len(), 2);
    }

    /// The columns of a `subscriber` table, in any order and among others.
    #[test]
    fn a_first_line_names_the_columns() {
        let (md5, sha256) = ("0".repeat(32), "a".repeat(64));
        let text = format!(
            "id,username,domain,password,ha1,ha1b,HA1_SHA256\n\
             1,alice,example.com,,{md5},x,{sha256}\n2,bob,example.com,secret,,,\n3,carol,example.com,old,{md5},x,\n"
        );
        let found = users(&text).unwrap();
        let secrets: Vec<_> = found
            .iter()
            .map(|(user, it)| (user.name.as_str(), it.ha1_md5.as_str(), it.ha1_sha256.as_str()))
            .collect();
        let (bob_md5, bob_sha256) = (
            ha1(Algorithm::Md5, "bob", "example.com", "secret"),
            ha1(Algorithm::Sha256, "bob", "example.com", "secret"),
        );
        let expected =
            [("alice", md5.as_str(), sha256.as_str()), ("bob", &bob_md5, &bob_sha256), ("carol", &md5, "")];
        assert_eq!(secrets, expected);
        assert_eq!(users("username,domain,ha1\nalice,example.com,").unwrap_err().0, 2);
    }

    #[test]
    fn a_mistake_names_its_line_and_shows_no_field() {
        for (line, why) in [
            ("geheim", SHAPE),
            ("geheim,alice@example.com", SHAPE),
            ("alice@example.com", SHAPE),
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
