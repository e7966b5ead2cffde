//! projected: several sources in one directory; among them the service account's token, renewed at 80% of its life.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use client::Api;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, VolumeProjection,
};
use machinery::Value;

use super::{
    Context, File, Files, Kind, Mounted, config_map, downward, pod_certificate, secret, trust_bundle, write_contents,
};

pub struct Projected(pub ProjectedVolumeSource);

impl Kind for Projected {
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let mut files = Files::new();
            let mut renew_at = None;
            for source in self.0.sources.iter().flatten() {
                let (some, renew) = source_files(context, source, self.0.default_mode).await?;
                files.extend(some);
                renew_at = [renew_at, renew].into_iter().flatten().min();
            }
            let mut mounted = write_contents(context, "projected", files, true).await?;
            mounted.refresh_at = renew_at;
            Ok(mounted)
        })
    }
}

async fn source_files(
    context: &Context<'_>,
    source: &VolumeProjection,
    mode: Option<i32>,
) -> Result<(Files, Option<Timestamp>), String> {
    if let Some(map) = &source.config_map {
        let optional = map.optional == Some(true);
        return Ok((config_map::files(context, &map.name, map.items.as_ref(), mode, optional).await?, None));
    }
    if let Some(own) = &source.secret {
        let optional = own.optional == Some(true);
        return Ok((secret::files(context, &own.name, own.items.as_ref(), mode, optional).await?, None));
    }
    if let Some(facts) = &source.downward_api {
        return Ok((downward::files(context, facts.items.as_ref(), mode)?, None));
    }
    if let Some(token) = &source.service_account_token {
        let (text, renew) = token_for(context, token).await?;
        let (mode, uid) = private(context, mode);
        let file = File { bytes: text.into_bytes(), mode, uid };
        return Ok((Files::from([(token.path.clone(), file)]), Some(renew)));
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        let security = context.wanted.spec().security_context.as_ref();
        let private = security.is_some_and(|s| s.fs_group.is_some());
        let mode = mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644) & 0o777;
        return trust_bundle::files(context, bundle, if private { 0o600 } else { mode }).await;
    }
    if let Some(certificate) = &source.pod_certificate {
        let (mode, user) = private(context, mode);
        return pod_certificate::files(context, certificate, mode, user).await;
    }
    Err("a source of a projected volume that this node does not know".to_owned())
}

/// The mode and the owner of files that nobody else is to read: a pod that runs as one user gets files that only this user
/// (or its group) reads.
fn private(context: &Context<'_>, mode: Option<i32>) -> (u32, Option<u32>) {
    let security = context.wanted.spec().security_context.as_ref();
    let user = security.and_then(|s| s.run_as_user).and_then(|u| u32::try_from(u).ok());
    let group = security.and_then(|s| s.fs_group);
    let mode = match (group, user) {
        (None, Some(_)) => 0o600,
        _ => mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644) & 0o777,
    };
    (mode, user.filter(|_| group.is_none()))
}

type Tokens = HashMap<(String, String, String), (String, Timestamp)>;

/// Tokens that are still good for a while, by pod UID, volume and audience.
fn tokens() -> &'static Mutex<Tokens> {
    static TOKENS: OnceLock<Mutex<Tokens>> = OnceLock::new();
    TOKENS.get_or_init(Mutex::default)
}

async fn token_for(
    context: &Context<'_>,
    source: &ServiceAccountTokenProjection,
) -> Result<(String, Timestamp), String> {
    let audience = source.audience.clone().unwrap_or_default();
    let key = (context.wanted.uid().to_owned(), context.name.to_owned(), audience.clone());
    let now = seams::clock::now();
    {
        let mut known = tokens().lock().unwrap_or_else(|e| e.into_inner());
        known.retain(|_, (_, renew)| *renew > now);
        if let Some((token, renew)) = known.get(&key) {
            return Ok((token.clone(), *renew));
        }
    }
    let lifetime = source.expiration_seconds.unwrap_or(3600);
    let account = context.wanted.spec().service_account_name.as_deref().unwrap_or("default");
    let mut body = Value::object();
    body.set_at(&["apiVersion"], "authentication.k8s.io/v1");
    body.set_at(&["kind"], "TokenRequest");
    body.set_at(&["spec", "expirationSeconds"], lifetime);
    if !audience.is_empty() {
        body.set_at(&["spec", "audiences"], vec![audience]);
    } else {
        body.set_at(&["spec", "audiences"], Vec::<Value>::new());
    }
    body.set_at(&["spec", "boundObjectRef", "apiVersion"], "v1");
    body.set_at(&["spec", "boundObjectRef", "kind"], "Pod");
    body.set_at(&["spec", "boundObjectRef", "name"], context.wanted.name());
    body.set_at(&["spec", "boundObjectRef", "uid"], context.wanted.uid());
    let api = Api::<ServiceAccount>::namespaced(&context.agent.options.client, context.wanted.namespace());
    let answer = api.create_subresource(account, "token", body).await;
    let answer = answer.map_err(|e| format!("failed to fetch token: {e}"))?;
    let token = answer.str_at(&["status", "token"]).ok_or("failed to fetch token: the answer has none")?.to_owned();
    // The server may grant another lifetime than was asked for. No token gets older than a day, as upstream has it.
    let expires = answer.str_at(&["status", "expirationTimestamp"]).and_then(|at| at.parse::<Timestamp>().ok());
    let granted = expires.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    let asked = Duration::from_secs(u64::try_from(lifetime).unwrap_or(3600));
    let renew = now + granted.unwrap_or(asked).min(Duration::from_secs(24 * 3600)).mul_f64(0.8);
    tokens().lock().unwrap_or_else(|e| e.into_inner()).insert(key, (token.clone(), renew));
    Ok((token, renew))
}
