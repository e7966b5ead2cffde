//! The hash of a pod template, which names its replica set and labels its pods.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use machinery::ApiError;
use machinery::json::to_value;

/// The label with the hash.
pub const HASH_LABEL: &str = "pod-template-hash";
/// Digits and consonants that spell no words (upstream's SafeEncodeString).
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A template's hash; `collisions` makes another one when the name was taken by another template.
/// DIVERGES: the hash is over the template's JSON, not over Go's print of it, so hashes differ from upstream's.
pub fn hash(template: &PodTemplateSpec, collisions: i32) -> Result<String, ApiError> {
    let tree = to_value(template).map_err(|e| ApiError::Internal(e.to_string()))?;
    let mut hash = fnv(2_166_136_261, &tree.to_bytes());
    if collisions > 0 {
        hash = fnv(hash, &collisions.to_le_bytes());
    }
    let digits = hash.to_string();
    Ok(digits.bytes().map(|d| ALPHABET[usize::from(d) % ALPHABET.len()] as char).collect())
}

/// FNV-1a, 32 bits.
fn fnv(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619))
}

/// Whether two templates are the same but for the hash label.
pub fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(meta) = &mut template.metadata {
            if let Some(labels) = &mut meta.labels {
                labels.remove(HASH_LABEL);
            }
            meta.labels = meta.labels.take().filter(|l| !l.is_empty());
            meta.annotations = meta.annotations.take().filter(|a| !a.is_empty());
        }
        template.metadata.get_or_insert_default();
        template
    };
    bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        let json = serde_json::json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]},
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn equal_templates_have_equal_hashes() {
        let first = hash(&template("a"), 0).unwrap();
        assert_eq!(first, hash(&template("a"), 0).unwrap());
        assert_ne!(first, hash(&template("b"), 0).unwrap());
        assert_ne!(first, hash(&template("a"), 1).unwrap());
        assert!(first.bytes().all(|b| ALPHABET.contains(&b)), "{first}");
    }

    #[test]
    fn the_hash_label_makes_no_difference() {
        let mut labeled = template("a");
        labeled.metadata.as_mut().unwrap().labels.as_mut().unwrap().insert(HASH_LABEL.into(), "x".into());
        assert!(same(&labeled, &template("a")));
        assert!(!same(&labeled, &template("b")));
    }
}
