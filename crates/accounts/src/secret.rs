//! What a client shows to be let in.

use std::fmt;
use std::sync::LazyLock;

/// How every secret begins.
const PREFIX: &str = "sk-";
/// Random bytes in one.
const BYTES: usize = 32;
/// Nothing longer is looked at.
const TEXT_BYTES_MAX: usize = 256;

/// The hash kept of a secret.
pub(crate) type SecretHash = [u8; 32];

/// An API key: `sk-` and 64 hexadecimal digits, 256 bits from the operating system's random generator. It exists only where it was
/// made; the file has its hash. [`Debug`](fmt::Debug) does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!(
            "{PREFIX}{}",
            blake3::Hash::from_bytes(bytes).to_hex()
        )))
    }

    /// The text to give to the client. Whoever has it can use the key.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, by which people tell keys apart.
    pub fn last_four(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(…{})", self.last_four())
    }
}

/// The hash of what a client sent; `None` if no secret is that long.
///
/// A fast hash is the right one here. Slow ones (Argon2, bcrypt) make guessing dear because people's passwords can be guessed; 256 random
/// bits cannot, at any speed, and a slow hash would let anybody keep a core busy with wrong keys. What is looked up in a hash table is
/// this hash, not the secret: how long that takes says nothing that brings one nearer to a secret whose hash is in it.
pub(crate) fn hash(secret: &str) -> Option<SecretHash> {
    static PURPOSE: LazyLock<[u8; 32]> =
        LazyLock::new(|| blake3::derive_key("fathom 2026-11-22 hash of an API key", b""));
    (secret.len() <= TEXT_BYTES_MAX).then(|| *blake3::keyed_hash(&PURPOSE, secret.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_random_and_not_shown() {
        let (a, b) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.expose().len(), 67);
        assert!(a.expose()[3..].bytes().all(|byte| byte.is_ascii_hexdigit()));
        let shown = format!("{a:?}");
        assert_eq!(shown, format!("Secret(…{})", &a.expose()[63..]));
        assert_ne!(hash(a.expose()), hash(b.expose()));
        assert_eq!(hash(&"x".repeat(257)), None);
    }

    #[test]
    fn the_hash_stays_the_same_over_versions() {
        // Files in the field have it.
        let hash = hash("sk-0000").unwrap();
        assert_eq!(
            blake3::Hash::from_bytes(hash).to_hex().as_str(),
            "e5d7b913403a3eeacf612336ffad8a41b7ad7f6df22f9f4550de4fb93e626726"
        );
    }
}
