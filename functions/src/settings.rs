//! The functions' configuration: each function reads only the part it needs.

use std::fmt;
use std::time::Duration;

use cloud::Secret;
use cloud::kept_keys::KeyPair;
use cloud::rate_limit::RateLimit;
use cloud::settings::Reader;
use domain::asterisk_variables::is_read_by_asterisk;
use domain::{
    AllowedNumbers, AllowedVariables, CallerId, Context, DialplanTarget, EndpointTemplate,
    Extension, Priority, Variables,
};

use crate::unknown::UnknownFields;

/// How tokens are signed and checked.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// `SECRET_KEY`, and `SECRET_KEY_PREVIOUS`, which still verifies.
    pub keys: KeyPair,
    /// `JWT_ISSUER`
    pub issuer: Option<String>,
    /// `JWT_AUDIENCE`
    pub audience: Option<String>,
    /// `ACCESS_TOKEN_EXPIRE_MINUTES`
    pub token_lifetime: Duration,
}

/// The same, of a function whose keys are kept in Secrets Manager.
#[derive(Clone, Debug)]
pub enum JwtSource {
    /// `SECRET_KEY` is set.
    Given(JwtSettings),
    /// `SECRET_KEY_ARN` is set.
    Kept {
        /// Names the secret.
        arn: String,
        /// All but its keys.
        claims: ClaimSettings,
    },
}

/// What tokens say besides.
#[derive(Clone, Debug)]
pub struct ClaimSettings {
    issuer: Option<String>,
    audience: Option<String>,
    token_lifetime: Duration,
}

impl JwtSource {
    /// Reads the settings.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let Some(arn) = reader.text("SECRET_KEY_ARN") else {
            return JwtSettings::read(reader).map(Self::Given);
        };
        if reader.text("SECRET_KEY").is_some() {
            reader.reject("SECRET_KEY", "and SECRET_KEY_ARN are both set");
            return None;
        }
        let claims = ClaimSettings::read(reader);
        Some(Self::Kept { arn, claims })
    }
}

impl ClaimSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        let minutes = reader.number("ACCESS_TOKEN_EXPIRE_MINUTES", 30, 1, 7 * 24 * 60);
        Self {
            issuer: reader.text("JWT_ISSUER"),
            audience: reader.text("JWT_AUDIENCE"),
            token_lifetime: Duration::from_secs(minutes * 60),
        }
    }

    /// With these keys.
    #[must_use]
    pub fn with(self, keys: KeyPair) -> JwtSettings {
        JwtSettings {
            keys,
            issuer: self.issuer,
            audience: self.audience,
            token_lifetime: self.token_lifetime,
        }
    }
}

/// Shortest key, in bytes: RFC 7518, section 3.2 asks for the hash's size.
const MIN_KEY_LENGTH: usize = 32;

/// What examples and templates put where a key belongs.
const PLACEHOLDERS: [&str; 6] = [
    "changeme",
    "change-me",
    "change_me",
    "your-secret",
    "your_secret",
    "placeholder",
];

impl JwtSettings {
    /// Reads the settings.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let debug = reader.flag("DEBUG", false);
        let secret_key = read_key(reader, "SECRET_KEY", debug);
        if secret_key.is_none() && reader.text("SECRET_KEY").is_none() {
            reader.reject("SECRET_KEY", "is not set");
        }
        let previous = read_key(reader, "SECRET_KEY_PREVIOUS", debug);
        let claims = ClaimSettings::read(reader);
        let current = secret_key?;
        Some(claims.with(KeyPair { current, previous }))
    }
}

fn read_key(reader: &mut Reader<'_>, name: &str, debug: bool) -> Option<Secret> {
    let key = Secret::new(reader.text(name)?);
    match check_key(&key, debug) {
        Ok(()) => Some(key),
        Err(problem) => {
            reader.reject(name, problem);
            None
        }
    }
}

/// Whether a key is good enough; if not, completes the sentence that begins with its name.
fn check_key(key: &Secret, debug: bool) -> Result<(), &'static str> {
    let lower = key.expose().to_ascii_lowercase();
    let is_in = |placeholder: &&str| lower.contains(*placeholder);
    if debug {
        Ok(())
    } else if PLACEHOLDERS.iter().any(is_in) {
        Err("is a placeholder: make one with `openssl rand -base64 48`")
    } else if key.expose().len() < MIN_KEY_LENGTH {
        Err("has fewer than 32 bytes: make one with `openssl rand -base64 48`")
    } else {
        Ok(())
    }
}

