//! Who asks: client certificates, service-account tokens, static tokens, or nobody in particular.
//!
//! As upstream: every method is tried, one that knows the caller is enough; credentials that nobody knows are 401, no
//! credentials at all are the anonymous user.

pub mod certificates;
pub mod impersonation;
pub mod tokens;

use std::sync::{Arc, Weak};

use client::{Options, Reply, User};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use machinery::ApiError;
use machinery::object::ObjectExt;

use crate::pipeline::{Attributes, Incoming, Pipeline, TokenAuthenticator};
use certificates::PeerCertificate;
use tokens::{Claims, Issuer};

/// The group of all who are known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of all who are not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of all who are not known.
pub const ANONYMOUS: &str = "system:anonymous";

/// A token that was handed out beforehand.
#[derive(Debug, Clone)]
pub struct StaticToken {
    /// The whole token.
    pub token: String,
    /// Whom it stands for; `system:authenticated` is added.
    pub user: User,
}

/// Knows callers by their credentials.
pub struct Authenticator {
    issuer: Option<Arc<Issuer>>,
    static_tokens: Vec<StaticToken>,
    /// Reads the objects that tokens are bound to. Weak, since the pipeline asks back (TokenReview).
    objects: Weak<Pipeline>,
    reader: User,
}

impl Authenticator {
    /// An authenticator that reads bound objects from `objects`.
    pub fn new(objects: &Arc<Pipeline>, issuer: Option<Arc<Issuer>>, static_tokens: Vec<StaticToken>) -> Self {
        let reader = User::component("system:apiserver", &["system:masters"]);
        Self { issuer, static_tokens, objects: Arc::downgrade(objects), reader }
    }

    /// Whose service-account tokens are known.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.issuer.as_deref()
    }

    /// The caller of a request.
    pub async fn authenticate(&self, peer: &PeerCertificate, headers: &HeaderMap) -> Result<User, ApiError> {
        let mut refused = false;
        match peer {
            PeerCertificate::Absent => {}
            PeerCertificate::Known { user, not_after } if seams::clock::now().as_second() <= *not_after => {
                return Ok(user.clone());
            }
            PeerCertificate::Known { .. } | PeerCertificate::Refused => refused = true,
        }
        if let Some(token) = bearer(headers) {
            match self.token(token, &[]).await {
                Some((user, _)) => return Ok(user),
                None => refused = true,
            }
        }
        if refused { Err(ApiError::Unauthorized) } else { Ok(anonymous()) }
    }

    /// Whom a bearer token stands for, and for which of the audiences asked for it is good (TokenReview asks for some; an
    /// empty list means the API server's own). `None` when nobody is known by it.
    pub async fn token(&self, token: &str, audiences: &[String]) -> Option<(User, Vec<String>)> {
        let known = self.static_tokens.iter().find(|t| same(t.token.as_bytes(), token.as_bytes()));
        if let Some(known) = known {
            return Some((authenticated(known.user.clone()), audiences.to_vec()));
        }
        let issuer = self.issuer.as_ref()?;
        let claims = issuer.verify(token).inspect_err(|e| tracing::debug!("token refused: {e}")).ok()?;
        let wanted: &[String] = if audiences.is_empty() { issuer.api_audiences() } else { audiences };
        let good: Vec<String> = wanted.iter().filter(|a| claims.audiences.contains(a)).cloned().collect();
        if good.is_empty() || !self.is_bound(&claims).await {
            return None;
        }
        Some((authenticated(claims.user()), good))
    }

    /// Whether everything that a token is bound to still exists. A service account or pod that was made anew under the same
    /// name has another UID; one that is being deleted is good for 60 seconds more, as upstream grants.
    async fn is_bound(&self, claims: &Claims) -> bool {
        let namespace = Some(claims.namespace.as_str());
        let account = (&claims.service_account, "serviceaccounts", namespace);
        let pod = claims.pod.iter().map(|p| (p, "pods", namespace));
        // A node that a token merely names (beside a pod) need not exist; one it is bound to must.
        let node = claims.node.iter().filter(|_| claims.pod.is_none()).map(|n| (n, "nodes", None));
        let secret = claims.secret.iter().map(|s| (s, "secrets", namespace));
        for (object, resource, namespace) in std::iter::once(account).chain(pod).chain(node).chain(secret) {
            if !self.exists(resource, namespace, &object.name, &object.uid).await {
                return false;
            }
        }
        true
    }

    async fn exists(&self, resource: &str, namespace: Option<&str>, name: &str, uid: &str) -> bool {
        /// How long a token outlives the start of its object's deletion, in seconds.
        const DELETION_LEEWAY_SECONDS: i64 = 60;
        let Some(objects) = self.objects.upgrade() else { return false };
        let attributes = Attributes {
            verb: "get".to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        let options = Options { resource_version: "0".to_owned(), ..Options::default() };
        let incoming = Incoming { user: self.reader.clone(), attributes, options, ..Incoming::default() };
        let Ok(Reply::Object(entry)) = objects.serve(incoming).await.map(|served| served.reply) else { return false };
        let tree = entry.tree();
        let deleted = tree.str_at(&["metadata", "deletionTimestamp"]).and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let too_late =
            deleted.is_some_and(|at| seams::clock::now().as_second() > at.as_second() + DELETION_LEEWAY_SECONDS);
        tree.as_ref().uid() == uid && !too_late
    }
}

impl TokenAuthenticator for Authenticator {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Option<(User, Vec<String>)>> {
        Box::pin(self.token(token, audiences))
    }
}

/// The user of requests without credentials.
pub fn anonymous() -> User {
    User { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..User::default() }
}

/// The user with the group of all who are known.
pub fn authenticated(mut user: User) -> User {
    if user.name != ANONYMOUS && !user.groups.iter().any(|g| g == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}
