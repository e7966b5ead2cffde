//! podCertificate: a key that is made here, and a certificate that its signer gives the pod for it (KEP-4317).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use client::Api;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1beta1::{
    PodCertificateRequest, PodCertificateRequestSpec, PodCertificateRequestStatus,
};
use k8s_openapi::api::core::v1::{PodCertificateProjection, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::ApiError;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::{Context, File, Files};

/// How long a mount waits for the signer before it says so; it is tried again then.
const WAIT: Duration = Duration::from_secs(10);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// How often is looked while the certificate before is still good.
const LOOK_LATER: Duration = Duration::from_secs(10);

/// A key with its certificate.
#[derive(Clone)]
struct Credential {
    key: String,
    chain: String,
    refresh_at: Timestamp,
    not_after: Timestamp,
}

/// A request that was made and not answered.
#[derive(Clone)]
struct Asked {
    name: String,
    key: String,
}

/// Where one source of one pod stands.
#[derive(Clone, Default)]
struct Standing {
    good: Option<Credential>,
    asked: Option<Asked>,
    /// The signer refused for good.
    refused: Option<String>,
}

type Key = (String, String, String);

/// By pod UID, volume and source. Keys are kept in memory only: an agent that starts anew asks for new ones.
fn standings() -> MutexGuard<'static, HashMap<Key, Standing>> {
    static ALL: OnceLock<Mutex<HashMap<Key, Standing>>> = OnceLock::new();
    ALL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files of one source, and when to look again.
pub async fn files(
    context: &Context<'_>,
    source: &PodCertificateProjection,
    mode: u32,
    uid: Option<u32>,
) -> Result<(Files, Option<Timestamp>), String> {
    let paths = [&source.credential_bundle_path, &source.key_path, &source.certificate_chain_path];
    let place = format!("{} {} {paths:?}", source.signer_name, source.key_type);
    let key = (context.wanted.uid().to_owned(), context.name.to_owned(), place);
    let mut standing = {
        let mut all = standings();
        all.retain(|(pod, ..), _| *pod == key.0 || context.agent.has_worker(pod));
        all.get(&key).cloned().unwrap_or_default()
    };
    let result = renew(context, source, &mut standing).await;
    let (good, refresh_at) = match (result, &standing.good) {
        (Ok(()), Some(good)) => (good.clone(), good.refresh_at),
        // What is still good is used until there is another one.
        (Err(_), Some(good)) if good.not_after > seams::clock::now() => {
            (good.clone(), seams::clock::now() + LOOK_LATER)
        }
        (result, _) => {
            standings().insert(key, standing);
            return Err(result.err().unwrap_or_else(|| "there is no certificate".to_owned()));
        }
    };
    standings().insert(key, standing);
    let file = |text: String| File { bytes: text.into_bytes(), mode, uid };
    let texts = [format!("{}{}", good.key, good.chain), good.key, good.chain];
    let named = paths.into_iter().zip(texts).filter_map(|(path, text)| {
        let path = path.clone().filter(|path| !path.is_empty())?;
        Some((path, file(text)))
    });
    Ok((named.collect(), Some(refresh_at)))
}

/// Sees to it that there is a certificate that need not be renewed yet.
async fn renew(context: &Context<'_>, source: &PodCertificateProjection, at: &mut Standing) -> Result<(), String> {
    if at.good.as_ref().is_some_and(|good| good.refresh_at > seams::clock::now()) {
        return Ok(());
    }
    if let Some(why) = &at.refused {
        return Err(why.clone());
    }
    let asked = match at.asked.clone() {
        Some(asked) => asked,
        None => ask(context, source).await?,
    };
    at.asked = Some(asked.clone());
    let patience = if at.good.is_some() { Duration::ZERO } else { WAIT };
    let begun = tokio::time::Instant::now();
    loop {
        match answer(context, &asked).await {
            Ok(Some(good)) => {
                (at.good, at.asked) = (Some(good), None);
                return Ok(());
            }
            Ok(None) if begun.elapsed() < patience => tokio::time::sleep(LOOK).await,
            Ok(None) => return Err(format!("PodCertificateRequest {:?} is not signed yet", asked.name)),
            Err(Answer::Gone) => {
                at.asked = None;
                return Err(format!("PodCertificateRequest {:?} is gone", asked.name));
            }
            Err(Answer::Refused(why)) => {
                (at.refused, at.asked) = (Some(why.clone()), None);
                return Err(why);
            }
            Err(Answer::Failed(why)) => return Err(why),
        }
    }
}

/// Why there is no certificate.
enum Answer {
    Gone,
    Refused(String),
    Failed(String),
}

async fn answer(context: &Context<'_>, asked: &Asked) -> Result<Option<Credential>, Answer> {
    let api = Api::<PodCertificateRequest>::namespaced(&context.agent.options.client, context.wanted.namespace());
    let request = api.get_opt(&asked.name).await.map_err(|e| Answer::Failed(e.to_string()))?;
    let request = request.ok_or(Answer::Gone)?;
    let Some(status) = &request.status else { return Ok(None) };
    for kind in ["Denied", "Failed"] {
        if let Some(found) = status.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == "True") {
            let (name, reason, message) = (&asked.name, &found.reason, &found.message);
            let text = format!("PodCertificateRequest {name:?} is {}: {reason}: {message}", kind.to_lowercase());
            return Err(Answer::Refused(text));
        }
    }
    Ok(credential(status, &asked.key))
}

