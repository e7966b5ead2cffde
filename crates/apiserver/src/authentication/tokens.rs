//! Service-account tokens: JWTs signed with ES256, as KEP-1205 (bound tokens) describes them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::User;
use machinery::{ApiError, Map, Value};
use ring::rand::SystemRandom;
use ring::signature::UnparsedPublicKey;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::pipeline::{Named, TokenIssuer, TokenWanted};

/// The issuer of the cluster's own tokens, and the audience of the API server.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Length of an uncompressed P-256 point: a tag, x and y.
const POINT_BYTES: usize = 65;
/// How the DER of a P-256 public key (SubjectPublicKeyInfo, RFC 5480) starts, before the point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Signs and verifies tokens.
pub struct Issuer {
    issuer: String,
    api_audiences: Vec<String>,
    key: EcdsaKeyPair,
    /// All keys whose tokens are good: `(key id, point)`; the first is the signing one.
    known: Vec<(String, Vec<u8>)>,
}

/// An object that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// For whom it is.
    pub audiences: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub issued_at: i64,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// Its own identifier.
    pub id: String,
    /// Namespace of the service account.
    pub namespace: String,
    /// Whom it stands for.
    pub service_account: BoundObject,
    /// The pod it is bound to.
    pub pod: Option<BoundObject>,
    /// The node it is bound to, or which its pod runs on.
    pub node: Option<BoundObject>,
    /// The secret it is bound to.
    pub secret: Option<BoundObject>,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no JWT of the kind that is issued here.
    #[error("the token is not a service account token")]
    Malformed,
    /// Its key is not known, or its signature does not match.
    #[error("the token's signature is not known")]
    Signature,
    /// Someone else issued it.
    #[error("the token has another issuer")]
    Issuer,
    /// It is not good yet, or not any more.
    #[error("the token has expired or is not valid yet")]
    Expired,
}

impl Claims {
    /// Whom it stands for, as upstream describes service accounts.
    pub fn user(&self) -> User {
        let name = format!("system:serviceaccount:{}:{}", self.namespace, self.service_account.name);
        let groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{}", self.namespace)];
        let mut extra = Vec::new();
        let mut say = |key: &str, value: &str| {
            if !value.is_empty() {
                extra.push((format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]));
            }
        };
        if !self.id.is_empty() {
            say("credential-id", &format!("JTI={}", self.id));
        }
        for (kind, object) in [("node", &self.node), ("pod", &self.pod)] {
            if let Some(object) = object {
                say(&format!("{kind}-name"), &object.name);
                say(&format!("{kind}-uid"), &object.uid);
            }
        }
        User { name, uid: self.service_account.uid.clone(), groups, extra }
    }

    fn to_tree(&self, issuer: &str) -> Value {
        let object = |o: &BoundObject| Value::Object(Map::from_iter([("name", &o.name), ("uid", &o.uid)]));
        let mut tree = Value::object();
        tree.set_at(&["iss"], issuer);
        tree.set_at(&["sub"], format!("system:serviceaccount:{}:{}", self.namespace, self.service_account.name));
        tree.set_at(&["aud"], self.audiences.iter().map(String::as_str).collect::<Vec<_>>());
        tree.set_at(&["iat"], self.issued_at);
        tree.set_at(&["nbf"], self.issued_at);
        tree.set_at(&["exp"], self.expires_at);
        tree.set_at(&["jti"], &self.id);
        tree.set_at(&["kubernetes.io", "namespace"], &self.namespace);
        tree.set_at(&["kubernetes.io", "serviceaccount"], object(&self.service_account));
        for (key, bound) in [("pod", &self.pod), ("node", &self.node), ("secret", &self.secret)] {
            if let Some(bound) = bound {
                tree.set_at(&["kubernetes.io", key], object(bound));
            }
        }
        tree
    }

    fn from_tree(tree: &Value) -> Option<Self> {
        let object = |key: &str| {
            let object = tree.at(&["kubernetes.io", key])?;
            let text = |field: &str| Some(object.str_at(&[field])?.to_owned());
            Some(BoundObject { name: text("name")?, uid: text("uid").unwrap_or_default() })
        };
        let audiences = match tree.at(&["aud"])? {
            Value::String(one) => vec![one.to_string()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => return None,
        };
        let claims = Self {
            audiences,
            issued_at: tree.i64_at(&["iat"]).or_else(|| tree.i64_at(&["nbf"]))?,
            expires_at: tree.i64_at(&["exp"])?,
            id: tree.str_at(&["jti"]).unwrap_or_default().to_owned(),
            namespace: tree.str_at(&["kubernetes.io", "namespace"])?.to_owned(),
            service_account: object("serviceaccount")?,
            pod: object("pod"),
            node: object("node"),
            secret: object("secret"),
        };
        let subject = format!("system:serviceaccount:{}:{}", claims.namespace, claims.service_account.name);
        (tree.str_at(&["sub"]) == Some(subject.as_str())).then_some(claims)
    }
}

