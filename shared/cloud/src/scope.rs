//! What a token lets its bearer do, and what a user may ask for.

use std::fmt;

/// What a token lets its bearer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Place calls and hang them up.
    CallsWrite,
    /// Read calls.
    CallsRead,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 2] = [Self::CallsWrite, Self::CallsRead];

    /// The scopes of a user whose record names none. A scope that is added to [`Scope::ALL`] later
    /// does not belong here: nobody is granted it who was not given it.
    pub const DEFAULT: [Self; 2] = [Self::CallsWrite, Self::CallsRead];

    /// The scope's name in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallsWrite => "calls:write",
            Self::CallsRead => "calls:read",
        }
    }

    /// The scope with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The names of these scopes with spaces between them, as tokens and records have them.
#[must_use]
pub fn join(scopes: &[Scope]) -> String {
    let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    names.join(" ")
}

/// The scopes that `text` names. Names that are not known are left out: a newer release may have
/// written them.
#[must_use]
pub fn split(text: &str) -> Vec<Scope> {
    let named = |scope: &Scope| text.split(' ').any(|name| name == scope.as_str());
    Scope::ALL.into_iter().filter(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_scopes_has_the_two_of_the_first_release_and_no_later_one() {
        assert_eq!(join(&Scope::DEFAULT), "calls:write calls:read");
    }

    #[test]
    fn scopes_are_joined_and_split() {
        assert_eq!(split("calls:read"), [Scope::CallsRead]);
        assert_eq!(split("calls:read later calls:write"), Scope::ALL);
        assert_eq!(split(""), []);
        for scope in Scope::ALL {
            assert_eq!(split(&join(&[scope])), [scope]);
            assert_eq!(Scope::named(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::named("admin"), None);
    }
}
