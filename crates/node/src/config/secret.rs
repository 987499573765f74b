//! Text that must not be seen: not in a log, not in the effective configuration, not in an error.

use std::fmt::{self, Debug, Display, Formatter};

use super::Setting;

/// A password or a key. Everything that prints it prints `***`.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one who checks or uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Display for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Setting for Secret {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }

    fn show(&self) -> String {
        if self.is_empty() { "" } else { HIDDEN }.to_owned()
    }
}

/// What is seen of a secret.
const HIDDEN: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_it() {
        let secret = Secret::new("geheim");
        let printed = format!("{secret} {secret:?} {:#?} {}", Some(&secret), secret.show());
        assert!(!printed.contains("geheim"), "{printed}");
        assert!(printed.starts_with("*** ***"), "{printed}");
        assert_eq!(secret.expose(), "geheim");
    }
}
