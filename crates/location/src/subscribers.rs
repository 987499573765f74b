//! The `subscriber` table of another proxy, as Kamailio and OpenSIPS have it, or of another Signalbox: read, and never written.
//!
//! It is one query whose rows come as they are wanted, so it takes no more memory for a million users than for a thousand,
//! and shows the table as it was at one moment, however it is keyed. A column that a table need not have is empty.

use std::str::FromStr;

use futures_util::TryStreamExt;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::sync::mpsc;

use crate::Error;
use crate::sql::Urls;

/// A row; empty where the table has nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// The user part of the address.
    pub username: String,
    /// The domain, which is also the realm.
    pub domain: String,
    /// In clear, as some systems keep it.
    pub password: String,
    /// `MD5(user:realm:password)`.
    pub ha1: String,
    /// `SHA-256(user:realm:password)`, as OpenSIPS has it.
    pub ha1_sha256: String,
}

/// The name of a table, with that of its schema if it has one. It stands in statements as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(String);

impl FromStr for Table {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let parts: Vec<_> = text.split('.').collect();
        if parts.len() > 2 || !parts.into_iter().all(is_name) {
            return Err("TABLE or SCHEMA.TABLE is expected, of letters, digits and underscores");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A table that is being read.
#[derive(Debug)]
pub struct Subscribers {
    pages: mpsc::Receiver<Result<Vec<Subscriber>, Error>>,
}

/// Reads with a connection of one dialect.
macro_rules! read {
    ($options:expr, $table:expr, $text:literal) => {{
        let mut connection = $options.disable_statement_logging().connect().await?;
        let mut select = String::from("SELECT ");
        for (at, Column { names, is_needed }) in COLUMNS.into_iter().enumerate() {
            let mut value = "NULL";
            let mut missing = None;
            for name in names {
                let probe = format!("SELECT {name} FROM {} WHERE 1 = 0", $table.0);
                match sqlx::query(AssertSqlSafe(probe)).execute(&mut connection).await {
                    Ok(_) => {
                        (value, missing) = (name, None);
                        break;
                    }
                    // The table has no such column.
                    Err(error @ sqlx::Error::Database(_)) => missing = missing.or(Some(error)),
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(error) = missing.filter(|_| is_needed) {
                return Err(error.into());
            }
            let comma = if at > 0 { ", " } else { "" };
            select.push_str(&format!("{comma}CAST(COALESCE({value}, '') AS {})", $text));
        }
        select.push_str(&format!(" FROM {}", $table.0));
        let (sender, pages) = mpsc::channel(1);
        tokio::spawn(async move {
            let rows = sqlx::query_as::<_, Row>(AssertSqlSafe(select)).fetch(&mut connection);
            let mut full = rows.map_ok(Subscriber::of).try_chunks(PAGE);
            loop {
                let page = match full.try_next().await {
                    Ok(None) => return,
                    Ok(Some(page)) => Ok(page),
                    Err(error) => Err(error.1.into()),
                };
                let is_last = page.is_err();
                // Nobody may want the rest.
                if sender.send(page).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Self { pages })
    }};
}

impl Subscribers {
    /// Begins to read a table of a database, `mysql://…`, `postgres://…` or `sqlite:PATH`.
    ///
    /// # Errors
    ///
    /// A URL that cannot be used, a database that is away, a table that is not there or has no users.
    pub async fn open(url: &str, table: &Table) -> Result<Self, Error> {
        const SHAPE: Error = Error::Url("one `mysql://…`, `postgres://…` or `sqlite:PATH` is expected");
        match Urls::of(url)? {
            Urls::Sqlite(url) => {
                let options = SqliteConnectOptions::from_str(url).map_err(|_| SHAPE)?;
                read!(options.read_only(true), table, "TEXT")
            }
            Urls::Postgres(urls) if urls.len() == 1 => {
                read!(PgConnectOptions::from_str(url).map_err(|_| SHAPE)?, table, "TEXT")
            }
            Urls::MariaDb(urls) if urls.len() == 1 => {
                read!(MySqlConnectOptions::from_str(url).map_err(|_| SHAPE)?, table, "CHAR")
            }
            Urls::Postgres(_) | Urls::MariaDb(_) => Err(SHAPE),
        }
    }

    /// The next rows, up to a thousand; `None` behind the last.
    ///
    /// # Errors
    ///
    /// The database has gone, or holds what is no text. There are no more rows then.
    pub async fn page(&mut self) -> Result<Option<Vec<Subscriber>>, Error> {
        self.pages.recv().await.transpose()
    }
}

type Row = (String, String, String, String, String);

impl Subscriber {
    fn of((username, domain, password, ha1, ha1_sha256): Row) -> Self {
        Self { username, domain, password, ha1, ha1_sha256 }
    }
}

/// A column by its names, the usual one first.
struct Column {
    names: &'static [&'static str],
    is_needed: bool,
}

/// In the order of a [`Row`]. The second names are those of a database of this cluster, which is read as well.
const COLUMNS: [Column; 5] = [
    Column { names: &["username"], is_needed: true },
    Column { names: &["domain", "realm"], is_needed: true },
    Column { names: &["password"], is_needed: false },
    Column { names: &["ha1", "ha1_md5"], is_needed: true },
    Column { names: &["ha1_sha256"], is_needed: false },
];
/// Rows that are handed on at a time.
const PAGE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_name_and_nothing_else() {
        for (text, is_table) in [
            ("subscriber", true),
            ("kamailio.subscriber_2", true),
            ("", false),
            (".subscriber", false),
            ("a.b.c", false),
            ("subscriber; DROP TABLE subscriber", false),
            ("\"subscriber\"", false),
        ] {
            assert_eq!(text.parse::<Table>().is_ok(), is_table, "{text}");
        }
    }
}
