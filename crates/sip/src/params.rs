//! Generic parameters `;name=value`, RFC 3261 §25.1, of header fields and of URIs.

use crate::{
    ParseError,
    lex::{Cursor, ends_name, ends_value},
};

/// A borrowed parameter list. Names compare ignoring case; a quoted value is given without its quotes, still
/// escaped. When a name stands twice (§7.3.1 forbids it), the first one counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Params<'a> {
    text: &'a str,
}

impl<'a> Params<'a> {
    /// Checks that `text` is a list of parameters from its first to its last byte. A `;` with nothing behind it is
    /// tolerated at the very end, where it can mean nothing else; `;;` is refused.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        Self::parse_in(text, "parameter")
    }

    /// [`Self::parse`] with the name of the element that the parameters belong to.
    pub(crate) fn parse_in(text: &'a str, what: &'static str) -> Result<Self, ParseError> {
        Self::parse_if(text, |_| true).ok_or(ParseError::new(what))
    }

    /// `None` when something is no parameter, or one that is not `wanted`.
    pub(crate) fn parse_if(text: &'a str, wanted: impl Fn(&Item<'a>) -> bool) -> Option<Self> {
        let mut items = Items { cursor: Cursor::new(text) };
        for item in items.by_ref() {
            if !wanted(&item) {
                return None;
            }
        }
        items.cursor.is_empty().then_some(Self { text })
    }

    /// `None`: absent. `Some(None)`: present without a value.
    pub fn get(&self, name: &str) -> Option<Option<&'a str>> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Value of a parameter that has one.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.get(name).flatten()
    }

    /// True if the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values in the order in which they are written.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + 'a {
        self.items().map(|item| (item.name, item.value))
    }

    /// As written, starting with `;` or LWS before it, or empty.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    pub(crate) fn items(&self) -> Items<'a> {
        Items { cursor: Cursor::new(self.text) }
    }
}

/// One parameter with the text that it was read from.
pub(crate) struct Item<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Option<&'a str>,
    /// From the semicolon to the end of the value.
    pub(crate) raw: &'a str,
}

/// Steps over the parameters; stops in front of what is none.
pub(crate) struct Items<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let mut at = self.cursor;
        at.lws();
        let start = at.rest();
        if start.is_empty() {
            self.cursor = at;
            return None;
        }
        if !at.separator(b';') {
            return None;
        }
        let name = at.take_while(|byte| !ends_name(byte));
        if name.is_empty() {
            if at.is_empty() {
                self.cursor = at;
            }
            return None;
        }
        let mut end = at;
        let value = if at.separator(b'=') {
            let value =
                if at.peek() == Some(b'"') { at.quoted()? } else { at.take_while(|byte| !ends_value(byte)) };
            end = at;
            Some(value)
        } else {
            None
        };
        let mut next = end;
        next.lws();
        if !matches!(next.peek(), None | Some(b';')) {
            return None;
        }
        self.cursor = next;
        let raw = start.get(..start.len() - end.rest().len()).unwrap_or(start);
        Some(Item { name, value, raw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ignore_case_and_white_space() {
        let params = Params::parse(";\r\n Tag = a1 ; lr;x = \"a;\\\"b\"").unwrap();
        assert_eq!(params.value("tag"), Some("a1"));
        assert_eq!(params.get("LR"), Some(None));
        assert_eq!(params.value("x"), Some("a;\\\"b"));
        assert_eq!(params.get("y"), None);
        assert!(params.has("lr"));
        assert_eq!(params.iter().count(), 3);
    }

    #[test]
    fn what_is_no_parameter_is_refused() {
        for text in ["x", ";;a", ";a b", ";a=\"open", ";a=\"b\"c", ";a,b", ";a=b,c", ";=b", ";a;;"] {
            assert!(Params::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_and_a_last_semicolon_are_no_parameters() {
        assert_eq!(Params::parse("").unwrap().iter().count(), 0);
        assert_eq!(Params::parse(" ").unwrap().iter().count(), 0);
        assert_eq!(Params::parse(";a; ").unwrap().iter().count(), 1);
    }

    #[test]
    fn the_first_of_two_counts() {
        assert_eq!(Params::parse(";a=1;A=2").unwrap().value("a"), Some("1"));
    }

    #[test]
    fn raw_text_covers_the_whole_parameter() {
        let params = Params::parse(" ;branch = z9 ; rport").unwrap();
        let raw: Vec<_> = params.items().map(|item| item.raw).collect();
        assert_eq!(raw, [";branch = z9", "; rport"]);
    }
}
