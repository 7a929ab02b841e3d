//! Credentials, which are never printed.

use std::fmt;
use std::sync::Arc;

/// A username and a password. Either may be missing.
///
/// Neither is ever printed: not by `Debug`, and not in any error or status of this crate.
///
/// ```
/// use rate_limiter_redis::Credentials;
///
/// let credentials = Credentials::new(Some("limiter"), Some("secret"));
/// assert_eq!(format!("{credentials:?}"), "Credentials(..)");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    username: Option<Arc<str>>,
    password: Option<Arc<str>>,
}

impl Credentials {
    /// Creates credentials. Without a username, they are those of the default user; without a password, none are sent.
    #[must_use]
    pub fn new(username: Option<&str>, password: Option<&str>) -> Self {
        Self {
            username: username.map(Arc::from),
            password: password.map(Arc::from),
        }
    }

    pub(crate) fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}
