//! Names in a request that no handler asks for: most often a misspelt name of one that is.

use std::str::FromStr;

use crate::problem::FieldError;

/// Most unknown names of one request that its answer tells of.
const MAX_TOLD: usize = 20;
/// Longest name that is quoted and compared, in characters.
const MAX_NAME: usize = 40;

/// What becomes of a request with a name that is not known (`UNKNOWN_FIELDS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is refused, so that `{"dryrun": true}` makes no phone ring.
    #[default]
    Refuse,
    /// The name is passed over, for clients of the old service that send more than it read.
    Ignore,
}

/// The text is not a value of `UNKNOWN_FIELDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be refuse or ignore")]
pub struct InvalidUnknownFields;

impl FromStr for UnknownFields {
    type Err = InvalidUnknownFields;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "ignore" => Ok(Self::Ignore),
            _ => Err(InvalidUnknownFields),
        }
    }
}

/// Where a name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a body whose fields are known.
    Body,
    /// In a query whose parameters are known.
    Query,
    /// In the query of a request that takes no parameters; known are the fields of its body.
    QueryOfBody,
}

impl UnknownFields {
    /// What is wrong with `names`, none of which is among `known`. Nothing if unknown names are
    /// ignored; at most 20 of them are told of.
    pub fn judge<'a>(
        self,
        names: impl Iterator<Item = &'a str>,
        known: &[&str],
        place: Place,
    ) -> Vec<FieldError> {
        match self {
            Self::Ignore => Vec::new(),
            Self::Refuse => names
                .take(MAX_TOLD)
                .map(|name| FieldError {
                    field: shortened(name),
                    detail: detail(name, known, place),
                })
                .collect(),
        }
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// What is wrong with one name.
fn detail(name: &str, known: &[&str], place: Place) -> String {
    let is = match place {
        Place::Body => "is not a field of this request",
        Place::Query => "is not a parameter of this request",
        Place::QueryOfBody => {
            if known.contains(&name) {
                return "is not a parameter: it belongs in the body".to_owned();
            }
            "is not a parameter of this request, which takes none"
        }
    };
    match nearest(name, known) {
        Some(near) if place == Place::QueryOfBody => {
            format!("{is}: did you mean {near}, in the body?")
        }
        Some(near) => format!("{is}: did you mean {near}?"),
        None => {
            let mut all = known.to_vec();
            all.sort_unstable();
            format!("{is}; known are {}", all.join(", "))
        }
    }
}

/// The known name that `name` is most likely meant to be, if any is near enough.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = squashed(name);
    let (distance, near) = known
        .iter()
        .map(|known| (likeness(&name, &squashed(known)), *known))
        .min()?;
    (distance <= 1 + name.len() / 4).then_some(near)
}

/// A name without what spellings differ in: `dryRun`, `dry-run` and `dry_run` are one.
fn squashed(name: &str) -> Vec<char> {
    name.chars()
        .take(MAX_NAME)
        .filter(|c| !matches!(c, '_' | '-' | ' ' | '.'))
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// How far apart two names are: less is nearer.
fn likeness(name: &[char], known: &[char]) -> usize {
    let within = |part: &[char], whole: &[char]| {
        part.len() >= 3 && whole.windows(part.len()).any(|window| window == part)
    };
    // `exten` for `extension`, `ring_timeout` for `timeout`.
    if name != known && (within(name, known) || within(known, name)) {
        return 1;
    }
    distance(name, known)
}

/// The Damerau-Levenshtein distance (optimal string alignment): how many characters have to be
/// put in, taken out, replaced, or exchanged with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut fewest = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                fewest = fewest.min(before_last[j - 1] + 1);
            }
            row.push(fewest);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 11] = [
        "phone_number",
        "context",
        "extension",
        "priority",
        "timeout",
        "caller_id",
        "variables",
        "media",
        "max_duration",
        "queue_timeout",
        "dry_run",
    ];

    #[test]
    fn a_misspelt_name_is_recognised() {
        for (name, meant) in [
            ("dryrun", "dry_run"),
            ("dryRun", "dry_run"),
            ("dry-run", "dry_run"),
            ("dry_rnu", "dry_run"),
            ("dry", "dry_run"),
            ("phoneNumber", "phone_number"),
            ("number", "phone_number"),
            ("timout", "timeout"),
            ("ring_timeout", "timeout"),
            ("exten", "extension"),
            ("callerid", "caller_id"),
            ("variable", "variables"),
            ("Media", "media"),
            ("max_durations", "max_duration"),
        ] {
            assert_eq!(nearest(name, &KNOWN), Some(meant), "{name}");
        }
        for name in ["", "x", "to", "campaign", "é", &"dry_run".repeat(10_000)] {
            let near = nearest(name, &KNOWN);
            assert!(near.is_none() || name.len() > 100, "{name}: {near:?}");
        }
    }

    #[test]
    fn the_distance_counts_single_mistakes() {
        let of = |a: &str, b: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            distance(&chars(a), &chars(b))
        };
        for (a, b, wanted) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((of(a, b), of(b, a)), (wanted, wanted), "{a} {b}");
        }
    }

    #[test]
    fn what_is_told_is_bounded_and_names_what_is_known() {
        let names: Vec<String> = (0..1_000)
            .map(|n| format!("{n}{}", "é".repeat(50)))
            .collect();
        let names = || names.iter().map(String::as_str);
        let told = UnknownFields::Refuse.judge(names(), &KNOWN, Place::Body);
        assert_eq!(told.len(), MAX_TOLD);
        assert!(
            told.iter()
                .all(|one| one.field.chars().count() <= MAX_NAME + 1)
        );
        assert!(told[0].detail.contains("known are caller_id, context"));
        let told = UnknownFields::Ignore.judge(names(), &KNOWN, Place::Body);
        assert_eq!(told, []);
        let told = |name, place| {
            let told = UnknownFields::Refuse.judge(std::iter::once(name), &KNOWN, place);
            told[0].detail.clone()
        };
        for (name, place, wanted) in [
            ("dryrun", Place::Body, "did you mean dry_run?"),
            (
                "dryrun",
                Place::QueryOfBody,
                "did you mean dry_run, in the body?",
            ),
            ("dry_run", Place::QueryOfBody, "it belongs in the body"),
        ] {
            let detail = told(name, place);
            assert!(detail.ends_with(wanted), "{detail}");
        }
    }
}
