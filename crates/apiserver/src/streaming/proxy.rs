//! `proxy` of pods, services and nodes: an HTTP reverse proxy.

use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use machinery::ApiError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::Backends;
use super::upstream::{Upstream, body_until, is_upgrade, strip};
use crate::http::info::RequestInfo;
use crate::http::respond::{self, Answer, full};
use crate::pipeline::ConnectTarget;

/// Carries a request on, and its answer back.
pub(super) async fn serve(
    backends: &Backends,
    target: &ConnectTarget,
    info: &RequestInfo,
    mut request: Request<Incoming>,
) -> Result<Answer, ApiError> {
    let upgrade = is_upgrade(request.headers());
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    // A page's relative links only work below a path that ends with a slash.
    if info.rest.is_empty() && !upgrade && matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = respond::answer(301, "text/plain", full(""));
        if let Ok(place) = HeaderValue::from_str(&format!("{}/{query}", request.uri().path())) {
            answer.headers_mut().insert(LOCATION, place);
        }
        return Ok(answer);
    }
    let rest = if info.rest.is_empty() { "/" } else { &info.rest };
    let own_path = request.uri().path().to_owned();
    let own_prefix = own_path.strip_suffix(rest).unwrap_or(&own_path).to_owned();
    let upstream = upstream(backends, target, info)?;
    let path = format!("{rest}{query}");
    if upgrade {
        return upstream.carry(request, &path, &backends.shutdown).await;
    }
    strip(request.headers_mut());
    let forwarded = [("x-forwarded-uri", own_path.as_str()), ("x-forwarded-proto", "https")];
    for (name, value) in forwarded {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(name, value);
        }
    }
    let (mut parts, body) = upstream.exchange(request, &path).await?.into_parts();
    strip(&mut parts.headers);
    rewrite_location(&mut parts.headers, &own_prefix);
    // The piece-wise copy sets the body's framing anew, with the length when it was told.
    let mut answer = respond::answer(parts.status.as_u16(), "", body_until(body, backends.shutdown.clone()));
    *answer.headers_mut() = parts.headers;
    Ok(answer)
}

fn upstream(backends: &Backends, target: &ConnectTarget, info: &RequestInfo) -> Result<Upstream, ApiError> {
    if info.resource == "nodes" {
        return backends.node(target);
    }
    let tls = (target.scheme == "https").then(unverified).transpose()?;
    Ok(Upstream { address: target.address.clone(), port: target.port, tls })
}

/// Redirects of the other side to a path of its own go through here again.
fn rewrite_location(headers: &mut http::HeaderMap, prefix: &str) {
    let Some(place) = headers.get(LOCATION).and_then(|l| l.to_str().ok()) else { return };
    let path = match place.parse::<http::Uri>() {
        Ok(uri) if uri.authority().is_some() => return,
        _ => place,
    };
    if path.starts_with('/')
        && let Ok(value) = HeaderValue::from_str(&format!("{prefix}{path}"))
    {
        headers.insert(LOCATION, value);
    }
}

/// Pods and services have certificates of their own making: as upstream, the proxy does not verify them.
fn unverified() -> Result<Arc<rustls::ClientConfig>, ApiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| ApiError::Internal(format!("TLS is not usable: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
