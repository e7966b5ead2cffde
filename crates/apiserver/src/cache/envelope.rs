//! How objects stand in the store: JSON without `metadata.resourceVersion` (the store's revision is that), and where in the
//! JSON it belongs, so that a read puts it in without parsing. Sealed values are the same, encrypted.
//!
//! `J` offset(u32, little endian) JSON, or `E` nonce(12) AES-256-GCM(plain envelope), with the key as associated data.

use bytes::Bytes;
use machinery::Value;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const PLAIN: u8 = b'J';
const SEALED: u8 = b'E';
const HEADER_BYTES: usize = 5;

/// Why a stored value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// It is not of a form known here.
    #[error("the value has no known form")]
    Form,
    /// It does not open with the key there is.
    #[error("the value does not open with the encryption key")]
    Key,
}

/// Seals values at rest.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, key).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    fn seal(&self, key: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        seams::random::fill(&mut nonce);
        let mut body = plain.to_vec();
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce_value, Aad::from(key.as_bytes()), &mut body).ok()?;
        let mut out = Vec::with_capacity(1 + NONCE_LEN + body.len());
        out.push(SEALED);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&body);
        Some(out)
    }

    fn open(&self, key: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(key.as_bytes()), &mut body).ok()?;
        Some(plain.to_vec())
    }
}

/// An object ready to be stored.
pub(crate) struct Envelope {
    /// What the store gets.
    pub value: Bytes,
    /// The plain form, for the cache.
    plain: Bytes,
}

impl Envelope {
    /// Writes an object; its resourceVersion is left out. `None` when sealing fails.
    pub(crate) fn write(key: &str, object: &Value, sealer: Option<&Sealer>) -> Option<Self> {
        let mut out = Vec::with_capacity(1024);
        out.push(PLAIN);
        out.extend_from_slice(&[0; 4]);
        let offset = write_object(object, &mut out);
        let offset = u32::try_from(offset.saturating_sub(HEADER_BYTES)).ok()?;
        out[1..HEADER_BYTES].copy_from_slice(&offset.to_le_bytes());
        let plain = Bytes::from(out);
        let value = match sealer {
            Some(sealer) => Bytes::from(sealer.seal(key, &plain)?),
            None => plain.clone(),
        };
        Some(Self { value, plain })
    }

    /// The object's JSON at a revision.
    pub(crate) fn json(&self, revision: u64) -> Bytes {
        splice(&self.plain, revision).unwrap_or_default()
    }
}

/// The JSON of a stored value, with its revision put in.
pub(crate) fn open(key: &str, value: &[u8], revision: u64, sealer: Option<&Sealer>) -> Result<Bytes, EnvelopeError> {
    match value.first() {
        Some(&PLAIN) => splice(value, revision),
        Some(&SEALED) => {
            let plain = sealer.and_then(|s| s.open(key, &value[1..])).ok_or(EnvelopeError::Key)?;
            splice(&plain, revision)
        }
        _ => Err(EnvelopeError::Form),
    }
}

fn splice(plain: &[u8], revision: u64) -> Result<Bytes, EnvelopeError> {
    let header: [u8; 4] = plain.get(1..HEADER_BYTES).and_then(|h| h.try_into().ok()).ok_or(EnvelopeError::Form)?;
    let json = &plain[HEADER_BYTES..];
    let offset = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    let (head, tail) = json.split_at_checked(offset).ok_or(EnvelopeError::Form)?;
    let mut out = Vec::with_capacity(json.len() + 44);
    out.extend_from_slice(head);
    if tail.first() == Some(&b'}') && head.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    if tail.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(tail);
    Ok(Bytes::from(out))
}

/// Writes an object without its resourceVersion. Gives the place where that belongs.
fn write_object(object: &Value, out: &mut Vec<u8>) -> usize {
    let Some(map) = object.as_object() else {
        object.write(out);
        return 0;
    };
    let mut place = 0;
    out.push(b'{');
    for (i, (key, value)) in map.iter().enumerate() {
        write_key(i == 0, key, out);
        match value.as_object() {
            Some(metadata) if key == "metadata" => {
                out.push(b'{');
                let mut first = true;
                for (key, value) in metadata.iter().filter(|(k, _)| *k != "resourceVersion") {
                    // Keys are sorted: the first that sorts behind it marks the place.
                    if place == 0 && key > "resourceVersion" {
                        place = out.len() + usize::from(!first);
                    }
                    write_key(first, key, out);
                    value.write(out);
                    first = false;
                }
                if place == 0 {
                    place = out.len();
                }
                out.push(b'}');
            }
            _ => value.write(out),
        }
    }
    out.push(b'}');
    place
}

fn write_key(first: bool, key: &str, out: &mut Vec<u8>) {
    if !first {
        out.push(b',');
    }
    Value::from(key).write(out);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_comes_back_in_its_place() {
        let cases = [
            r#"{"apiVersion":"v1","data":{"resourceVersion":""},"metadata":{"name":"a","uid":"u"}}"#,
            r#"{"metadata":{"name":"a"}}"#,
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"uid":"u"}}"#,
            r#"{"metadata":{"name":"a","resourceVersion":"3","uid":"u"},"spec":{}}"#,
        ];
        let sealer = Sealer::new(&[7; 32]).unwrap();
        for case in cases {
            let mut tree = Value::parse(case.as_bytes()).unwrap();
            for sealer in [None, Some(&sealer)] {
                let envelope = Envelope::write("/k", &tree, sealer).unwrap();
                let bytes = open("/k", &envelope.value, 41, sealer).unwrap();
                assert_eq!(bytes, envelope.json(41));
                tree.set_at(&["metadata", "resourceVersion"], "41");
                assert_eq!(Value::parse(&bytes).unwrap(), tree, "{case}");
                assert_eq!(bytes, Bytes::from(tree.to_bytes()), "{case}");
            }
        }
    }

    #[test]
    fn sealed_values_hide_and_are_bound_to_their_key() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let tree = Value::parse(br#"{"data":{"p":"hunter2"},"metadata":{"name":"a","uid":"u"}}"#).unwrap();
        let envelope = Envelope::write("/a", &tree, Some(&sealer)).unwrap();
        assert!(!envelope.value.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(open("/b", &envelope.value, 1, Some(&sealer)), Err(EnvelopeError::Key));
        assert_eq!(open("/a", &envelope.value, 1, None), Err(EnvelopeError::Key));
        assert_eq!(open("/a", b"xyz", 1, None), Err(EnvelopeError::Form));
    }
}
