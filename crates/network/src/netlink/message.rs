//! Building and reading netlink messages: `struct nlmsghdr`, a family's fixed header, then nested attributes.

/// Marks an attribute that holds attributes.
const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are no flags.
const TYPE_MASK: u16 = 0x3fff;
/// Bytes of `struct nlmsghdr`.
pub const HEADER_BYTES: usize = 16;
/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// Messages back to back, ready to be sent.
#[derive(Debug, Default)]
pub struct MessageBuffer {
    bytes: Vec<u8>,
}

impl MessageBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message of type `kind`: its fixed `header`, then what `write` adds.
    pub fn message(
        &mut self,
        (kind, flags, sequence): (u16, u16, u32),
        header: &[u8],
        write: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        write(&mut Attributes { bytes: &mut self.bytes });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends attributes to a message.
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = (ATTRIBUTE_HEADER_BYTES + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
    }

    /// Text, closed by a zero byte.
    pub fn text(&mut self, kind: u16, value: &str) {
        let length = (ATTRIBUTE_HEADER_BYTES + value.len() + 1) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        pad(self.bytes);
    }

    /// One byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// A number in the machine's byte order (rtnetlink).
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A number in network byte order (nfnetlink).
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Raw bytes without an attribute header: a fixed header inside an attribute.
    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
    }

    /// An attribute that holds what `write` adds. Its bytes must stay below 64 KiB: the length has 16 bits.
    pub fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        write(&mut Attributes { bytes: self.bytes });
        let length = self.bytes.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "an attribute of {length} bytes");
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
    }

    /// Bytes of the message buffer so far.
    pub fn position(&self) -> usize {
        self.bytes.len()
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The message's type.
    pub kind: u16,
    /// `NLM_F_…`.
    pub flags: u16,
    /// The sequence number of the request that it answers.
    pub sequence: u32,
    /// What follows `struct nlmsghdr`.
    pub payload: &'a [u8],
}

/// The messages in what one `recv` returned. Stops at the first that is damaged.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let payload = bytes.get(HEADER_BYTES..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: u32::from_ne_bytes(bytes[8..12].try_into().ok()?),
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes` as (type, value). Stops at the first that is damaged.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of type `kind`.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number in the machine's byte order.
pub fn as_u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A number in network byte order.
pub fn as_be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// A port in network byte order.
pub fn as_be16(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.get(..2)?.try_into().ok()?))
}

/// Text up to its zero byte.
pub fn as_text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// An address of four or sixteen bytes.
pub fn as_address(value: &[u8]) -> Option<std::net::IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut buffer = MessageBuffer::new();
        buffer.message((20, 5, 7), &[1, 2, 3, 4], |a| {
            a.text(1, "skiff0");
            a.nest(2, |a| {
                a.u32(3, 77);
                a.be32(4, 78);
            });
            a.u8(5, 9);
        });
        buffer.message((21, 0, 8), &[], |_| {});
        let all: Vec<_> = messages(buffer.bytes()).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (20, 5, 7));
        let body = &all[0].payload[4..];
        assert_eq!(as_text(attribute(body, 1).expect("there")), "skiff0");
        let nested = attribute(body, 2).expect("there");
        assert_eq!(as_u32(attribute(nested, 3).expect("there")), Some(77));
        assert_eq!(as_be32(attribute(nested, 4).expect("there")), Some(78));
        assert_eq!(attribute(body, 5), Some(&[9][..]));
        assert_eq!(attribute(body, 6), None);
        assert!(all[1].payload.is_empty());
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic_and_always_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).take(1000).count() < 1000);
            prop_assert!(attributes(&bytes).take(1000).count() < 1000);
        }
    }
}
