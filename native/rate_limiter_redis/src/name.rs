//! The names of ids and windows in Redis.
//!
//! An id comes from a remote user. So that it cannot forge another key, or make a key long, special characters are
//! escaped, and long ids are hashed. The name is the same on every node.

use std::sync::Arc;

use rate_limiter_core::Algorithm;
use rate_limiter_distributed::Meter;
use ring::hmac;
use sha1_smol::Sha1;

/// The maximum length of a name. A longer one is hashed.
const MAX_NAME: usize = 64;

/// The digits of a hash: 128 bits in hexadecimal.
const HASH_DIGITS: usize = 32;

/// The keys of one limiter: `prefix:{limiter:id}`, followed by the name of a window. All windows of an id have the same
/// part in braces, the hash tag, so a cluster keeps them in one slot.
///
/// ```
/// use rate_limiter_redis::{Kind, Namespace};
///
/// let api = Namespace::new("rate_limiter", "api");
/// assert_eq!(&*api.key(Kind::String, b"ann@example.com"), b"rate_limiter:{api:ann@example.com}");
/// assert_eq!(&*api.key(Kind::Integer, b"42"), b"rate_limiter:{api:#42}");
/// assert_eq!(&*api.key(Kind::String, b"}\n"), b"rate_limiter:{api:%7D%0A}");
/// ```
#[derive(Clone, Debug)]
pub struct Namespace {
    /// `prefix:{limiter:`
    head: Box<[u8]>,
    /// Under which ids are hashed.
    id_key: Option<hmac::Key>,
}

/// The type of an id. Equal bytes of different kinds are different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string: its bytes.
    String,
    /// An integer of any size: its decimal digits, with a minus if it is negative.
    Integer,
    /// An atom: its name.
    Atom,
    /// Several ids in one: bytes that are unique to this combination, and the same on every node.
    Composite,
}

impl Namespace {
    /// Creates the namespace of `limiter` under `prefix`.
    #[must_use]
    pub fn new(prefix: &str, limiter: &str) -> Self {
        let mut head = Vec::new();
        escape(&mut head, prefix.as_bytes(), b"");
        head.extend(b":{");
        // The first colon in the braces ends the limiter's name.
        escape(&mut head, limiter.as_bytes(), b":");
        head.push(b':');
        let head = head.into();
        Self { head, id_key: None }
    }

    /// Returns the namespace whose keys do not have ids, but their hashes: HMAC-SHA-256 under this key, of which keys have
    /// 128 bits.
    ///
    /// ```
    /// use rate_limiter_redis::{Kind, Namespace};
    ///
    /// let api = Namespace::new("rate_limiter", "api").hashing_ids(b"0123456789abcdef");
    /// let key = api.key(Kind::String, b"ann@example.com");
    /// assert_eq!(&*key, b"rate_limiter:{api:~7889cff184875a76854f56ccc6802d7c}");
    /// ```
    #[must_use]
    pub fn hashing_ids(self, key: &[u8]) -> Self {
        Self {
            id_key: Some(hmac::Key::new(hmac::HMAC_SHA256, key)),
            ..self
        }
    }

    /// Returns the common part of an id's keys, for [`Call::key`](rate_limiter_distributed::Call::key).
    #[must_use]
    pub fn key(&self, kind: Kind, id: &[u8]) -> Arc<[u8]> {
        let mut key = Vec::with_capacity(self.head.len() + MAX_NAME + 2);
        key.extend(&*self.head);
        match &self.id_key {
            Some(secret) => hashed(&mut key, secret, kind.mark(), id),
            None => name(&mut key, kind.mark(), id),
        }
        key.push(b'}');
        key.into()
    }
}

/// Returns the common part of an id's keys after a reset of all ids. It is in the same slot, and no other id has it.
///
/// ```
/// use rate_limiter_redis::{of_generation, Kind, Namespace};
///
/// let key = Namespace::new("rate_limiter", "api").key(Kind::String, b"ann");
/// assert_eq!(&*of_generation(&key, 3), b"rate_limiter:{api:ann}.3");
/// ```
#[must_use]
pub fn of_generation(key: &[u8], generation: u64) -> Arc<[u8]> {
    [key, format!(".{generation}").as_bytes()].concat().into()
}

impl Kind {
    /// Returns the first character of this kind's names. Names of strings have none.
    const fn mark(self) -> &'static [u8] {
        match self {
            Self::String => b"",
            Self::Integer => b"#",
            Self::Atom => b"$",
            Self::Composite => b"&",
        }
    }
}

