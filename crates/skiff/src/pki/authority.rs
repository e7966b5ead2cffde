//! A certificate authority and what it signs. All keys are ECDSA P-256.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Identity, files};

/// How long an authority lasts.
const AUTHORITY_DAYS: i64 = 3_650;
/// How long what it signs lasts.
const LEAF_DAYS: i64 = 365;
/// Clocks of other machines may be behind by this much.
const BACKDATE_SECONDS: i64 = 3_600;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To serve.
    Server,
    /// To be known as a client.
    Client,
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Common name: the user of a client certificate.
    pub common_name: String,
    /// Organizations: the groups of a client certificate.
    pub organizations: Vec<String>,
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// What it is for.
    pub usage: Usage,
}

impl Leaf {
    /// A certificate without groups and names.
    pub fn new(common_name: &str, usage: Usage) -> Self {
        Self { common_name: common_name.to_owned(), organizations: vec![], dns: vec![], ips: vec![], usage }
    }
}

/// A certificate authority.
pub struct Authority {
    identity: Identity,
}

/// A new private key, PKCS#8 PEM.
pub fn new_key() -> Result<String> {
    Ok(KeyPair::generate().context("cannot make a key")?.serialize_pem())
}

impl Authority {
    /// Opens `<directory>/<name>.crt` and `.key`, or makes them.
    pub fn open(directory: &Path, name: &str, subject: &str) -> Result<Self> {
        let path = directory.join(name);
        if let Some(identity) = files::read_identity(&path)? {
            return Ok(Self { identity });
        }
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = params(subject, AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).context("cannot sign an authority")?;
        let identity = Identity { certificate: certificate.pem(), key: key.serialize_pem() };
        files::write_identity(&path, &identity)?;
        Ok(Self { identity })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.identity.certificate
    }

    /// Signs a new certificate.
    pub fn issue(&self, leaf: &Leaf) -> Result<Identity> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let ca_key = KeyPair::from_pem(&self.identity.key).context("the authority's key is damaged")?;
        let issuer = Issuer::from_ca_cert_pem(&self.identity.certificate, ca_key)
            .context("the authority's certificate is damaged")?;
        let mut params = params(&leaf.common_name, LEAF_DAYS)?;
        for organization in &leaf.organizations {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        for name in &leaf.dns {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().context("bad host name")?));
        }
        params.subject_alt_names.extend(leaf.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match leaf.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let certificate = params.signed_by(&key, &issuer).context("cannot sign a certificate")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Whether a certificate is this authority's, lasts for some days more, and says at least what `leaf` asks for.
    pub fn still_good(&self, identity: &Identity, leaf: &Leaf, days: i64) -> bool {
        let (Some(certificate), Some(authority)) = (der(&identity.certificate), der(self.certificate())) else {
            return false;
        };
        let parsed = (X509Certificate::from_der(&certificate), X509Certificate::from_der(&authority));
        let (Ok((_, certificate)), Ok((_, authority))) = parsed else { return false };
        certificate.verify_signature(Some(authority.public_key())).is_ok()
            && certificate.validity().not_after.timestamp() > seams::clock::now().as_second() + days * 86_400
            && says(&certificate, leaf)
    }
}

fn says(certificate: &X509Certificate<'_>, leaf: &Leaf) -> bool {
    let subject = certificate.subject();
    let names: Vec<&str> = subject.iter_common_name().filter_map(|n| n.as_str().ok()).collect();
    let groups: Vec<&str> = subject.iter_organization().filter_map(|n| n.as_str().ok()).collect();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map(|san| san.value.general_names.as_slice()).unwrap_or_default();
    let has_ip = |ip: &IpAddr| {
        let octets = match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        alternatives.iter().any(|n| matches!(n, GeneralName::IPAddress(known) if *known == octets))
    };
    let has_dns = |dns: &String| alternatives.iter().any(|n| matches!(n, GeneralName::DNSName(known) if known == dns));
    names == [leaf.common_name.as_str()]
        && groups == leaf.organizations
        && leaf.dns.iter().all(has_dns)
        && leaf.ips.iter().all(has_ip)
}

fn params(common_name: &str, days: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = seams::clock::now().as_second();
    params.not_before = date(now - BACKDATE_SECONDS);
    params.not_after = date(now + days * 86_400);
    let mut serial = [0u8; 16];
    seams::random::fill(&mut serial);
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn date(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

/// The first certificate of a PEM text, DER.
fn der(pem: &str) -> Option<Vec<u8>> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok().map(|(_, pem)| pem.contents)
}
