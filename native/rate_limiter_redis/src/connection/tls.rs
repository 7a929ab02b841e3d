//! TLS: which servers are trusted, and which certificate this client presents.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::{
    ring, verify_tls12_signature, verify_tls13_signature, CryptoProvider,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use crate::config::{Endpoint, Tls};
use crate::error::ConfigError;

/// The TLS configuration, shared by all clones and replaceable. It is created on the thread that starts or changes a
/// client, because reading the system's certificates takes too long for the I/O thread.
#[derive(Clone)]
pub(crate) struct Encryption {
    client: Arc<ArcSwap<Client>>,
    /// The host names of servers that are reached by an address.
    names: Arc<ArcSwap<Names>>,
}

/// The host names that servers announce beside their addresses.
pub(crate) type Names = HashMap<Endpoint, Box<str>>;

struct Client {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryption(..)")
    }
}

impl Encryption {
    pub(crate) fn new(tls: &Tls) -> Result<Self, ConfigError> {
        Ok(Self {
            client: Arc::new(ArcSwap::from_pointee(Client::new(tls)?)),
            names: Arc::default(),
        })
    }

    /// Replaces the configuration for later connections. On an error the previous one stays.
    pub(crate) fn replace(&self, tls: &Tls) -> Result<(), ConfigError> {
        self.client.store(Arc::new(Client::new(tls)?));
        Ok(())
    }

    /// Replaces the host names of servers. A certificate for the name is then accepted like one for the address.
    pub(crate) fn set_names(&self, names: Names) {
        self.names.store(Arc::new(names));
    }

    pub(super) async fn wrap(
        &self,
        host: &str,
        port: u16,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let client = self.client.load_full();
        let address = server_name(host)?;
        let names = self.names.load_full();
        let (config, name) = match names.get(&Endpoint::tcp(host, port)) {
            None => (Arc::clone(&client.config), address),
            Some(name) => (client.accepting(address), server_name(name)?),
        };
        TlsConnector::from(config).connect(name, stream).await
    }
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}

impl Client {
    fn new(tls: &Tls) -> Result<Self, ConfigError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if tls.verify {
            let roots = Arc::new(roots(tls.roots.as_deref())?);
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            builder.build().map_err(invalid)?
        } else {
            Arc::new(NoVerification(Arc::clone(&provider)))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let config = match &tls.identity {
            Some(identity) => {
                let certificates = certificates(&identity.certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(invalid)?;
                let builder = builder.with_client_auth_cert(certificates, key);
                builder.map_err(invalid)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self {
            config: Arc::new(config),
            verifier,
        })
    }

    /// Returns the configuration for a server whose certificate may be for this address, too.
    fn accepting(&self, address: ServerName<'static>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        let verifier = EitherName {
            verifier: Arc::clone(&self.verifier),
            address,
        };
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    if let Some(pem) = pem {
        for certificate in certificates(pem)? {
            store.add(certificate).map_err(invalid)?;
        }
    } else {
        // A system usually has some certificates that rustls cannot parse; those are skipped.
        let system = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(system.certs);
    }
    if store.is_empty() {
        return Err(ConfigError::Tls("no certificate to trust".into()));
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(invalid)?;
    if certificates.is_empty() {
        return Err(ConfigError::Tls("no certificate".into()));
    }
    Ok(certificates)
}

fn invalid(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Tls(error.to_string())
}

/// Accepts a certificate for the host name of a server, or for its address.
#[derive(Debug)]
struct EitherName {
    verifier: Arc<dyn ServerCertVerifier>,
    address: ServerName<'static>,
}

impl ServerCertVerifier for EitherName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify =
            |name| (self.verifier).verify_server_cert(certificate, intermediates, name, ocsp, now);
        verify(name).or_else(|error| verify(&self.address).map_err(|_| error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Accepts any certificate, for `verify: false`.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
