//! What went wrong with a cluster, as one text for people.

use std::fmt;

/// A text: whoever reads it cannot do anything else about it.
#[derive(Debug)]
pub struct Problem(String);

impl Problem {
    /// With this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<link::Error> for Problem {
    fn from(error: link::Error) -> Self {
        Self(error.to_string())
    }
}
