//! Client certificates: asked for in the handshake, judged after it.
//!
//! As upstream, a certificate of an unknown authority does not break the handshake: its owner is told 401 over HTTP. The
//! handshake itself only proves that the client holds the certificate's key.

use std::sync::Arc;

use client::User;
use machinery::ApiError;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is known of a connection's client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PeerCertificate {
    /// It showed no certificate.
    #[default]
    Absent,
    /// Its certificate names this user, until this moment (seconds since 1970).
    Known {
        /// The user.
        user: User,
        /// The certificate's end.
        not_after: i64,
    },
    /// It showed a certificate that no client authority signed, or that is not good any more.
    Refused,
}

/// Judges client certificates by the client authorities.
#[derive(Debug)]
pub struct ClientCertificates {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCertificates {
    /// Knows what `authorities` signed. An empty store knows nobody.
    pub fn new(authorities: RootCertStore) -> Result<Arc<Self>, ApiError> {
        if authorities.is_empty() {
            return Ok(Arc::new(Self { verifier: WebPkiClientVerifier::no_client_auth() }));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|e| ApiError::Internal(format!("the client authorities are not usable: {e}")))?;
        Ok(Arc::new(Self { verifier }))
    }

    /// What the certificates that a client showed in its handshake say.
    pub fn judge(&self, shown: Option<&[CertificateDer<'static>]>) -> PeerCertificate {
        let Some((leaf, intermediates)) = shown.and_then(<[_]>::split_first) else { return PeerCertificate::Absent };
        let now = u64::try_from(seams::clock::now().as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        if let Err(e) = self.verifier.verify_client_cert(leaf, intermediates, now) {
            tracing::debug!("client certificate refused: {e}");
            return PeerCertificate::Refused;
        }
        user_of(leaf).unwrap_or(PeerCertificate::Refused)
    }
}

/// CN is the user, each O a group (`CommonNameUserConversion` upstream).
fn user_of(leaf: &CertificateDer<'_>) -> Option<PeerCertificate> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    let user = super::authenticated(User { name, groups, ..User::default() });
    Some(PeerCertificate::Known { user, not_after: certificate.validity().not_after.timestamp() })
}

impl ClientCertVerifier for ClientCertificates {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
