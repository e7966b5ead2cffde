//! Protobuf's wire format: what both OpenAPI's and the API objects' encodings stand on.

/// A message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    pub(crate) fn number(&mut self, field: u32, value: i64) {
        self.tag(field, 0);
        self.varint(value.cast_unsigned());
    }

    pub(crate) fn double(&mut self, field: u32, value: f64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn flag(&mut self, field: u32, value: bool) {
        self.number(field, i64::from(value));
    }

    /// Begins a field of bytes that are written later.
    pub(crate) fn begin(&mut self, field: u32, length: usize) {
        self.tag(field, 2);
        self.varint(length as u64);
    }

    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.begin(field, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A message inside this one.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// What a field of a message holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Payload<'b> {
    /// A number, a truth value.
    Varint(u64),
    /// A string, bytes, a message.
    Bytes(&'b [u8]),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
}

/// A message that is being read: its fields in the order in which they stand.
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    /// The next field; nothing at the end, an error where the bytes are no message.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Payload<'b>)>, Truncated> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| Truncated)?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Truncated)?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Truncated)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Truncated)?)),
            _ => return Err(Truncated),
        };
        Ok(Some((field, payload)))
    }

    fn varint(&mut self) -> Result<u64, Truncated> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Truncated> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("proto: the bytes are no message")]
pub(crate) struct Truncated;
