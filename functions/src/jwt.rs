//! Access tokens: JWTs (RFC 7519) signed with HS256, checked as RFC 8725 asks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cloud::kept_keys::{KeyPair, key_id};
use cloud::users::check_username;
use cloud::{clock, scope};
use domain::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::hs256;
use crate::settings::JwtSettings;

pub use cloud::scope::Scope;

/// How far another program's clock may be ahead of ours when it says from when on its token is
/// good.
const LEEWAY: Duration = Duration::from_secs(5);

/// The claims of a token that is issued here.
#[derive(Serialize)]
struct Issued<'a> {
    sub: &'a str,
    iat: i64,
    exp: i64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// Seconds since 1970, perhaps with a fraction (`NumericDate`, RFC 7519, section 2).
type NumericDate = f64;

/// The claims of a token that is verified. Issuer and audience are the library's to check.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// It has to be there, but is not compared with the clock: RFC 7519 (section 4.1.6) gives it
    /// for the token's age only. A user's `not_before` is compared with it.
    iat: NumericDate,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    #[serde(default)]
    scope: String,
}

impl Claims {
    /// Whether the token is good at this time.
    ///
    /// A little before `nbf` it is, because the clock of whoever issued it may be ahead of ours.
    /// After `exp` it is not: a client that is refused asks for another, and nothing is gained by
    /// a token that lives longer than it says.
    fn check_times(&self, now: Timestamp) -> Result<(), InvalidToken> {
        if seconds(now) >= self.exp {
            return Err(InvalidToken::Expired);
        }
        let soon = seconds(now.plus(LEEWAY));
        if self.nbf.is_some_and(|nbf| nbf > soon) {
            return Err(InvalidToken::Invalid);
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of thousands of years are exact"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1_000.0
}

/// Who bears a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The token's `sub`, which can be a username.
    pub subject: String,
    /// The second of the token's `iat`, since 1970.
    pub issued_at: i64,
    /// The id of the key that has signed the token, whether the token names it or not.
    pub key_id: String,
    scope: String,
}

impl Bearer {
    /// Whether the token grants `scope`.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scope
            .split(' ')
            .any(|granted| granted == scope.as_str())
    }
}

/// The token is not one of ours, or no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// Anything else. The difference is nobody's business.
    #[error("the access token is not valid")]
    Invalid,
}

/// The token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the access token could not be signed")]
pub struct SigningFailed(#[source] jsonwebtoken::errors::Error);

struct Key {
    id: String,
    decoding: DecodingKey,
}

struct Keys {
    encoding: EncodingKey,
    /// The newest first.
    known: Vec<Key>,
}

impl Keys {
    fn new(keys: &KeyPair) -> Self {
        let known = std::iter::once(&keys.current).chain(&keys.previous);
        Self {
            encoding: EncodingKey::from_secret(keys.current.expose().as_bytes()),
            known: known
                .map(|key| Key {
                    id: key_id(key),
                    decoding: DecodingKey::from_secret(key.expose().as_bytes()),
                })
                .collect(),
        }
    }
}

/// Issues and verifies tokens.
pub struct Jwt {
    keys: RwLock<Arc<Keys>>,
    validation: Validation,
    issuer: Option<String>,
    audience: Option<String>,
    lifetime: Duration,
}

impl Jwt {
    /// With the keys and claims of `settings`.
    #[must_use]
    pub fn new(settings: &JwtSettings) -> Self {
        hs256::install();
        let mut validation = Validation::new(Algorithm::HS256);
        // The times are ours to check: with their fractions, and with a leeway for `nbf` only.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        } else {
            validation.validate_aud = false;
        }
        validation.set_required_spec_claims(&required);
        Self {
            keys: RwLock::new(Arc::new(Keys::new(&settings.keys))),
            validation,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            lifetime: settings.token_lifetime,
        }
    }

    /// Signs and verifies with these keys from now on.
    pub fn set_keys(&self, keys: &KeyPair) {
        let keys = Arc::new(Keys::new(keys));
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the key that a token names is known; a token that names none may be of any.
    #[must_use]
    pub fn knows_key_of(&self, token: &str) -> bool {
        let named = jsonwebtoken::decode_header(token)
            .ok()
            .and_then(|header| header.kid);
        named.is_none_or(|id| self.keys().known.iter().any(|key| key.id == id))
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn signing_key_id(&self) -> String {
        let keys = self.keys();
        keys.known
            .first()
            .map(|key| key.id.clone())
            .unwrap_or_default()
    }

    /// How long a token is valid.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A token for `subject`, signed with the newest key.
    ///
    /// # Errors
    /// [`SigningFailed`] if the claims cannot be written.
    pub fn issue(
        &self,
        subject: &str,
        scopes: &[Scope],
        now: Timestamp,
    ) -> Result<String, SigningFailed> {
        let claims = Issued {
            sub: subject,
            iat: now.as_secs(),
            exp: now.plus(self.lifetime).as_secs(),
            scope: scope::join(scopes),
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
        };
        let keys = self.keys();
        let mut header = Header::new(Algorithm::HS256);
        header.kid = keys.known.first().map(|key| key.id.clone());
        jsonwebtoken::encode(&header, &claims, &keys.encoding).map_err(SigningFailed)
    }

    /// Checks signature, algorithm and every claim of `token`, as of now.
    ///
    /// # Errors
    /// [`InvalidToken`] if any of them is wrong.
    pub fn verify(&self, token: &str) -> Result<Bearer, InvalidToken> {
        self.verify_at(token, clock::now())
    }

    fn verify_at(&self, token: &str, now: Timestamp) -> Result<Bearer, InvalidToken> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| InvalidToken::Invalid)?;
        let mut verdict = InvalidToken::Invalid;
        for key in &self.keys().known {
            // A token without an id may be of any key that is valid now.
            if header.kid.as_ref().is_some_and(|id| *id != key.id) {
                continue;
            }
            let decoded = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation);
            let Ok(claims) = decoded.map(|token| token.claims) else {
                continue;
            };
            match claims.check_times(now) {
                // Nobody has such a name, so nobody could disable its bearer.
                Ok(()) if check_username(&claims.sub).is_err() => {}
                Ok(()) => {
                    return Ok(Bearer {
                        subject: claims.sub,
                        issued_at: whole_seconds(claims.iat),
                        key_id: key.id.clone(),
                        scope: claims.scope,
                    });
                }
                Err(untimely) => verdict = untimely,
            }
        }
        Err(verdict)
    }
}

