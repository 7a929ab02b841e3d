//! The texts around the fields of a server's line.

/// A set of the layouts below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layouts(u16);

impl Layouts {
    pub(crate) const NONE: Self = Self(0);
    /// A list of addresses, of which the first is the client.
    pub(crate) const LIST: Self = Self(1);
    /// A port behind the address.
    pub(crate) const PORT: Self = Self(1 << 1);
    /// The virtual host before the address.
    pub(crate) const VIRTUAL_HOST: Self = Self(1 << 2);
    /// A prefix of syslog.
    pub(crate) const SYSLOG: Self = Self(1 << 3);
    /// A prefix of Docker Compose.
    pub(crate) const COMPOSE: Self = Self(1 << 4);
    /// A prefix of Kubernetes.
    pub(crate) const KUBERNETES: Self = Self(1 << 5);
    /// A JSON object around the line.
    pub(crate) const ENVELOPE: Self = Self(1 << 6);
    /// The format of a load balancer of Amazon.
    pub(crate) const AMAZON: Self = Self(1 << 7);
    /// The format of Envoy.
    pub(crate) const ENVOY: Self = Self(1 << 8);
    /// The W3C Extended Log File Format.
    pub(crate) const W3C: Self = Self(1 << 9);

    /// The name of each layout, in the order of the bits.
    pub(crate) const NAMES: [&'static str; 10] = [
        "list",
        "port",
        "virtual_host",
        "syslog",
        "compose",
        "kubernetes",
        "envelope",
        "amazon",
        "envoy",
        "w3c",
    ];

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The positions of the layouts in [`NAMES`](Self::NAMES).
    pub(crate) fn positions(self) -> impl Iterator<Item = usize> {
        (0..Self::NAMES.len()).filter(move |&at| self.0 >> at & 1 == 1)
    }
}