/// The keys of a pair that are good enough, wherever the pair comes from. A weak previous key is left
/// out: it was put there by mistake, and whoever guesses it could sign tokens until the next change.
///
/// # Errors
/// What is wrong with the current key; completes the sentence that begins with its name.
pub fn check_pair(keys: KeyPair, debug: bool) -> Result<KeyPair, &'static str> {
    check_key(&keys.current, debug)?;
    let previous = keys.previous.filter(|key| {
        let checked = check_key(key, debug);
        if let Err(problem) = checked {
            tracing::error!(problem, "the previous key is not trusted");
        }
        checked.is_ok()
    });
    Ok(KeyPair {
        current: keys.current,
        previous,
    })
}

/// Reads `RATE_LIMIT_REQUESTS` and `RATE_LIMIT_WINDOW` (seconds).
pub fn read_rate_limit(reader: &mut Reader<'_>) -> RateLimit {
    let requests = reader.number("RATE_LIMIT_REQUESTS", 10, 1, 1_000_000);
    let window = reader.number("RATE_LIMIT_WINDOW", 60, 1, 24 * 3_600);
    RateLimit {
        requests: u32::try_from(requests).unwrap_or(u32::MAX),
        window: Duration::from_secs(window),
    }
}

/// Most calls that a user may be limited to in a day.
const MOST_DAILY_CALLS: u64 = 100_000_000;

/// Reads `MAX_CALLS_PER_USER_PER_DAY`: nothing unless it is set to more than 0.
pub fn read_daily_calls(reader: &mut Reader<'_>) -> Option<u32> {
    let calls = reader.number("MAX_CALLS_PER_USER_PER_DAY", 0, 0, MOST_DAILY_CALLS);
    u32::try_from(calls).ok().filter(|calls| *calls > 0)
}

/// Reads `UNKNOWN_FIELDS`: `refuse` unless it is `ignore`.
pub fn read_unknown(reader: &mut Reader<'_>) -> UnknownFields {
    reader.or("UNKNOWN_FIELDS", UnknownFields::Refuse)
}

/// Reads `RETENTION_DAYS`: how long calls are remembered.
pub fn read_retention(reader: &mut Reader<'_>) -> Duration {
    Duration::from_hours(24 * reader.number("RETENTION_DAYS", 90, 1, 3_650))
}

/// Which of the optional pages are there.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// `DOCS_ENABLED`: `/docs`, `/redoc` and `/openapi.json`.
    pub docs: bool,
    /// `METRICS_ENABLED`: `/metrics`.
    pub metrics: bool,
}

impl Pages {
    /// Reads the settings.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            docs: reader.flag("DOCS_ENABLED", true),
            metrics: reader.flag("METRICS_ENABLED", true),
        }
    }
}

/// What a call gets that its request does not say.
#[derive(Clone, Debug)]
pub struct CallDefaults {
    /// `DIAL_ENDPOINT`: how a number becomes an endpoint.
    pub dial_endpoint: EndpointTemplate,
    /// `DEFAULT_CONTEXT`, `DEFAULT_EXTENSION`, `DEFAULT_PRIORITY`
    pub target: DialplanTarget,
    /// `ALLOWED_CONTEXTS`: those that a client may ask for, besides the default; any if it is `*` or not set.
    pub allowed_contexts: Option<Vec<Context>>,
    /// `ALLOWED_NUMBERS`: what numbers that may be called begin with; all if it is not set.
    pub allowed_numbers: AllowedNumbers,
    /// `ALLOWED_VARIABLES`: which variables a request may set.
    pub allowed_variables: AllowedVariables,
    /// `DEFAULT_TIMEOUT`, in milliseconds: how long it may ring.
    pub dial_timeout: Duration,
    /// `DEFAULT_CALLER_ID`
    pub caller_id: Option<CallerId>,
    /// `QUEUE_TIMEOUT`, in milliseconds: how long it may wait for a bridge.
    pub queue_timeout: Duration,
    /// `RETENTION_DAYS`: how long it is remembered.
    pub retention: Duration,
    /// `UNKNOWN_FIELDS`: what becomes of a request with names that are not known.
    pub unknown: UnknownFields,
}

