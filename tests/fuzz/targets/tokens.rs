//! Access tokens: checking one never fails otherwise than by an error, and none is accepted that the key has not signed.
//!
//! The first byte of an input says what the rest is:
//! - a token;
//! - changes to a good token;
//! - a header and claims, with a line between, that are signed with the key.
#![no_main]
#![allow(clippy::expect_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud::kept_keys::KeyPair;
use cloud::{Secret, clock};
use functions::jwt::{InvalidToken, Jwt, Scope};
use functions::settings::JwtSettings;
use fuzz::change;
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use serde::Deserialize;

/// The kept inputs are signed with it.
const KEY: &str = "the key of the fuzz targets, which is no secret";

static JWT: LazyLock<Jwt> = LazyLock::new(|| {
    Jwt::new(&JwtSettings {
        keys: KeyPair {
            current: Secret::new(KEY.to_owned()),
            previous: None,
        },
        issuer: None,
        audience: None,
        token_lifetime: Duration::from_hours(24 * 365 * 50),
    })
});

static GOOD: LazyLock<String> = LazyLock::new(|| {
    let token = JWT.issue("alice", &[Scope::CallsRead], clock::now());
    token.expect("a token")
});

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since 1970, perhaps with a fraction.
    exp: f64,
    #[serde(default)]
    scope: String,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 3 {
        0 => check(&String::from_utf8_lossy(rest)),
        1 => {
            let changed = change(&GOOD, rest);
            let verdict = check(&changed);
            if changed != *GOOD {
                assert_eq!(verdict, Err(InvalidToken::Invalid), "{changed}");
            }
            return;
        }
        _ => check(&sign(rest)),
    }
    .ok();
});

/// Checks a token, and the verdict by itself.
fn check(token: &str) -> Result<(), InvalidToken> {
    let before = clock::now();
    let bearer = JWT.verify(token)?;
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let (header, claims) = signed.split_once('.').expect("claims");
    let signature = decode(signature);
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    assert!(
        hmac::verify(&key, signed.as_bytes(), &signature).is_ok(),
        "accepted, and not signed by the key: {token}"
    );
    let header: Header = serde_json::from_slice(&decode(header)).expect("a header");
    assert_eq!(header.alg, "HS256", "{token}");
    let claims: Claims = serde_json::from_slice(&decode(claims)).expect("claims");
    let expired = Duration::try_from_secs_f64(claims.exp)
        .is_ok_and(|exp| exp.as_millis() < before.as_millis().unsigned_abs().into());
    assert!(!expired && claims.exp > 0.0, "expired: {token}");
    assert_eq!(claims.sub, bearer.subject, "{token}");
    assert!(!claims.sub.is_empty(), "{token}");
    for scope in Scope::ALL {
        assert!(
            !bearer.has(scope) || claims.scope.contains(scope.as_str()),
            "{token}"
        );
    }
    Ok(())
}

fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

/// A token of this header and these claims, whatever they are, with a good signature.
fn sign(parts: &[u8]) -> String {
    let split = parts.iter().position(|byte| *byte == b'\n');
    let (header, claims) = parts.split_at(split.unwrap_or(parts.len()));
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims.get(1..).unwrap_or_default())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}
