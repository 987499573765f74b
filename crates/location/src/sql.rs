//! The database of the operator's choice, by URL.

use registrar::{Binding, Record, UnixTime};
use sip::Aor;

use crate::sqlite::Sqlite;
use crate::{Credentials, Directory, Error, LocationStore, Page, Save, Saved, Schema, User};

/// A database with the schema of this version. One variant for each dialect.
#[derive(Debug)]
pub enum Database {
    /// An embedded database, which several processes of one host may share.
    Sqlite(Sqlite),
}

impl Database {
    /// Opens `sqlite:PATH` and brings its schema up to date.
    ///
    /// # Errors
    /// For a URL of another scheme, a file that cannot be opened, and a schema that is newer than this program.
    pub async fn open(url: &str) -> Result<Self, Error> {
        check_scheme(url)?;
        Ok(Self::Sqlite(Sqlite::open(url).await?))
    }

    /// How far the schema behind a URL has come. Changes nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn schema(url: &str) -> Result<Schema, Error> {
        check_scheme(url)?;
        Sqlite::schema(url).await
    }

    /// Waits for running statements and closes.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
        }
    }
}

fn check_scheme(url: &str) -> Result<(), Error> {
    match url.split_once(':') {
        Some(("sqlite", _)) => Ok(()),
        Some(_) => Err(Error::Url("the scheme has to be sqlite")),
        None => Err(Error::Url("it has no scheme")),
    }
}

impl LocationStore for Database {
    async fn load(&self, aors: &[Aor]) -> Result<Vec<Record>, Error> {
        match self {
            Self::Sqlite(store) => store.load(aors).await,
        }
    }

    async fn save(&self, saves: &[Save]) -> Result<Vec<Saved>, Error> {
        match self {
            Self::Sqlite(store) => store.save(saves).await,
        }
    }

    async fn sweep(&self, now: UnixTime, limit: u32) -> Result<u64, Error> {
        match self {
            Self::Sqlite(store) => store.sweep(now, limit).await,
        }
    }

    async fn due(&self, now: UnixTime, limit: u32) -> Result<Vec<(Aor, Record)>, Error> {
        match self {
            Self::Sqlite(store) => store.due(now, limit).await,
        }
    }

    async fn flows_of(
        &self,
        edge: &str,
        now: UnixTime,
        after: Option<&Aor>,
        limit: u32,
    ) -> Result<Page<(Aor, Binding)>, Error> {
        match self {
            Self::Sqlite(store) => store.flows_of(edge, now, after, limit).await,
        }
    }

    async fn list(&self, after: Option<&Aor>, limit: u32) -> Result<Page<(Aor, Record)>, Error> {
        match self {
            Self::Sqlite(store) => store.list(after, limit).await,
        }
    }
}

impl Directory for Database {
    async fn credentials(&self, users: &[User]) -> Result<Vec<Option<Credentials>>, Error> {
        match self {
            Self::Sqlite(store) => store.credentials(users).await,
        }
    }

    async fn put(&self, user: &User, credentials: &Credentials) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.put(user, credentials).await,
        }
    }

    async fn put_all(&self, users: &[(User, Credentials)]) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.put_all(users).await,
        }
    }

    async fn remove_user(&self, user: &User) -> Result<bool, Error> {
        match self {
            Self::Sqlite(store) => store.remove_user(user).await,
        }
    }

    async fn users(&self, after: Option<&User>, limit: u32) -> Result<Vec<User>, Error> {
        match self {
            Self::Sqlite(store) => store.users(after, limit).await,
        }
    }
}