/// Least and most milliseconds that a phone may ring.
pub const DIAL_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1_000..=600_000;

/// Least and most milliseconds that a call may wait for a bridge; SQS keeps messages for 14 days.
pub const QUEUE_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1_000..=14 * 24 * 3_600_000;
/// Least and most seconds that a client may limit an answered call to.
pub const MAX_DURATION_S: std::ops::RangeInclusive<u64> = 1..=24 * 3_600;

impl CallDefaults {
    /// Reads the settings.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let dial_endpoint =
            or_text::<EndpointTemplate>(reader, "DIAL_ENDPOINT", "Local/{number}@{context}/n");
        let context = or_text::<Context>(reader, "DEFAULT_CONTEXT", "outbound-ivr");
        let extension = or_text::<Extension>(reader, "DEFAULT_EXTENSION", "s");
        let allowed_contexts = read_contexts(reader);
        let allowed_numbers = reader.optional("ALLOWED_NUMBERS").unwrap_or_default();
        let allowed_variables = reader.optional("ALLOWED_VARIABLES").unwrap_or_default();
        let priority = reader.number("DEFAULT_PRIORITY", 1, 1, i32::MAX.unsigned_abs().into());
        let dial_timeout = reader.number(
            "DEFAULT_TIMEOUT",
            30_000,
            *DIAL_TIMEOUT_MS.start(),
            *DIAL_TIMEOUT_MS.end(),
        );
        let caller_id = reader.optional("DEFAULT_CALLER_ID");
        let queue_timeout = reader.number(
            "QUEUE_TIMEOUT",
            300_000,
            *QUEUE_TIMEOUT_MS.start(),
            *QUEUE_TIMEOUT_MS.end(),
        );
        let retention = read_retention(reader);
        let unknown = read_unknown(reader);
        Some(Self {
            dial_endpoint: dial_endpoint?,
            target: DialplanTarget {
                context: context?,
                extension: extension?,
                priority: i64::try_from(priority)
                    .ok()
                    .and_then(|number| Priority::try_from(number).ok())?,
            },
            allowed_contexts,
            allowed_numbers,
            allowed_variables,
            dial_timeout: Duration::from_millis(dial_timeout),
            caller_id,
            queue_timeout: Duration::from_millis(queue_timeout),
            retention,
            unknown,
        })
    }

    /// Whether a client may ask for this context.
    #[must_use]
    pub fn allows(&self, context: &Context) -> bool {
        let allowed = self.allowed_contexts.as_ref();
        *context == self.target.context || allowed.is_none_or(|allowed| allowed.contains(context))
    }

    /// What is wrong with the names of a request's variables, each as the end of a sentence.
    #[must_use]
    pub fn forbidden_variables(&self, variables: &Variables) -> Vec<String> {
        let names = variables.get().keys();
        let problem = |name: &String| {
            if is_read_by_asterisk(name) {
                Some(format!("must not have {name}: Asterisk itself obeys it"))
            } else if self.allowed_variables.allow(name) {
                None
            } else {
                Some(format!(
                    "must not have {name}: ALLOWED_VARIABLES does not list it"
                ))
            }
        };
        names.filter_map(problem).collect()
    }
}

/// Names with commas between them.
fn read_contexts(reader: &mut Reader<'_>) -> Option<Vec<Context>> {
    let text = reader
        .text("ALLOWED_CONTEXTS")
        .filter(|text| text.trim() != "*")?;
    let contexts: Result<Vec<Context>, _> =
        text.split(',').map(|name| name.trim().parse()).collect();
    contexts
        .map_err(|problem| {
            reader.reject("ALLOWED_CONTEXTS", format_args!("holds one that {problem}"));
        })
        .ok()
}

