//! Encryption: whom to trust, and what to show.

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

/// Made by whoever starts or changes a client: reading the system's certificates takes too long for the thread that
/// serves everybody. Copies are of the same one.
#[derive(Clone)]
pub(crate) struct Encryption(Arc<ArcSwap<ClientConfig>>);

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryption(..)")
    }
}

impl Encryption {
    pub(crate) fn new(tls: &Tls) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(client(tls)?))))
    }

    /// Makes connections with these from now on, if they can be used.
    pub(crate) fn replace(&self, tls: &Tls) -> Result<(), ConfigError> {
        self.0.store(Arc::new(client(tls)?));
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

fn client(tls: &Tls) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls.roots.as_deref())?)
    } else {
        let trusting = Arc::new(Trusting(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(trusting)
    };
    match &tls.identity {
        Some(identity) => {
            let certificates = certificates(&identity.certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(wrong)?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(wrong)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    if let Some(pem) = pem {
        for certificate in certificates(pem)? {
            store.add(certificate).map_err(wrong)?;
        }
    } else {
        // Some of a system's certificates are always too old or too odd: those are left out.
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
    let certificates = certificates.map_err(wrong)?;
    if certificates.is_empty() {
        return Err(ConfigError::Tls("no certificate".into()));
    }
    Ok(certificates)
}

fn wrong(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Tls(error.to_string())
}

/// Takes any certificate of any server, for whoever asked for that.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
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
