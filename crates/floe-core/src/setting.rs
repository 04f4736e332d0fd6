//! Settings and options: their notation, their bounds, and tables of them.
//!
//! A table made by [`section!`](crate::section) is a struct with public fields, whose values a program sets, and the parser of
//! the same values from text, for URLs, files and variables. Both are checked by [`Section::check`].
//!
//! ```
//! use floe_core::{section, setting::{Section, between, positive}};
//!
//! section! {
//!     /// Options of an example.
//!     example: ExampleOptions {
//!         /// Items in flight.
//!         window: u32 = 8, between(1, 64);
//!         /// Time for a reply.
//!         request_timeout: std::time::Duration = std::time::Duration::from_secs(5), positive;
//!     }
//! }
//!
//! let options = ExampleOptions::from_url(&"memory:?window=4".parse()?)?;
//! assert_eq!(options, ExampleOptions::default().window(4_u32));
//! assert!(ExampleOptions::default().window(0_u32).check().is_err());
//! # Ok::<(), floe_core::Error>(())
//! ```

mod value;

use std::fmt;

pub use value::{at_least_one, not_one_of, one_of, positive};

use crate::{Error, ErrorKind, Result, url::EngineUrl};

/// A value that is written as text in URLs, files and variables.
pub trait Setting: Sized {
    /// Returns the accepted values, for the reference and for messages.
    fn form() -> String;

    /// Parses the text.
    ///
    /// # Errors
    /// The accepted values, in words.
    fn read(text: &str) -> Result<Self, String>;

    /// Prints the value in the notation of [`Setting::read`], except for secrets.
    fn show(&self) -> String;

    /// Whether the value may be a secret, which messages leave out.
    #[must_use]
    fn is_secret() -> bool {
        false
    }
}

/// Documentation of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingInfo {
    /// Its section.
    pub section: &'static str,
    /// Its name inside the section.
    pub name: &'static str,
    /// Accepted values.
    pub form: String,
    /// Its default, in the notation of a file.
    pub default: String,
    /// Its effect.
    pub meaning: String,
    /// Whether its value may be a secret.
    pub is_secret: bool,
}

impl SettingInfo {
    /// Describes a setting with values of type `T`.
    pub fn new<T: Setting>(section: &'static str, name: &'static str, default: &T, meaning: &[&str]) -> Self {
        let meaning = meaning.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        Self { section, name, form: T::form(), default: default.show(), meaning, is_secret: T::is_secret() }
    }
}

/// Two settings of a section whose values cannot hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contradiction {
    /// The names inside the section.
    pub names: [&'static str; 2],
    /// Why they contradict each other.
    pub why: String,
}

impl Contradiction {
    /// Creates a contradiction between two settings.
    pub fn new(one: &'static str, other: &'static str, why: impl Into<String>) -> Self {
        Self { names: [one, other], why: why.into() }
    }
}

/// A named table of settings; [`section!`](crate::section) makes one.
pub trait Section: Clone + Default + PartialEq {
    /// Name of the section in files and variables.
    const SECTION: &'static str;

    /// The lines of its documentation.
    const ABOUT: &'static [&'static str];

    /// Names of the settings.
    const NAMES: &'static [&'static str];

    /// The names with that of the section: `section.name`.
    const KEYS: &'static [&'static str];

    /// Parses one setting.
    ///
    /// # Errors
    /// The accepted values, in words.
    fn set(&mut self, name: &str, text: &str) -> Result<(), String>;

    /// Prints one setting; `None` for an unknown name.
    fn show(&self, name: &str) -> Option<String>;

    /// Returns the first setting with a value that cannot work, and why.
    fn problem(&self) -> Option<(&'static str, String)>;

    /// Returns two settings that cannot hold together.
    fn contradiction(&self) -> Option<Contradiction>;

    /// Copies the settings that differ from their defaults, and returns their names.
    fn overlay(&self, under: &mut Self) -> Vec<&'static str>;

    /// Returns the documentation of all settings.
    fn reference() -> Vec<SettingInfo>;

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the setting.
    fn check(&self) -> Result<()> {
        if let Some((name, problem)) = self.problem() {
            let value = self.show(name).unwrap_or_default();
            return Err(invalid(format!("{name} is {value}: {problem}")));
        }
        match self.contradiction() {
            None => Ok(()),
            Some(Contradiction { names: [one, other], why }) => {
                Err(invalid(format!("{one} and {other} contradict each other: {why}")))
            }
        }
    }

    /// Reads the options of a URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an unknown option and for a value that cannot work.
    fn from_url(url: &EngineUrl) -> Result<Self> {
        url.check_options(Self::NAMES)?;
        let mut options = Self::default();
        for (name, text) in &url.options {
            options.set(name, text).map_err(|problem| {
                let secret = Self::reference().iter().any(|info| info.name == name && info.is_secret);
                let shown = if secret { "***".to_owned() } else { format!("{text:?}") };
                invalid(format!("option {name}={shown}: {problem}"))
            })?;
        }
        options.check()?;
        Ok(options)
    }
}

