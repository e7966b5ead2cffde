//! Keys, certificates and requests for them, as bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::pem;

const ED25519: &str = "1.3.101.112";
const CURVES: [(&str, &str); 4] =
    [("1.2.840.10045.3.1.7", "P-256"), ("1.3.132.0.34", "P-384"), ("1.3.132.0.35", "P-521"), ("1.3.132.0.33", "P-224")];
const RSA_BITS: [usize; 2] = [3072, 4096];

/// What a key is.
pub(super) enum Kind {
    Ed25519,
    /// By the curve's name.
    Elliptic(&'static str),
    /// By the bits of its modulus.
    Rsa(usize),
    Unknown,
}

/// Bytes in a field of JSON.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap_or_default()
}

/// The PEM text in such a field.
fn text_of(field: &str) -> String {
    String::from_utf8_lossy(&bytes(field)).into_owned()
}

/// Why a field does not hold a signed PKCS#10 request in PEM.
///
/// DIVERGES: keys on the curve P-521 and RSA keys below 2048 bits cannot be verified here, and are refused.
pub(super) fn request_problem(field: &str) -> Option<String> {
    let blocks = pem::blocks(&text_of(field));
    match blocks.first().filter(|block| block.label == "CERTIFICATE REQUEST") {
        None => Some("PEM block type must be CERTIFICATE REQUEST".to_owned()),
        Some(block) => signed_request_problem(&block.der),
    }
}

/// The same of a request in DER.
pub(super) fn signed_request_problem(der: &[u8]) -> Option<String> {
    let (rest, request) = match X509CertificationRequest::from_der(der) {
        Ok(read) => read,
        Err(error) => return Some(format!("x509: malformed certificate request: {error}")),
    };
    if !rest.is_empty() {
        return Some("asn1: syntax error: trailing data".to_owned());
    }
    request.verify_signature().err().map(|error| format!("x509: {error}"))
}

/// The groups (organizations) that the request in a field asks for, if it can be read.
pub fn requested_groups(field: &str) -> Vec<String> {
    let blocks = pem::blocks(&text_of(field));
    let Some(block) = blocks.first() else { return Vec::new() };
    let Ok((_, request)) = X509CertificationRequest::from_der(&block.der) else { return Vec::new() };
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect()
}

/// Why a field does not hold certificates in PEM. Nothing is wrong with nothing.
pub(super) fn certificates_problem(field: &str) -> Option<String> {
    if field.is_empty() {
        return None;
    }
    let blocks = pem::blocks(&text_of(field));
    if blocks.is_empty() {
        return Some("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    blocks.iter().find_map(|block| match block {
        block if block.label != "CERTIFICATE" => {
            Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label))
        }
        block if block.has_headers => Some("no PEM block headers are permitted".to_owned()),
        block => X509Certificate::from_der(&block.der).err().map(|e| format!("x509: malformed certificate: {e}")),
    })
}

/// The public key that a PKCS#10 request in DER is about.
pub(super) fn key_of_request(der: &[u8]) -> Option<Vec<u8>> {
    let (_, request) = X509CertificationRequest::from_der(der).ok()?;
    Some(request.certification_request_info.subject_pki.raw.to_vec())
}

/// What a PKIX public key is; none when it is no key.
pub(super) fn kind(pkix: &[u8]) -> Option<Kind> {
    let (rest, key) = SubjectPublicKeyInfo::from_der(pkix).ok()?;
    if !rest.is_empty() {
        return None;
    }
    if key.algorithm.algorithm.to_id_string() == ED25519 {
        return Some(Kind::Ed25519);
    }
    Some(match key.parsed().ok()? {
        PublicKey::RSA(rsa) => Kind::Rsa(rsa.key_size()),
        PublicKey::EC(_) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok())?.to_id_string();
            Kind::Elliptic(CURVES.iter().find(|(oid, _)| *oid == curve).map_or("unknown", |(_, name)| name))
        }
        _ => Kind::Unknown,
    })
}

impl Kind {
    /// Why pods do not get certificates for such a key: what is wrong with it and what it should be.
    pub(super) fn problem(&self) -> Option<(String, &'static str)> {
        match self {
            Self::Ed25519 | Self::Elliptic("P-256" | "P-384" | "P-521") => None,
            Self::Elliptic(name) => Some((format!("curve {name}"), "elliptic public keys must use curve P256 or P384")),
            Self::Rsa(bits) if RSA_BITS.contains(bits) => None,
            Self::Rsa(bits) => Some((format!("{bits}-bit modulus"), "RSA keys must have modulus size 3072 or 4096")),
            Self::Unknown => {
                Some((String::new(), "unknown public key type; supported types are Ed25519, ECDSA, and RSA"))
            }
        }
    }

    /// Whether a key of this kind signed some bytes, as proofs of possession are made.
    pub(super) fn has_signed(&self, pkix: &[u8], message: &[u8], proof: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self {
            Self::Ed25519 => &signature::ED25519,
            Self::Elliptic("P-256") => &signature::ECDSA_P256_SHA256_ASN1,
            Self::Elliptic("P-384") => &signature::ECDSA_P384_SHA256_ASN1,
            Self::Rsa(_) => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Elliptic(_) | Self::Unknown => return false,
        };
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(pkix) else { return false };
        UnparsedPublicKey::new(algorithm, &key.subject_public_key.data).verify(message, proof).is_ok()
    }
}
