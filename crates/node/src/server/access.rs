//! Who may use the node's API: client certificates and bearer tokens name the caller, the API server decides
//! (TokenReview, SubjectAccessReview), as upstream's webhook mode. The API server's own certificate and
//! administrators' are let in without asking: whatever the API server would say, it is they who ask there.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use client::{Api, User};
use http::{HeaderMap, Method, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::agent::Agent;

/// The common name of the API server's client certificate.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
const ADMINISTRATORS: &str = "system:masters";
/// How long answers of the API server hold (upstream's defaults): whose token it is, what is allowed, what is not.
const TOKEN_HOLDS: Duration = Duration::from_secs(120);
const ALLOWED_HOLDS: Duration = Duration::from_secs(300);
const DENIED_HOLDS: Duration = Duration::from_secs(30);
/// More answers than this are not kept.
const ANSWERS_MAX: usize = 1024;

/// Why a caller is not let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody in particular.
    Unauthorized,
    /// Somebody without the right; the text says who and which.
    Forbidden(String),
    /// The API server could not be asked.
    Failed(String),
}

/// Answers that hold for a while.
struct Answers<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: Hash + Eq, V: Clone> Answers<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, (V, Instant)>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).filter(|(_, until)| *until > Instant::now()).map(|(answer, _)| answer.clone())
    }

    fn put(&self, key: K, answer: V, holds: Duration) {
        let (mut all, now) = (self.lock(), Instant::now());
        if all.len() >= ANSWERS_MAX {
            all.retain(|_, (_, until)| *until > now);
        }
        if all.len() < ANSWERS_MAX {
            all.insert(key, (answer, now + holds));
        }
    }
}

/// What is asked of the API server, remembered.
pub struct Access {
    tokens: Answers<String, User>,
    decisions: Answers<(User, &'static str, &'static str), bool>,
}

impl Default for Access {
    fn default() -> Self {
        Self { tokens: Answers(Mutex::default()), decisions: Answers(Mutex::default()) }
    }
}

impl Access {
    /// Whether the request may be answered.
    pub async fn check(
        &self,
        agent: &Agent,
        certificate: Option<&User>,
        headers: &HeaderMap,
        (method, path): (&Method, &[&str]),
    ) -> Result<(), Refusal> {
        let user = match certificate {
            Some(user) => user.clone(),
            None => self.bearer(agent, headers).await?,
        };
        if user.name == API_SERVER || user.groups.iter().any(|group| group == ADMINISTRATORS) {
            return Ok(());
        }
        let (verb, parts) = (verb(method), subresources(path));
        for part in parts {
            if self.allowed(agent, &user, verb, part).await? {
                return Ok(());
            }
        }
        let parts = parts.join(" ");
        Err(Refusal::Forbidden(format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{parts}])",
            user.name
        )))
    }

    async fn bearer(&self, agent: &Agent, headers: &HeaderMap) -> Result<User, Refusal> {
        let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = value.and_then(|v| v.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        let token = token.map(|(_, token)| token.trim()).filter(|t| !t.is_empty()).ok_or(Refusal::Unauthorized)?;
        let token = token.to_owned();
        if let Some(user) = self.tokens.get(&token) {
            return Ok(user);
        }
        let spec = TokenReviewSpec { token: token.clone(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::<TokenReview>::all(&agent.options.client).create(&review).await;
        let answer = answer.map_err(|error| Refusal::Failed(error.to_string()))?;
        let status = answer.status.as_ref().filter(|s| s.authenticated == Some(true)).ok_or(Refusal::Unauthorized)?;
        let info = status.user.clone().unwrap_or_default();
        let user = User {
            name: info.username.unwrap_or_default(),
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default().into_iter().collect(),
        };
        self.tokens.put(token, user.clone(), TOKEN_HOLDS);
        Ok(user)
    }

    async fn allowed(
        &self,
        agent: &Agent,
        user: &User,
        verb: &'static str,
        part: &'static str,
    ) -> Result<bool, Refusal> {
        let key = (user.clone(), verb, part);
        if let Some(answer) = self.decisions.get(&key) {
            return Ok(answer);
        }
        let attributes = ResourceAttributes {
            group: Some(String::new()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(part.to_owned()),
            name: Some(agent.options.node_name.clone()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.iter().cloned().collect()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = Api::<SubjectAccessReview>::all(&agent.options.client).create(&review).await;
        let answer = answer.map_err(|error| Refusal::Failed(error.to_string()))?;
        let allowed = answer.status.as_ref().is_some_and(|s| s.allowed && s.denied != Some(true));
        self.decisions.put(key, allowed, if allowed { ALLOWED_HOLDS } else { DENIED_HOLDS });
        Ok(allowed)
    }
}

/// The user that a client certificate names: the common name, with the organizations as groups.
pub fn of_certificate(bytes: &[u8]) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(bytes).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().find_map(|n| n.as_str().ok())?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".to_owned());
    Some(User { name, uid: String::new(), groups, extra: Vec::new() })
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The subresources of the node that a path stands for; the right to one of them is enough (KEP-2862).
fn subresources(path: &[&str]) -> &'static [&'static str] {
    match path.first().copied().unwrap_or_default() {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "healthz" => &["healthz", "proxy"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "configz" => &["configz", "proxy"],
        _ => &["proxy"],
    }
}
