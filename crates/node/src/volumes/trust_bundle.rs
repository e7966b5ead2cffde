//! clusterTrustBundle: the certificates of authorities, picked by name or by signer and labels (KEP-3257).

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::Api;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Context, File, Files};

/// How often the bundles are read anew.
const REFRESH: Duration = Duration::from_secs(60);

/// The file of one source, and when to look again.
pub async fn files(
    context: &Context<'_>,
    source: &ClusterTrustBundleProjection,
    mode: u32,
) -> Result<(Files, Option<Timestamp>), String> {
    let bundles = bundles(context, source).await?;
    let bytes = anchors(bundles.iter().map(String::as_str))?.into_bytes();
    let file = File { bytes, mode, uid: None };
    Ok((Files::from([(source.path.clone(), file)]), Some(seams::clock::now() + REFRESH)))
}

async fn bundles(context: &Context<'_>, source: &ClusterTrustBundleProjection) -> Result<Vec<String>, String> {
    let api = Api::<ClusterTrustBundle>::all(&context.agent.options.client);
    let optional = source.optional == Some(true);
    if let Some(name) = &source.name {
        return match api.get_opt(name).await.map_err(|e| e.to_string())? {
            Some(bundle) => Ok(vec![bundle.spec.trust_bundle.clone()]),
            None if optional => Ok(Vec::new()),
            None => Err(format!("clustertrustbundle.certificates.k8s.io {name:?} not found")),
        };
    }
    let signer = source.signer_name.as_deref().unwrap_or_default();
    let all = api.list(Default::default()).await.map_err(|e| e.to_string())?;
    // Without a selector nothing is picked; an empty one picks all.
    let picked = all.iter().filter(|bundle| {
        let labels = bundle.metadata.labels.as_ref();
        let fits = source.label_selector.as_ref().is_some_and(|s| client::labels::matches(s, labels));
        fits && bundle.spec.signer_name.as_deref() == Some(signer)
    });
    let picked: Vec<String> = picked.map(|bundle| bundle.spec.trust_bundle.clone()).collect();
    if picked.is_empty() && !optional {
        return Err("combination of signerName and labelSelector matched zero ClusterTrustBundles".to_owned());
    }
    Ok(picked)
}

/// All certificates once, without the text around them.
fn anchors<'a>(bundles: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let (mut known, mut out) = (BTreeSet::new(), String::new());
    for bundle in bundles {
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            let certificate = certificate.map_err(|e| format!("a trust bundle is no PEM: {e}"))?;
            if known.insert(certificate.to_vec()) {
                push_pem(&certificate, &mut out);
            }
        }
    }
    Ok(out)
}

fn push_pem(der: &[u8], out: &mut String) {
    out.push_str("-----BEGIN CERTIFICATE-----\n");
    let text = STANDARD.encode(der);
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_comes_once() {
        let pem = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let (a, b) = (pem("AAAA"), pem("BBBB"));
        let commented = format!("# an authority\n{a}{b}");
        let all = anchors([commented.as_str(), a.as_str()].into_iter());
        assert_eq!(all, Ok(format!("{a}{b}")));
        assert_eq!(anchors([].into_iter()), Ok(String::new()));
    }
}