/// Makes a table of settings: a struct with the fields, and its [`Section`]. Each line has the type, the default, and a
/// function that tells the problem of a value, such as [`any`] or [`positive`]. A name after the table is a function that finds
/// a [`Contradiction`].
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $section:ident: $type:ident {
            $($(#[doc = $meaning:literal])* $name:ident: $value:ty = $default:expr, $check:expr;)*
        }
        $(where $rule:path)?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $type {
            $($(#[doc = $meaning])* pub $name: $value,)*
        }

        impl Default for $type {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl $type {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](field@Self::", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: impl Into<$value>) -> Self {
                    self.$name = $name.into();
                    self
                }
            )*
        }

        impl $crate::setting::Section for $type {
            const SECTION: &'static str = stringify!($section);
            const ABOUT: &'static [&'static str] = &[$($about),*];
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
            const KEYS: &'static [&'static str] =
                &[$(concat!(stringify!($section), ".", stringify!($name))),*];

            fn set(&mut self, name: &str, text: &str) -> ::std::result::Result<(), String> {
                match name {
                    $(stringify!($name) => {
                        let value = <$value as $crate::setting::Setting>::read(text)?;
                        let problem: Option<String> = ($check)(&value);
                        match problem {
                            Some(problem) => return Err(problem),
                            None => self.$name = value,
                        }
                    })*
                    _ => return Err("unknown setting".to_owned()),
                }
                Ok(())
            }

            fn show(&self, name: &str) -> Option<String> {
                match name {
                    $(stringify!($name) => Some($crate::setting::Setting::show(&self.$name)),)*
                    _ => None,
                }
            }

            fn problem(&self) -> Option<(&'static str, String)> {
                $(
                    let problem: Option<String> = ($check)(&self.$name);
                    if let Some(problem) = problem {
                        return Some((stringify!($name), problem));
                    }
                )*
                None
            }

            fn contradiction(&self) -> Option<$crate::setting::Contradiction> {
                None$(.or_else(|| $rule(self)))?
            }

            fn overlay(&self, under: &mut Self) -> Vec<&'static str> {
                let default = Self::default();
                let mut names = Vec::new();
                $(if self.$name != default.$name {
                    under.$name.clone_from(&self.$name);
                    names.push(stringify!($name));
                })*
                names
            }

            fn reference() -> Vec<$crate::setting::SettingInfo> {
                let default = Self::default();
                vec![$($crate::setting::SettingInfo::new(
                    stringify!($section), stringify!($name), &default.$name, &[$($meaning),*],
                )),*]
            }
        }
    };
}

/// Implements [`Setting`] for types whose values are one of several words.
#[macro_export]
macro_rules! words {
    ($($type:ty { $($word:literal = $value:expr,)* })*) => {$(
        impl $crate::setting::Setting for $type {
            fn form() -> String {
                $crate::setting::one_of(&[$($word),*])
            }

            fn read(text: &str) -> ::std::result::Result<Self, String> {
                match text {
                    $($word => Ok($value),)*
                    _ => Err($crate::setting::not_one_of(text, &[$($word),*])),
                }
            }

            fn show(&self) -> String {
                [$(($value, $word)),*]
                    .into_iter()
                    .find(|(value, _)| value == self)
                    .map_or_else(|| format!("{self:?}"), |(_, word)| word.to_owned())
            }
        }
    )*};
}

/// Accepts all values.
pub fn any<T>(_: &T) -> Option<String> {
    None
}

/// Refuses values outside of a range.
pub fn between<T: Setting + PartialOrd>(low: T, high: T) -> impl Fn(&T) -> Option<String> {
    move |value| {
        let outside = *value < low || *value > high;
        outside.then(|| format!("it must be from {} to {}", low.show(), high.show()))
    }
}

/// Applies a check where there is a value.
pub fn if_some<T>(check: impl Fn(&T) -> Option<String>) -> impl Fn(&Option<T>) -> Option<String> {
    move |value| value.as_ref().and_then(&check)
}

fn invalid(problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem.to_string())
}
