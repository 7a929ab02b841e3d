//! A server that requires TLS client certificates, with a user of least privileges.

use std::path::Path;
use std::process::{Command, Stdio};

use rate_limiter_redis::{Endpoint, Identity, Tls};

use super::process::{free_port, Directory};
use super::server::Server;

/// The permissions that limits need, as in the guide.
pub(crate) const PERMISSIONS: &str =
    "resetkeys ~test:* -@all +evalsha +script|load +mget +exists +set +del +time";

pub(crate) struct Secured {
    pub(crate) server: Server,
    pub(crate) port: u16,
    certificates: Directory,
}

impl Secured {
    /// The user with these permissions.
    pub(crate) const USER: &str = "limiter";

    pub(crate) fn start(password: &str) -> Self {
        Self::with(password, &[])
    }

    /// Starts a server with additional settings.
    pub(crate) fn with(password: &str, settings: &[&[&str]]) -> Self {
        let certificates = Directory::new();
        make_certificates(certificates.path());
        let port = free_port();
        let file = |name: &str| certificates.path().join(name).display().to_string();
        let (authority, certificate, key) =
            (file("ca.crt"), file("server.crt"), file("server.key"));
        let tls_port = port.to_string();
        let tls: [&[&str]; 6] = [
            &["tls-port", &tls_port],
            &["tls-ca-cert-file", &authority],
            &["tls-cert-file", &certificate],
            &["tls-key-file", &key],
            &["tls-auth-clients", "yes"],
            &["tls-cluster", "yes"],
        ];
        let settings: Vec<_> = tls.iter().chain(settings).copied().collect();
        let server = Server::with(&settings);
        let secured = Self {
            server,
            port,
            certificates,
        };
        secured.set_password(password);
        secured
    }

    /// Replaces the user's password.
    pub(crate) fn set_password(&self, password: &str) {
        let user = Self::USER;
        self.server.run(&format!(
            "ACL SETUSER {user} on resetpass >{password} {PERMISSIONS}"
        ));
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::tcp("localhost", self.port)
    }

    /// Returns the certificates that a client needs.
    pub(crate) fn tls(&self) -> Tls {
        let read = |name| std::fs::read(self.certificates.path().join(name)).unwrap();
        Tls {
            roots: Some(read("ca.crt")),
            identity: Some(Identity {
                certificate: read("client.crt"),
                key: read("client.key"),
            }),
            verify: true,
        }
    }
}

/// Creates a certificate authority, and a certificate for each side.
fn make_certificates(directory: &Path) {
    openssl(
        directory,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
         -keyout ca.key -out ca.crt",
    );
    std::fs::write(
        directory.join("names"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    )
    .unwrap();
    for side in ["server", "client"] {
        openssl(
            directory,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={side} \
                 -keyout {side}.key -out {side}.csr"
            ),
        );
        openssl(
            directory,
            &format!(
                "x509 -req -in {side}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile names -out {side}.crt"
            ),
        );
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        status.expect("openssl is installed").success(),
        "openssl {arguments}"
    );
}
