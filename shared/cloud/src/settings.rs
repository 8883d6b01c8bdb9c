//! Reading the configuration: once, from the environment, all errors at once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::Secret;

/// Where settings come from: the environment in production, a map in tests.
pub trait Source {
    /// The value of `name`; an empty one counts as not set.
    fn get(&self, name: &str) -> Option<String>;
}

/// The process's environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment;

impl Source for Environment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

impl Source for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name)
            .filter(|value| !value.is_empty())
            .cloned()
    }
}

/// The exit status of a program whose configuration is wrong: `EX_USAGE` of sysexits(3).
pub const EXIT_USAGE: u8 = 64;

/// Everything that is wrong with the configuration, one line each. Values are never
/// quoted: they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidSettings(Vec<String>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid:")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// Reads settings and collects what is wrong with them.
pub struct Reader<'a> {
    source: &'a dyn Source,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Begins with no problems.
    #[must_use]
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            problems: Vec::new(),
        }
    }

    /// Notes that `name` is wrong: `problem` completes the sentence "NAME …".
    pub fn reject(&mut self, name: &str, problem: impl fmt::Display) {
        self.problems.push(format!("{name} {problem}"));
    }

    /// The value of `name` as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.source.get(name)
    }

    /// The value of `name`, which may be absent but not wrong.
    pub fn optional<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.source.get(name)?.parse() {
            Ok(value) => Some(value),
            Err(problem) => {
                self.reject(name, problem);
                None
            }
        }
    }

    /// The value of `name`, which must be there.
    pub fn required<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if self.source.get(name).is_none() {
            self.reject(name, "is not set");
            return None;
        }
        self.optional(name)
    }

    /// The value of `name`, or `default`.
    pub fn or<T>(&mut self, name: &str, default: T) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.optional(name).unwrap_or(default)
    }

    /// The secret `name`: its value, or what is in the file that `name_FILE` names, without one newline at its end.
    /// One of the two must be there.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let file_name = format!("{name}_FILE");
        let (value, path) = (self.source.get(name), self.source.get(&file_name));
        match (value, path) {
            (Some(value), None) => Some(Secret::new(value)),
            (None, Some(path)) => self.secret_file(&file_name, &path),
            (Some(_), Some(_)) => {
                self.reject(name, format_args!("and {file_name} are both set"));
                None
            }
            (None, None) => {
                self.reject(name, format_args!("is not set, nor is {file_name}"));
                None
            }
        }
    }

    fn secret_file(&mut self, name: &str, path: &str) -> Option<Secret> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.reject(name, format_args!("cannot be read: {}", error.kind()));
                return None;
            }
        };
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        if secret.is_empty() {
            self.reject(name, "is an empty file");
            return None;
        }
        Some(Secret::new(secret.to_owned()))
    }

    /// A whole number between `least` and `most`, or `default`.
    pub fn number(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let Some(text) = self.source.get(name) else {
            return default;
        };
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                self.reject(
                    name,
                    format_args!("must be a whole number from {least} to {most}"),
                );
                default
            }
        }
    }

    /// A switch: `true`, `false`, `1`, `0`, `yes`, `no`, `on`, `off`, in any case.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        let Some(text) = self.source.get(name) else {
            return default;
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.reject(name, "must be true or false");
                default
            }
        }
    }

    /// What was built from the settings, unless any of them was wrong.
    ///
    /// # Errors
    /// All problems together.
    pub fn finish<T>(self, built: Option<T>) -> Result<T, InvalidSettings> {
        match built {
            Some(built) if self.problems.is_empty() => Ok(built),
            _ => Err(InvalidSettings(self.problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_its_variable_or_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let read = |given: &[(&str, &str)]| {
            let source: BTreeMap<String, String> = given
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let mut reader = Reader::new(&source);
            let secret = reader.secret("KEY");
            let secret = reader.finish(secret).map_err(|error| error.to_string())?;
            Ok::<_, String>(secret.expose().to_owned())
        };
        let (file, empty) = (path("file", " hush \n"), path("empty", "\n"));
        assert_eq!(read(&[("KEY", "hush")]).unwrap(), "hush");
        assert_eq!(read(&[("KEY_FILE", &file)]).unwrap(), " hush ");
        for (given, problem) in [
            (vec![], "KEY is not set, nor is KEY_FILE"),
            (
                vec![("KEY", "hush"), ("KEY_FILE", file.as_str())],
                "KEY and KEY_FILE are both set",
            ),
            (vec![("KEY_FILE", "/hush/hush")], "KEY_FILE cannot be read"),
            (
                vec![("KEY_FILE", empty.as_str())],
                "KEY_FILE is an empty file",
            ),
        ] {
            let error = read(&given).unwrap_err();
            assert!(
                error.contains(problem) && !error.contains("hush"),
                "{error}"
            );
        }
    }

    #[test]
    fn all_problems_are_reported_together_and_no_value_is_quoted() {
        let source: BTreeMap<String, String> =
            [("A", "hush"), ("B", "hush"), ("C", "hush"), ("E", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let mut reader = Reader::new(&source);
        reader.number("A", 5, 1, 10);
        reader.flag("B", true);
        reader.optional::<std::net::SocketAddr>("C");
        reader.required::<u8>("D");
        assert_eq!(reader.or("E", 7u8), 7);
        let text = reader.finish(Some(())).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        for name in ["A", "B", "C", "D"] {
            assert!(text.contains(&format!("\n  {name} ")), "{text}");
        }
        assert!(!text.contains("hush"), "{text}");
    }
}