/// The value of `name`, or `default`, which is parsed alike.
fn or_text<T>(reader: &mut Reader<'_>, name: &str, default: &str) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    if reader.text(name).is_some() {
        reader.optional(name)
    } else {
        default.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read<T>(
        values: &[(&str, &str)],
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Result<T, String> {
        let source: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut reader = Reader::new(&source);
        let built = read(&mut reader);
        reader.finish(built).map_err(|error| error.to_string())
    }

    #[test]
    fn a_weak_key_is_refused_unless_debugging() {
        let long_placeholder = "changeme-changeme-changeme-changeme";
        for key in ["", "short", long_placeholder] {
            let error = read(&[("SECRET_KEY", key)], JwtSettings::read).unwrap_err();
            assert!(error.contains("SECRET_KEY"), "{error}");
            assert!(key.is_empty() || !error.contains(key), "{error}");
        }
        assert!(
            read(
                &[("SECRET_KEY", "short"), ("DEBUG", "true")],
                JwtSettings::read
            )
            .is_ok()
        );
        let good = "0123456789abcdef0123456789abcdef";
        let settings = read(&[("SECRET_KEY", good)], JwtSettings::read).unwrap();
        assert!(!format!("{settings:?}").contains(good));
    }

    #[test]
    fn a_weak_previous_key_is_trusted_nowhere() {
        let good = || Secret::new("0123456789abcdef0123456789abcdef".to_owned());
        let pair = |current, previous| KeyPair {
            current,
            previous: Some(Secret::new(previous)),
        };
        for weak in ["changeme", "short", "changeme-changeme-changeme-changeme"] {
            let kept = check_pair(pair(good(), weak.to_owned()), false).unwrap();
            assert!(kept.previous.is_none(), "{weak}");
            let current = Secret::new(weak.to_owned());
            assert!(check_pair(pair(current, good().expose().to_owned()), false).is_err());
        }
        let both = check_pair(pair(good(), good().expose().to_owned()), false).unwrap();
        assert!(both.previous.is_some());
    }

    #[test]
    fn defaults_are_those_of_the_service_this_replaces() {
        let defaults = read(&[], CallDefaults::read).unwrap();
        assert_eq!(defaults.target.context.as_str(), "outbound-ivr");
        assert_eq!(defaults.target.extension.as_str(), "s");
        assert_eq!(defaults.target.priority.get(), 1);
        assert_eq!(defaults.dial_timeout, Duration::from_secs(30));
        assert_eq!(defaults.unknown, UnknownFields::Refuse);
        let lenient = read(&[("UNKNOWN_FIELDS", "ignore")], CallDefaults::read).unwrap();
        assert_eq!(lenient.unknown, UnknownFields::Ignore);
    }

    #[test]
    fn only_listed_contexts_may_be_asked_for_once_there_is_a_list() {
        let allows = |values: &[(&str, &str)], context: &str| {
            let defaults = read(values, CallDefaults::read).unwrap();
            defaults.allows(&context.parse().unwrap())
        };
        assert!(allows(&[], "internal"));
        assert!(allows(&[("ALLOWED_CONTEXTS", "*")], "internal"));
        let listed = [("ALLOWED_CONTEXTS", "survey, reminder")];
        for (context, allowed) in [
            ("survey", true),
            ("reminder", true),
            ("outbound-ivr", true),
            ("internal", false),
        ] {
            assert_eq!(allows(&listed, context), allowed, "{context}");
        }
        let wrong = [("ALLOWED_CONTEXTS", "survey, a b")];
        let error = read(&wrong, CallDefaults::read).unwrap_err();
        assert!(error.contains("ALLOWED_CONTEXTS"), "{error}");
    }

    #[test]
    fn calls_per_user_and_day_are_not_limited_unless_a_limit_is_set() {
        let limit = |values: &[(&str, &str)]| read(values, |reader| Some(read_daily_calls(reader)));
        assert_eq!(limit(&[]), Ok(None));
        let name = "MAX_CALLS_PER_USER_PER_DAY";
        assert_eq!(limit(&[(name, "0")]), Ok(None));
        assert_eq!(limit(&[(name, "200")]), Ok(Some(200)));
        assert!(limit(&[(name, "-1")]).unwrap_err().contains(name));
    }

    #[test]
    fn every_wrong_default_is_named() {
        let wrong = [
            ("DIAL_ENDPOINT", "PJSIP/trunk"),
            ("DEFAULT_CONTEXT", "a,b"),
            ("DEFAULT_PRIORITY", "0"),
            ("DEFAULT_TIMEOUT", "soon"),
            ("DEFAULT_CALLER_ID", "<"),
            ("ALLOWED_NUMBERS", "Germany"),
            ("ALLOWED_VARIABLES", "CALLERID(num)"),
            ("RETENTION_DAYS", "0"),
            ("UNKNOWN_FIELDS", "deny"),
        ];
        let error = read(&wrong, CallDefaults::read).err().unwrap();
        for (name, _) in wrong {
            assert!(error.contains(name), "{error}");
        }
    }
}