/// Returns the end of a window's keys. Its algorithm's letter is part of it, so that another algorithm of the same
/// name has keys of its own: nodes of two versions would otherwise erase each other's states during a deployment.
pub(crate) fn window(meter: &Meter) -> Vec<u8> {
    let letter = match meter.limit().algorithm() {
        Algorithm::TokenBucket { .. } => b'b',
        Algorithm::SlidingWindow { .. } => b'w',
        Algorithm::SlidingLog => b'l',
        Algorithm::FixedWindow { .. } => b'f',
    };
    let mut key = vec![b':'];
    name(&mut key, b"", meter.name().as_bytes());
    key.extend([b'~', letter]);
    key
}

/// Appends the end of an era's key. Neither a window's key nor that of a request id has this end.
pub(crate) fn era(key: &mut Vec<u8>) {
    key.extend(b":!");
}

/// Appends the end of the key of what was given back of a call. No other key has this end.
pub(crate) fn given(key: &mut Vec<u8>, serial: u64) {
    key.extend(format!(":!~~{serial:x}").as_bytes());
}

/// Appends the end of the key of a request id, for a call of this cost over these windows. No window's key has this end.
pub(crate) fn request<'a>(
    key: &mut Vec<u8>,
    id: &[u8],
    cost: u64,
    windows: impl Iterator<Item = &'a str>,
) {
    key.push(b':');
    name(key, b"!", id);
    key.push(b'~');
    key.extend(cost.to_string().as_bytes());
    let start = key.len();
    for window in windows {
        key.push(b'~');
        name(key, b"", window.as_bytes());
    }
    if key.len() - start > MAX_NAME {
        let mut hash = Sha1::new();
        hash.update(&key[start..]);
        key.truncate(start);
        key.push(b'#');
        key.extend(&hash.digest().to_string().as_bytes()[..HASH_DIGITS]);
    }
}

/// Appends a name of bounded length. Composites are unreadable anyway, and always hashed.
fn name(key: &mut Vec<u8>, mark: &[u8], bytes: &[u8]) {
    let start = key.len();
    key.extend(mark);
    if mark != Kind::Composite.mark() && bytes.len() <= MAX_NAME {
        // A name must not begin with another kind's mark.
        let rest = match bytes {
            [first, rest @ ..] if b"#$&!~".contains(first) => {
                hexadecimal(key, *first);
                rest
            }
            all => all,
        };
        escape(key, rest, b"~");
    }
    if mark == Kind::Composite.mark() || bytes.len() > MAX_NAME || key.len() - start > MAX_NAME {
        key.truncate(start);
        key.push(b'~');
        let mut hash = Sha1::new();
        hash.update(mark);
        // A separator: no mark contains a zero.
        hash.update(&[0]);
        hash.update(bytes);
        key.extend(&hash.digest().to_string().as_bytes()[..HASH_DIGITS]);
    }
}

