//! What a value of the configuration can be, and how each type reads and writes it.

use std::{
    net::{IpAddr, SocketAddr},
    num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use figment::value::{Num, Value};

use super::Span;

/// The type of a field of the configuration.
///
/// Types with `FromStr` and `Display` get it by [`setting!`](crate::setting).
pub trait Setting: Sized {
    /// Whether the value must not be seen.
    const SECRET: bool = false;
    /// Whether the field may be without a value, so that an empty text takes the value away.
    const OPTIONAL: bool = false;

    /// Reads the value from text.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, quoting it unless it is a secret.
    fn parse(text: &str) -> Result<Self, String>;

    /// Reads the value from the items of an array.
    ///
    /// # Errors
    ///
    /// What is wrong with the items, or that this type is no list.
    fn parse_list(items: &[String]) -> Result<Self, String> {
        match items {
            [one] => Self::parse(one),
            _ => Err("one value expected, not a list".to_owned()),
        }
    }

    /// The value as [`parse`](Self::parse) reads it; a secret is hidden.
    fn show(&self) -> String;

    /// Reads the value as it was found.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse) and [`parse_list`](Self::parse_list).
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::parse(text),
            Raw::List(items) => Self::parse_list(items),
        }
    }
}

/// A value as it was found, before its field says what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// One value, as text: a number or a truth value of a file is what one would have to write for it.
    Text(String),
    /// An array of a file.
    List(Vec<String>),
}

impl Raw {
    pub(super) fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(_, items) => {
                let items: Option<Vec<String>> = items.iter().map(text).collect();
                items.map(Self::List)
            }
            one => text(one).map(Self::Text),
        }
        .ok_or_else(|| "a value or a list of values expected, not a table".to_owned())
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, letter) => Some(letter.to_string()),
        Value::Bool(_, truth) => Some(truth.to_string()),
        Value::Num(_, Num::F32(number)) => Some(number.to_string()),
        Value::Num(_, Num::F64(number)) => Some(number.to_string()),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string())),
        Value::Empty(..) => Some(String::new()),
        Value::Dict(..) | Value::Array(..) => None,
    }
}

/// Any text, also one of digits.
impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

/// `true` or `false`, and the other words that people write for them.
impl Setting for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(format!("{text:?}: true or false expected")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The empty text is no value.
impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;
    const OPTIONAL: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }

    fn parse_list(items: &[String]) -> Result<Self, String> {
        T::parse_list(items).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

/// Items separated by commas, with any space around them; or an array of a file.
impl<T: Setting> Setting for Vec<T> {
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::parse).collect()
    }

    fn parse_list(items: &[String]) -> Result<Self, String> {
        items.iter().map(|item| T::parse(item)).collect()
    }

    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(T::show).collect();
        if T::SECRET {
            // Not how many there are either.
            items.into_iter().next().unwrap_or_default()
        } else {
            items.join(",")
        }
    }
}

/// Makes types with `FromStr` and `Display` that read what they write into types of the configuration.
#[macro_export]
macro_rules! setting {
    ($($Type:ty),+ $(,)?) => {$(
        impl $crate::config::Setting for $Type {
            fn parse(text: &str) -> ::std::result::Result<Self, ::std::string::String> {
                let text = text.trim();
                text.parse().map_err(|problem| ::std::format!("{text:?}: {problem}"))
            }

            fn show(&self) -> ::std::string::String {
                ::std::string::ToString::to_string(self)
            }
        }
    )+};
}

setting!(u8, u16, u32, u64, usize, i32, i64);
setting!(NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize);
setting!(IpAddr, SocketAddr, Span);