impl Issuer {
    /// Signs with a P-256 key (PKCS#8 PEM), as [`ISSUER`].
    pub fn new(key_pem: &str) -> Result<Self, ApiError> {
        Self::with_name(key_pem, ISSUER, vec![ISSUER.to_owned()])
    }

    /// Signs as `issuer`; `api_audiences` are the audiences of the API server itself.
    pub fn with_name(key_pem: &str, issuer: &str, api_audiences: Vec<String>) -> Result<Self, ApiError> {
        let bad = |e: &dyn std::fmt::Display| ApiError::Internal(format!("the service-account key is not usable: {e}"));
        let der = PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| bad(&e))?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
            .map_err(|e| bad(&e))?;
        let point = key.public_key().as_ref().to_vec();
        Ok(Self { issuer: issuer.to_owned(), api_audiences, known: vec![(key_id(&point), point)], key })
    }

    /// The audiences of the API server itself.
    pub fn api_audiences(&self) -> &[String] {
        &self.api_audiences
    }

    /// Makes a token. An empty list of audiences means the API server's.
    pub fn sign(&self, claims: &Claims) -> Result<String, ApiError> {
        let mut tree = claims.to_tree(&self.issuer);
        if claims.audiences.is_empty() {
            tree.set_at(&["aud"], self.api_audiences.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.known[0].0);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(tree.to_bytes()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| ApiError::Internal("cannot sign a token".to_owned()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says, when it is whole, ours, and good now. Audiences and bound objects are the caller's to check.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed);
        let json = |bytes: Vec<u8>| Value::parse(&bytes).map_err(|_| TokenError::Malformed);
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header = json(part(header)?)?;
        if header.str_at(&["alg"]) != Some("ES256") {
            return Err(TokenError::Signature);
        }
        let id = header.str_at(&["kid"]);
        let signature = part(signature)?;
        let verifies = |point: &Vec<u8>| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).is_ok()
        };
        if !self.known.iter().any(|(known, point)| id.is_none_or(|id| id == known) && verifies(point)) {
            return Err(TokenError::Signature);
        }
        let tree = json(part(payload)?)?;
        if tree.str_at(&["iss"]) != Some(self.issuer.as_str()) {
            return Err(TokenError::Issuer);
        }
        let claims = Claims::from_tree(&tree).ok_or(TokenError::Malformed)?;
        let now = seams::clock::now().as_second();
        let not_before = tree.i64_at(&["nbf"]).unwrap_or(claims.issued_at);
        if now >= claims.expires_at || now < not_before { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// `/.well-known/openid-configuration`
    pub fn configuration(&self, jwks_uri: &str) -> Value {
        let list = |item: &str| Value::from(vec![item]);
        let mut tree = Value::object();
        tree.set_at(&["issuer"], &self.issuer);
        tree.set_at(&["jwks_uri"], jwks_uri);
        tree.set_at(&["response_types_supported"], list("id_token"));
        tree.set_at(&["subject_types_supported"], list("public"));
        tree.set_at(&["id_token_signing_alg_values_supported"], list("ES256"));
        tree
    }

    /// `/openid/v1/jwks`
    pub fn keys(&self) -> Value {
        let key = |(id, point): &(String, Vec<u8>)| {
            let (x, y) = point[1..].split_at((POINT_BYTES - 1) / 2);
            let fields = [
                ("use", "sig".to_owned()),
                ("kty", "EC".to_owned()),
                ("kid", id.clone()),
                ("crv", "P-256".to_owned()),
                ("alg", "ES256".to_owned()),
                ("x", URL_SAFE_NO_PAD.encode(x)),
                ("y", URL_SAFE_NO_PAD.encode(y)),
            ];
            Value::Object(Map::from_iter(fields))
        };
        let mut tree = Value::object();
        tree.set_at(&["keys"], self.known.iter().map(key).collect::<Vec<_>>());
        tree
    }
}

impl TokenIssuer for Issuer {
    fn issue(&self, wanted: &TokenWanted) -> Result<(String, Vec<String>), ApiError> {
        let bound = |named: &Named| BoundObject { name: named.name.clone(), uid: named.uid.clone() };
        let now = seams::clock::now().as_second();
        let audiences = if wanted.audiences.is_empty() { &self.api_audiences } else { &wanted.audiences };
        let claims = Claims {
            audiences: audiences.clone(),
            issued_at: now,
            expires_at: now.saturating_add(wanted.expiration_seconds),
            id: seams::random::uuid(),
            namespace: wanted.namespace.clone(),
            service_account: bound(&wanted.service_account),
            pod: wanted.pod.as_ref().map(bound),
            node: wanted.node.as_ref().map(bound),
            secret: wanted.secret.as_ref().map(bound),
        };
        Ok((self.sign(&claims)?, claims.audiences))
    }
}

/// A key's identifier, as upstream derives it: the digest of its public key's DER.
fn key_id(point: &[u8]) -> String {
    let der = [&SPKI_PREFIX, point].concat();
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &der))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        Issuer::new(&rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap()
    }

    fn claims(from: i64, seconds: i64) -> Claims {
        let now = seams::clock::now().as_second() + from;
        Claims {
            audiences: vec![ISSUER.to_owned()],
            issued_at: now,
            expires_at: now + seconds,
            id: "id".to_owned(),
            namespace: "default".to_owned(),
            service_account: BoundObject { name: "web".to_owned(), uid: "u1".to_owned() },
            pod: Some(BoundObject { name: "web-1".to_owned(), uid: "u2".to_owned() }),
            ..Claims::default()
        }
    }

    #[test]
    fn a_token_comes_back_whole() {
        let (issuer, claims) = (issuer(), claims(0, 600));
        let token = issuer.sign(&claims).unwrap();
        assert_eq!(issuer.verify(&token), Ok(claims.clone()));
        let user = claims.user();
        assert_eq!(user.name, "system:serviceaccount:default:web");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:default"]);
        assert!(user.extra.contains(&("authentication.kubernetes.io/pod-name".into(), vec!["web-1".into()])));
    }

    #[test]
    fn what_is_not_good_is_refused() {
        let ours = issuer();
        let sign = |claims: &Claims| ours.sign(claims).unwrap();
        assert_eq!(ours.verify(&sign(&claims(-700, 600))), Err(TokenError::Expired));
        assert_eq!(ours.verify(&sign(&claims(100, 600))), Err(TokenError::Expired));
        let good = sign(&claims(0, 600));
        assert_eq!(issuer().verify(&good), Err(TokenError::Signature));
        let (head, signature) = good.rsplit_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(claims(0, 6000).to_tree(ISSUER).to_bytes());
        let forged = format!("{}.{forged}.{signature}", head.split_once('.').unwrap().0);
        assert_eq!(ours.verify(&forged), Err(TokenError::Signature));
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(ours.verify(&format!("{none}.{}.", head.split_once('.').unwrap().1)), Err(TokenError::Signature));
        for text in ["", ".", "..", "a.b.c", "x"] {
            assert_eq!(ours.verify(text), Err(TokenError::Malformed), "{text:?}");
        }
    }
}