fn credential(status: &PodCertificateRequestStatus, key: &str) -> Option<Credential> {
    let issued = status.conditions.iter().flatten().any(|c| c.type_ == "Issued" && c.status == "True");
    let chain = status.certificate_chain.clone().filter(|chain| issued && !chain.is_empty())?;
    let (refresh_at, not_after) = (status.begin_refresh_at.as_ref()?.0, status.not_after.as_ref()?.0);
    Some(Credential { key: key.to_owned(), chain, refresh_at, not_after })
}

/// Makes a key and asks the signer for its certificate.
async fn ask(context: &Context<'_>, source: &PodCertificateProjection) -> Result<Asked, String> {
    let (agent, wanted) = (context.agent, context.wanted);
    let (key, request) = key_and_request(&source.key_type)?;
    let failed = |e: ApiError| format!("failed to ask for a certificate: {e}");
    let account = wanted.spec().service_account_name.as_deref().filter(|n| !n.is_empty()).unwrap_or("default");
    let accounts = Api::<ServiceAccount>::namespaced(&agent.options.client, wanted.namespace());
    let account_uid = accounts.get(account).await.map_err(failed)?.metadata.uid.clone().unwrap_or_default();
    let node_uid = agent.node().and_then(|node| node.metadata.uid.clone());
    let node_uid = node_uid.ok_or("failed to ask for a certificate: the node is not registered yet")?;
    let name = format!("req-{}", seams::random::uuid());
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: wanted.name().to_owned(),
        uid: wanted.uid().to_owned(),
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(wanted.namespace().to_owned()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let spec = PodCertificateRequestSpec {
        signer_name: source.signer_name.clone(),
        pod_name: wanted.name().to_owned(),
        pod_uid: wanted.uid().to_owned(),
        service_account_name: account.to_owned(),
        service_account_uid: account_uid,
        node_name: agent.options.node_name.clone(),
        node_uid,
        max_expiration_seconds: source.max_expiration_seconds,
        stub_pkc_s10_request: ByteString(request),
        unverified_user_annotations: source.user_annotations.clone(),
        ..PodCertificateRequestSpec::default()
    };
    let api = Api::<PodCertificateRequest>::namespaced(&agent.options.client, wanted.namespace());
    api.create(&PodCertificateRequest { metadata, spec, status: None }).await.map_err(failed)?;
    Ok(Asked { name, key })
}

/// A key in PEM, and a request in its name that asks for nothing: the signer knows what the pod is to have.
fn key_and_request(kind: &str) -> Result<(String, Vec<u8>), String> {
    let algorithm = match kind {
        "ECDSAP256" => &rcgen::PKCS_ECDSA_P256_SHA256,
        "ECDSAP384" => &rcgen::PKCS_ECDSA_P384_SHA384,
        "ED25519" => &rcgen::PKCS_ED25519,
        other => return Err(format!("this node does not make keys of the type {other} (podCertificate keyType)")),
    };
    let key = KeyPair::generate_for(algorithm).map_err(|e| e.to_string())?;
    let mut asked = CertificateParams::default();
    asked.distinguished_name = DistinguishedName::new();
    let request = asked.serialize_request(&key).map_err(|e| e.to_string())?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509CertificationRequest};

    use super::*;

    #[test]
    fn keys_are_made_and_sign_their_request() {
        for kind in ["ECDSAP256", "ECDSAP384", "ED25519"] {
            let (key, request) = key_and_request(kind).unwrap();
            assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "{kind}");
            let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
            request.verify_signature().unwrap();
            assert_eq!(request.certification_request_info.subject.iter().count(), 0);
        }
        let error = key_and_request("RSA3072").unwrap_err();
        assert_eq!(error, "this node does not make keys of the type RSA3072 (podCertificate keyType)");
    }
}