/// Appends the hash of an id under a key. Like the hash of a long name, it begins with a tilde.
fn hashed(key: &mut Vec<u8>, secret: &hmac::Key, mark: &[u8], id: &[u8]) {
    let mut hash = hmac::Context::with_key(secret);
    hash.update(mark);
    // As in `name`.
    hash.update(&[0]);
    hash.update(id);
    key.push(b'~');
    for byte in &hash.sign().as_ref()[..HASH_DIGITS / 2] {
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
        key.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Appends bytes. Those that are not plain characters, or are in `others`, become `%` and two hexadecimal digits.
fn escape(key: &mut Vec<u8>, bytes: &[u8], others: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_graphic() && !b"{}%\"\\".contains(&byte) && !others.contains(&byte) {
            key.push(byte);
        } else {
            hexadecimal(key, byte);
        }
    }
}

fn hexadecimal(key: &mut Vec<u8>, byte: u8) {
    let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half)];
    key.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use proptest::prelude::*;
    use rate_limiter_core::Limit;

    use super::*;

    const KINDS: [Kind; 4] = [Kind::String, Kind::Integer, Kind::Atom, Kind::Composite];

    fn slot_part(key: &[u8]) -> &[u8] {
        let opens = key.iter().position(|byte| *byte == b'{').expect("a brace");
        let closes = key.iter().position(|byte| *byte == b'}').expect("a brace");
        &key[opens + 1..closes]
    }

    fn request_end(id: &str, cost: u64, windows: &[String]) -> Vec<u8> {
        let mut key = Vec::new();
        request(
            &mut key,
            id.as_bytes(),
            cost,
            windows.iter().map(|window| &**window),
        );
        key
    }

    #[test]
    fn a_request_key_is_short_whatever_the_windows() {
        let windows: Vec<String> = (0..30).map(|number| format!("window_{number}")).collect();
        let key = request_end("7f3a", 5, &windows);
        assert!(key.starts_with(b":!7f3a~5#") && key.len() <= 9 + HASH_DIGITS);
        assert_ne!(key, request_end("7f3a", 5, &windows[1..]));
    }

    proptest! {
        #[test]
        fn different_calls_have_different_request_keys(
            one in ("[a1:~#]{0,2}", 1..12_u64, prop::collection::vec("[a1~#:]{0,2}", 1..3)),
            other in ("[a1:~#]{0,2}", 1..12_u64, prop::collection::vec("[a1~#:]{0,2}", 1..3)),
        ) {
            let key = |(id, cost, windows): &(String, u64, Vec<String>)| request_end(id, *cost, windows);
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }

        #[test]
        fn a_key_has_plain_characters_and_one_hash_tag(
            prefix in ".{0,9}", limiter in ".{0,9}", kind in 0..4_usize, id: Vec<u8>,
        ) {
            let key = Namespace::new(&prefix, &limiter).key(KINDS[kind], &id);
            let braces = key.iter().filter(|byte| b"{}".contains(byte)).count();
            prop_assert_eq!(braces, 2);
            let ends_well = key.ends_with(b"}") && !slot_part(&key).is_empty();
            prop_assert!(ends_well);
            let plain = key.iter().all(u8::is_ascii_graphic);
            prop_assert!(plain);
        }

        #[test]
        fn different_ids_have_different_keys(
            one in ("[a:]{0,2}", 0..4_usize, "[a:#%~!]{0,2}"),
            other in ("[a:]{0,2}", 0..4_usize, "[a:#%~!]{0,2}"),
        ) {
            let key = |(limiter, kind, id): &(String, usize, String)| {
                Namespace::new("p", limiter).key(KINDS[*kind], id.as_bytes())
            };
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }

        #[test]
        fn the_key_of_a_window_differs_from_that_of_a_request_id_or_another_window(
            one in "[a:!~%b]{0,3}", other in "[a:!~%b]{0,3}", is_bucket: bool,
        ) {
            let per = Duration::from_secs(1);
            let bucket = Limit::token_bucket(1, per);
            let limit = if is_bucket { bucket.clone() } else { Limit::sliding_log(1, per) };
            let end = |name: &str, limit: &Limit| window(&Meter::new(name, limit).expect("a valid limit"));
            let mut asked = Vec::new();
            request(&mut asked, other.as_bytes(), 1, [&*one].into_iter());
            prop_assert_ne!(end(&one, &limit), asked.clone());
            let mut ends = Vec::new();
            era(&mut ends);
            let mut gives = Vec::new();
            given(&mut gives, 7);
            prop_assert!(ends != asked && ends != end(&one, &limit));
            prop_assert!(gives != asked && gives != end(&one, &limit));
            prop_assert_eq!(end(&one, &limit) == end(&other, &bucket), one == other && is_bucket);
        }
    }

    #[test]
    fn a_long_id_has_a_short_and_unique_key() {
        let space = Namespace::new("p", "api");
        let long = |last: u8| [vec![b'x'; 100_000], vec![last]].concat();
        let keys: HashSet<_> = (0..=255)
            .map(|last| space.key(Kind::String, &long(last)))
            .collect();
        assert_eq!(keys.len(), 256);
        assert!(keys.iter().all(|key| key.len() < 100));
        // An id that looks like a hash has a key of its own.
        let key = space.key(Kind::String, &long(0));
        let hash = slot_part(&key).strip_prefix(b"api:").expect("the limiter");
        assert_ne!(space.key(Kind::String, hash), key);
    }

    #[test]
    fn hashed_ids_of_different_kinds_and_under_different_keys_have_different_keys() {
        let spaces = [b"0123456789abcdef", b"0123456789abcdeF"]
            .map(|secret| Namespace::new("p", "api").hashing_ids(secret));
        let long = [b'1'; 100];
        let ids: [&[u8]; 4] = [b"1", b"", b"12", &long];
        let keys: HashSet<_> = spaces
            .iter()
            .flat_map(|space| {
                KINDS
                    .iter()
                    .flat_map(|&kind| ids.map(|id| space.key(kind, id)))
            })
            .collect();
        assert_eq!(keys.len(), 2 * 4 * 4);
        assert!(keys
            .iter()
            .all(|key| key.len() == "p:{api:~}".len() + HASH_DIGITS));
        // No hash without a key is one with a key.
        assert!(!keys.contains(&Namespace::new("p", "api").key(Kind::String, &long)));
    }

    #[test]
    fn an_id_that_is_long_after_escaping_is_hashed() {
        let key = Namespace::new("p", "api").key(Kind::String, &[0; 22]);
        assert_eq!(key.len(), "p:{api:~}".len() + HASH_DIGITS);
    }
}
