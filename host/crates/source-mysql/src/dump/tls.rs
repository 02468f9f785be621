//! Encryption, as the servers' own clients have it by `--ssl-mode`.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::wire::Socket;
use crate::config::TlsMode;
use crate::connect::{Endpoint, Tls};
use crate::failure::MysqlError;

/// Encrypts a connection.
pub(super) async fn encrypt(
    endpoint: &Endpoint,
    socket: Box<dyn Socket>,
) -> Result<Box<dyn Socket>, MysqlError> {
    let failed = |why: String| MysqlError::Tls { address: endpoint.address().to_owned(), why };
    let config = client(&endpoint.tls).map_err(failed)?;
    let name = ServerName::try_from(endpoint.dsn.host.clone()).map_err(|error| failed(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    Ok(Box::new(stream.map_err(|error| broken(endpoint, &error))?))
}

/// Whether it was the encryption that failed, or the connection under it.
fn broken(endpoint: &Endpoint, error: &std::io::Error) -> MysqlError {
    let (address, why) = (endpoint.address().to_owned(), error.to_string());
    match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        true => MysqlError::Tls { address, why },
        false => MysqlError::Unreachable { action: "encrypt the connection to", address, cause: why },
    }
}

fn client(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier::new(tls, &provider)?);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &tls.identity {
        None => Ok(config.with_no_client_auth()),
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            config.with_client_auth_cert(certificates(cert)?, key).map_err(|error| error.to_string())
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error| unreadable(file, &error))?;
    if found.is_empty() { Err(format!("{} has no certificate in it", file.display())) } else { Ok(found) }
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("read {}: {error}", file.display())
}

/// Checks of a certificate what the mode asks for.
#[derive(Debug)]
struct Verifier {
    mode: TlsMode,
    /// `None`: nothing is checked.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let algorithms = provider.signature_verification_algorithms;
        if !tls.mode.verifies() {
            return Ok(Self { mode: tls.mode, authorities: None, algorithms });
        }
        let mut roots = RootCertStore::empty();
        match &tls.ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Self {
            mode: tls.mode,
            authorities: Some(verifier.map_err(|error| error.to_string())?),
            algorithms,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        match authorities.verify_server_cert(certificate, between, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.mode == TlsMode::VerifyCa => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