/// The second that a date is in.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a date beyond the range becomes its end"
)]
fn whole_seconds(date: NumericDate) -> i64 {
    date.floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloud::Secret;

    fn pair(current: &str, previous: Option<&str>) -> KeyPair {
        let secret = |key: &str| Secret::new(key.to_owned());
        KeyPair {
            current: secret(current),
            previous: previous.map(secret),
        }
    }

    #[test]
    fn keys_can_change_while_tokens_are_about() {
        let jwt = Jwt::new(&settings("k1"));
        let token = jwt.issue("alice", &[Scope::CallsRead], now()).unwrap();
        let next = Jwt::new(&settings("k2"));
        let of_next = next.issue("alice", &[Scope::CallsRead], now()).unwrap();
        assert!(jwt.knows_key_of(&token) && !jwt.knows_key_of(&of_next));
        jwt.set_keys(&pair("k2", Some("k1")));
        assert!(jwt.knows_key_of(&of_next));
        assert!(jwt.verify(&token).is_ok() && jwt.verify(&of_next).is_ok());
        jwt.set_keys(&pair("k3", Some("k2")));
        assert_eq!(jwt.verify(&token), Err(InvalidToken::Invalid));
        assert!(jwt.knows_key_of("garbage"));
    }

    fn settings(key: &str) -> JwtSettings {
        JwtSettings {
            keys: pair(key, None),
            issuer: None,
            audience: None,
            token_lifetime: Duration::from_mins(1),
        }
    }

    fn now() -> Timestamp {
        cloud::clock::now()
    }

    #[test]
    fn a_token_carries_its_subject_and_scopes() {
        let jwt = Jwt::new(&settings("k1"));
        let token = jwt.issue("alice", &[Scope::CallsRead], now()).unwrap();
        let bearer = jwt.verify(&token).unwrap();
        assert_eq!(bearer.subject, "alice");
        assert!(bearer.has(Scope::CallsRead) && !bearer.has(Scope::CallsWrite));
    }

    #[test]
    fn expired_tampered_unsigned_and_foreign_tokens_are_refused() {
        let jwt = Jwt::new(&settings("k1"));
        let token = jwt.issue("alice", &Scope::ALL, now()).unwrap();
        let expired = jwt
            .issue("alice", &Scope::ALL, Timestamp::from_millis(0))
            .unwrap();
        assert_eq!(jwt.verify(&expired), Err(InvalidToken::Expired));

        let foreign = Jwt::new(&settings("k2"))
            .issue("alice", &Scope::ALL, now())
            .unwrap();
        let parts: Vec<_> = token.split('.').collect();
        let other: Vec<_> = expired.split('.').collect();
        // {"alg":"none"}, and {"alg":"none","typ":"JWT"}
        let none = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
        let none_signed = format!(
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.{}",
            parts[1], parts[2]
        );
        // {"alg":"HS512"}
        let other_algorithm = format!("eyJhbGciOiJIUzUxMiJ9.{}.{}", parts[1], parts[2]);
        let tampered = format!("{}.{}.{}", parts[0], other[1], parts[2]);
        let unsigned = format!("{}.{}.", parts[0], parts[1]);
        for token in [
            foreign,
            none,
            none_signed,
            other_algorithm,
            tampered,
            unsigned,
            String::new(),
            "a.b.c".to_owned(),
        ] {
            assert_eq!(jwt.verify(&token), Err(InvalidToken::Invalid), "{token}");
        }
    }

    /// A token with these claims, signed with `k1`.
    fn signed(claims: &serde_json::Value) -> String {
        let key = EncodingKey::from_secret(b"k1");
        hs256::install();
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    #[test]
    fn times_may_have_fractions_and_a_token_may_be_a_little_early_but_never_late() {
        let now = Timestamp::from_millis(1_700_000_000_400);
        let jwt = Jwt::new(&settings("k1"));
        let verdict = |claims: serde_json::Value| {
            let mut whole =
                serde_json::json!({"sub": "a", "iat": 1_700_000_000, "exp": 1_700_000_060});
            for (name, value) in claims.as_object().unwrap() {
                whole[name] = value.clone();
            }
            jwt.verify_at(&signed(&whole), now)
                .map(|bearer| bearer.subject)
        };
        let good = Ok("a".to_owned());
        for claims in [
            serde_json::json!({"iat": 1_699_999_999.25, "exp": 1_700_000_060.75}),
            serde_json::json!({"exp": 1_700_000_000.401}),
            serde_json::json!({"exp": 1_700_000_001}),
            serde_json::json!({"exp": 4e11}),
            serde_json::json!({"nbf": 1_700_000_001}),
            serde_json::json!({"nbf": 1_700_000_005.4}),
            serde_json::json!({"nbf": 0}),
            serde_json::json!({"iat": 1_700_000_007}),
        ] {
            assert_eq!(verdict(claims.clone()), good, "{claims}");
        }
        for claims in [
            serde_json::json!({"exp": 1_700_000_000}),
            serde_json::json!({"exp": 1_700_000_000.4}),
            serde_json::json!({"exp": 0}),
        ] {
            assert_eq!(
                verdict(claims.clone()),
                Err(InvalidToken::Expired),
                "{claims}"
            );
        }
        for claims in [
            serde_json::json!({"nbf": 1_700_000_006}),
            serde_json::json!({"nbf": "1700000000"}),
            serde_json::json!({"exp": "1700000060"}),
            serde_json::json!({"exp": null}),
            serde_json::json!({"exp": -1}),
            serde_json::json!({"iat": "now"}),
            serde_json::json!({"sub": ""}),
            serde_json::json!({"sub": 1}),
            serde_json::json!({"sub": "a\n"}),
            serde_json::json!({"sub": "a".repeat(129)}),
        ] {
            assert_eq!(
                verdict(claims.clone()),
                Err(InvalidToken::Invalid),
                "{claims}"
            );
        }
    }

    #[test]
    fn the_previous_key_still_verifies_but_no_longer_signs() {
        let old = Jwt::new(&settings("k1"));
        let new = Jwt::new(&JwtSettings {
            keys: pair("k2", Some("k1")),
            ..settings("k2")
        });
        let token = old.issue("alice", &Scope::ALL, now()).unwrap();
        assert!(new.verify(&token).is_ok());
        let token = new.issue("alice", &Scope::ALL, now()).unwrap();
        assert_eq!(old.verify(&token), Err(InvalidToken::Invalid));
    }

    #[test]
    fn the_key_of_a_token_is_known_though_the_token_does_not_name_it() {
        let unnamed = signed(&serde_json::json!({"sub": "a", "iat": 7.5, "exp": 4e11}));
        let rotated = Jwt::new(&JwtSettings {
            keys: pair("k2", Some("k1")),
            ..settings("k2")
        });
        let id = |key: &str| key_id(&Secret::new(key.to_owned()));
        for jwt in [Jwt::new(&settings("k1")), rotated] {
            let bearer = jwt.verify(&unnamed).unwrap();
            assert_eq!((bearer.key_id, bearer.issued_at), (id("k1"), 7));
            let named = jwt.issue("alice", &Scope::ALL, now()).unwrap();
            assert_eq!(jwt.verify(&named).unwrap().key_id, jwt.signing_key_id());
        }
    }

    #[test]
    fn issuer_and_audience_are_demanded_once_configured() {
        let strict = Jwt::new(&JwtSettings {
            issuer: Some("calls".to_owned()),
            audience: Some("apps".to_owned()),
            ..settings("k1")
        });
        let own = strict.issue("alice", &Scope::ALL, now()).unwrap();
        assert!(strict.verify(&own).is_ok());
        let without = Jwt::new(&settings("k1"))
            .issue("alice", &Scope::ALL, now())
            .unwrap();
        assert_eq!(strict.verify(&without), Err(InvalidToken::Invalid));
        let other = Jwt::new(&JwtSettings {
            audience: Some("others".to_owned()),
            ..settings("k1")
        });
        let other = other.issue("alice", &Scope::ALL, now()).unwrap();
        assert_eq!(strict.verify(&other), Err(InvalidToken::Invalid));
    }
}
