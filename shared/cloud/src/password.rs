//! Password hashes: Argon2id with 19 MiB, two passes, one lane (OWASP's first choice).

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;

/// Longest password that is hashed, in bytes.
pub const MAX_PASSWORD_LENGTH: usize = 1024;
/// Shortest password that a user may be given, in characters (NIST SP 800-63B).
pub const MIN_PASSWORD_LENGTH: usize = 8;

/// The hash could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashFailed;

fn argon2id() -> Result<Argon2<'static>, HashFailed> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).map_err(|_| HashFailed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a password with a new random salt, as a PHC string. Takes tens of
/// milliseconds of a core: call it where it blocks nobody.
///
/// # Errors
/// [`HashFailed`] if the system has no randomness or memory.
pub fn hash(password: &str) -> Result<String, HashFailed> {
    argon2id()?
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| HashFailed)
}

/// Whether `password` is the one behind `hash`; as slow as [`hash()`].
#[must_use]
pub fn verify(password: &str, hash: &str) -> bool {
    let (Ok(argon2), Ok(hash)) = (argon2id(), PasswordHash::new(hash)) else {
        return false;
    };
    argon2.verify_password(password.as_bytes(), &hash).is_ok()
}

/// A hash that no password matches, with the parameters of the real ones: verifying
/// against it makes an unknown user cost what a wrong password costs.
pub const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdCBoZXJl$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_verified_by_its_password_only() {
        let made = hash("correct horse").unwrap();
        assert!(
            made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{made}"
        );
        assert!(verify("correct horse", &made));
        assert!(!verify("wrong horse", &made));
        assert!(!verify("correct horse", "not a hash"));
    }

    #[test]
    fn nobodys_hash_is_well_formed_so_that_it_costs_as_much() {
        let parsed = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(
            Params::try_from(&parsed).unwrap(),
            *argon2id().unwrap().params()
        );
        assert!(parsed.hash.is_some());
        assert!(!verify("", NOBODY));
    }
}
