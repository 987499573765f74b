//! `migrate`: the schema of the database.

use location::{Database, Schema};
use node::exit::Failure;

use super::store;
use crate::Config;

pub(super) async fn run(check: bool, config: &Config) -> Result<String, Failure> {
    let url = config.database_url.expose();
    let schema = Database::schema(url).await.map_err(store)?;
    let Schema { applied, newest } = schema;
    if schema.is_current() {
        return Ok(format!("the schema is up to date at {applied}\n"));
    }
    if applied > newest {
        return Err(Failure::Refused(format!(
            "the schema is at {applied}, this program knows only {newest}: a newer version has been here"
        )));
    }
    if check {
        return Err(Failure::Refused(format!("the schema is at {applied}, {newest} is pending")));
    }
    let database = Database::open(url).await.map_err(store)?;
    database.migrate().await.map_err(store)?;
    database.close().await;
    Ok(format!("the schema went from {applied} to {newest}\n"))
}
