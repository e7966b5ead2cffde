//! Where a page of a list ended: upstream's continue token (`apiserver/pkg/storage/continue.go`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{ApiError, Value};

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinueToken {
    /// The revision of the list; `None` goes on with what is there now.
    pub revision: Option<u64>,
    /// The last key sent, without the storage's prefix.
    pub after: String,
}

impl ContinueToken {
    /// The token as clients get it.
    pub fn encode(&self) -> String {
        let revision = self.revision.and_then(|r| i64::try_from(r).ok()).unwrap_or(-1);
        let mut tree = Value::object();
        tree.set_at(&["v"], TOKEN_VERSION);
        tree.set_at(&["rv"], revision);
        // Upstream names the first key not sent yet: the last one with a zero byte behind it.
        tree.set_at(&["start"], format!("{}\0", self.after));
        URL_SAFE_NO_PAD.encode(tree.to_bytes())
    }

    /// Reads a token that a client sent back.
    pub fn decode(text: &str) -> Result<Self, ApiError> {
        let invalid =
            |why: &str| ApiError::BadRequest(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| invalid(&e.to_string()))?;
        let tree = Value::parse(&bytes).map_err(|e| invalid(&e.to_string()))?;
        if tree.str_at(&["v"]) != Some(TOKEN_VERSION) {
            return Err(invalid("server does not recognize this encoded version"));
        }
        let revision = match tree.i64_at(&["rv"]) {
            None | Some(0) => return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            Some(revision) => u64::try_from(revision).ok(),
        };
        let start = tree.str_at(&["start"]).filter(|s| !s.is_empty());
        let start = start.ok_or_else(|| invalid("encoded start key empty (version meta.k8s.io/v1)"))?;
        if start.split('/').any(|part| part == "." || part == "..") {
            return Err(invalid(start));
        }
        Ok(Self { revision, after: start.trim_end_matches('\0').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for revision in [Some(7), None] {
            let token = ContinueToken { revision, after: "default/web-1".into() };
            assert_eq!(ContinueToken::decode(&token.encode()), Ok(token));
        }
        for bad in ["", "%%%", "e30"] {
            assert_eq!(ContinueToken::decode(bad).unwrap_err().code(), 400, "{bad:?}");
        }
    }
}
