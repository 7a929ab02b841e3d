//! TLS: which servers are trusted, and which certificate this client presents.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    ring, verify_tls12_signature, verify_tls13_signature, CryptoProvider,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use crate::config::Tls;
use crate::error::ConfigError;

/// The TLS configuration, shared by all clones and replaceable. It is created on the thread that starts or changes a
/// client, because reading the system's certificates takes too long for the I/O thread.
#[derive(Clone)]
pub(crate) struct Encryption(Arc<ArcSwap<ClientConfig>>);

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryption(..)")
    }
}

impl Encryption {
    pub(crate) fn new(tls: &Tls) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(client_config(tls)?))))
    }

    /// Replaces the configuration for later connections. On an error the previous one stays.
    pub(crate) fn replace(&self, tls: &Tls) -> Result<(), ConfigError> {
        self.0.store(Arc::new(client_config(tls)?));
        Ok(())
    }

    pub(super) async fn wrap(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.0.load_full())
            .connect(name, stream)
            .await
    }
}

fn client_config(tls: &Tls) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(invalid)?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls.roots.as_deref())?)
    } else {
        let verifier = Arc::new(NoVerification(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    };
    match &tls.identity {
        Some(identity) => {
            let certificates = certificates(&identity.certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(invalid)?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(invalid)
        }
        None => Ok(builder.with_no_client_auth()),
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
