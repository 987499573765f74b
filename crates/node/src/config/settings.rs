//! A struct of settings that is declared once.

use super::Raw;

/// A struct whose fields are settings, as [`settings!`](crate::settings) makes it.
pub trait Settings: Default {
    /// The fields in the order of their declaration.
    const FIELDS: &'static [Field];

    /// Gives the field of this name the value that was found.
    ///
    /// # Errors
    ///
    /// What is wrong with the value, or that there is no such field.
    fn read(&mut self, name: &str, raw: &Raw) -> Result<(), String>;

    /// The values of all fields as text, secrets hidden, in the order of [`FIELDS`](Self::FIELDS).
    fn show(&self) -> Vec<String>;
}

/// What is known about a field besides its value.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name in the struct and in the file; in capitals after the prefix, the variable.
    pub name: &'static str,
    /// The lines of its documentation.
    pub doc: &'static [&'static str],
    /// The default in words, where the value itself would say nothing.
    pub default: Option<&'static str>,
    /// Whether the value must not be seen.
    pub secret: bool,
    /// Whether the field may be without a value.
    pub optional: bool,
}

impl Field {
    /// The variable that sets the field.
    pub fn variable(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.name.to_uppercase())
    }

    /// The documentation as one line.
    pub fn meaning(&self) -> String {
        let lines: Vec<&str> = self.doc.iter().map(|line| line.trim()).collect();
        lines.join(" ").trim().to_owned()
    }
}

/// Declares a struct of settings: each field with its meaning, type and default.
///
/// ```
/// node::settings! {
///     /// What this node is set to.
///     pub struct Config {
///         /// The unique name of this node.
///         name: String = node::config::host_name() => "host name",
///         /// Where it listens.
///         listen: Vec<std::net::SocketAddr> = vec!["0.0.0.0:5060".parse().expect("an address")],
///         /// How long to wait for an answer.
///         patience: node::config::Span = node::config::Span::from_secs(2),
///     }
/// }
///
/// let vars = [("EDGE_LISTEN", "127.0.0.1:5060,[::1]:5060"), ("EDGE_NAME", "12345")]
///     .map(|(name, value)| (name.to_owned(), value.to_owned()));
/// let config: Config = node::config::load_from("EDGE_", vars)?;
/// assert_eq!(config.name, "12345");
/// assert_eq!(config.listen.len(), 2);
/// # Ok::<(), node::config::ConfigError>(())
/// ```
///
/// The fields are as visible as the struct. The text after `=>` is what the manual says about the default where the value itself differs between machines.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        $visible:vis struct $Name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $Type:ty = $default:expr $(=> $words:literal)?
            ),+ $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        $visible struct $Name {
            $(
                $(#[doc = $doc])+
                $visible $field: $Type,
            )+
        }

        impl ::std::default::Default for $Name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::config::Settings for $Name {
            const FIELDS: &'static [$crate::config::Field] = &[$(
                $crate::config::Field {
                    name: ::std::stringify!($field),
                    doc: &[$($doc),+],
                    default: $crate::settings!(@words $($words)?),
                    secret: <$Type as $crate::config::Setting>::SECRET,
                    optional: <$Type as $crate::config::Setting>::OPTIONAL,
                },
            )+];

            fn read(
                &mut self,
                name: &str,
                raw: &$crate::config::Raw,
            ) -> ::std::result::Result<(), ::std::string::String> {
                match name {
                    $(::std::stringify!($field) => self.$field = $crate::config::Setting::read(raw)?,)+
                    _ => return ::std::result::Result::Err("no such setting".to_owned()),
                }
                ::std::result::Result::Ok(())
            }

            fn show(&self) -> ::std::vec::Vec<::std::string::String> {
                ::std::vec![$($crate::config::Setting::show(&self.$field)),+]
            }
        }
    };
    (@words) => { ::std::option::Option::None };
    (@words $words:literal) => { ::std::option::Option::Some($words) };
}
