//! D-Bus messages as bytes: as much of the specification as calls and signals of strings and numbers need.

/// Kinds of messages.
pub const CALL: u8 = 1;
pub const REPLY: u8 = 2;
pub const ERROR: u8 = 3;
pub const SIGNAL: u8 = 4;

/// The fixed part of a header.
pub const HEAD_BYTES: usize = 16;
/// The largest message that is read. Those that are asked for here have some hundred bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// One message. Empty texts are left out of the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub serial: u32,
    pub path: String,
    pub interface: String,
    pub member: String,
    pub error: String,
    pub reply_to: u32,
    pub destination: String,
    pub sender: String,
    pub signature: String,
    pub descriptors: u32,
    pub body: Vec<u8>,
}

/// Bytes that are written with their alignment.
#[derive(Default)]
pub struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// A number of four bytes: `u`, `i` and `h`; a boolean.
    pub fn number(mut self, number: u32) -> Self {
        self.align(4);
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A number of eight bytes: `t`.
    #[cfg(test)]
    pub fn long(mut self, number: u64) -> Self {
        self.align(8);
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A string or an object's path: `s`, `o`.
    pub fn text(mut self, text: &str) -> Self {
        self = self.number(u32::try_from(text.len()).unwrap_or(0));
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }

    /// A signature: `g`. A variant begins with one.
    pub fn signature(mut self, text: &str) -> Self {
        self.0.push(u8::try_from(text.len()).unwrap_or(0));
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }

    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Message {
    /// A call of a method.
    pub fn call(destination: &str, path: &str, interface: &str, member: &str) -> Self {
        let own = str::to_owned;
        Self {
            kind: CALL,
            destination: own(destination),
            path: own(path),
            interface: own(interface),
            member: own(member),
            ..Self::default()
        }
    }

    /// The same with arguments.
    pub fn with(self, signature: &str, body: Body) -> Self {
        Self { signature: signature.to_owned(), body: body.bytes(), ..self }
    }

    /// The message as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Body::default();
        let texts = [
            (1, "o", &self.path),
            (2, "s", &self.interface),
            (3, "s", &self.member),
            (4, "s", &self.error),
            (6, "s", &self.destination),
            (7, "s", &self.sender),
        ];
        for (code, kind, text) in texts.into_iter().filter(|(.., text)| !text.is_empty()) {
            fields.align(8);
            fields.0.push(code);
            fields = fields.signature(kind).text(text);
        }
        for (code, number) in [(5, self.reply_to), (9, self.descriptors)].into_iter().filter(|(_, n)| *n != 0) {
            fields.align(8);
            fields.0.push(code);
            fields = fields.signature("u").number(number);
        }
        if !self.signature.is_empty() {
            fields.align(8);
            fields.0.push(8);
            fields = fields.signature("g").signature(&self.signature);
        }
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0);
        let mut all = Body(vec![b'l', self.kind, 0, 1]);
        all = all.number(length(&self.body)).number(self.serial).number(length(&fields.0));
        all.0.extend(fields.0);
        all.align(8);
        all.0.extend(&self.body);
        all.0
    }

    /// Reads a message from the front of `bytes`; what it takes of them. `None` when more must come first.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let Some(head) = bytes.get(..HEAD_BYTES) else { return Ok(None) };
        if head[0] != b'l' || head[3] != 1 {
            return Err("neither the byte order nor the version of D-Bus that is known here");
        }
        let mut reader = Reader { bytes: head, at: 4 };
        let (body, serial, fields) = (reader.size()?, reader.number()?, reader.size()?);
        let begin = (HEAD_BYTES + fields).next_multiple_of(8);
        let end = begin + body;
        if end > MESSAGE_BYTES_MAX {
            return Err("a message that is too large");
        }
        let Some(all) = bytes.get(..end) else { return Ok(None) };
        let mut message = Self { kind: head[1], serial, body: all[begin..].to_vec(), ..Self::default() };
        let mut reader = Reader { bytes: &all[..HEAD_BYTES + fields], at: HEAD_BYTES };
        while reader.at < reader.bytes.len() {
            message.field(&mut reader)?;
        }
        Ok(Some((message, end)))
    }

    fn field(&mut self, reader: &mut Reader<'_>) -> Result<(), &'static str> {
        reader.align(8);
        if reader.at >= reader.bytes.len() {
            return Ok(());
        }
        let code = reader.byte()?;
        match (code, reader.signature()?) {
            (1, "o") => self.path = reader.text()?,
            (2, "s") => self.interface = reader.text()?,
            (3, "s") => self.member = reader.text()?,
            (4, "s") => self.error = reader.text()?,
            (5, "u") => self.reply_to = reader.number()?,
            (6, "s") => self.destination = reader.text()?,
            (7, "s") => self.sender = reader.text()?,
            (8, "g") => self.signature = reader.signature()?.to_owned(),
            (9, "u") => self.descriptors = reader.number()?,
            // Fields of later versions have one of these types too.
            (_, "o" | "s") => _ = reader.text()?,
            (_, "u") => _ = reader.number()?,
            _ => return Err("a header field of an unknown type"),
        }
        Ok(())
    }

    /// The arguments.
    pub fn arguments(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }
}

/// Reads aligned values one after the other.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const SHORT: &str = "a message that ends too early";

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// `u`, `i`, `h`, `b`
    pub fn number(&mut self) -> Result<u32, &'static str> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn size(&mut self) -> Result<usize, &'static str> {
        let size = self.number()? as usize;
        if size > MESSAGE_BYTES_MAX { Err("a message that is too large") } else { Ok(size) }
    }

    /// `t`
    pub fn long(&mut self) -> Result<u64, &'static str> {
        self.align(8);
        let mut eight = [0; 8];
        eight.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(eight))
    }

    /// `s`, `o`
    pub fn text(&mut self) -> Result<String, &'static str> {
        let size = self.size()?;
        let text = self.take(size)?;
        self.take(1)?;
        String::from_utf8(text.to_vec()).map_err(|_| "a text that is not UTF-8")
    }

    /// `g`
    pub fn signature(&mut self) -> Result<&'a str, &'static str> {
        let size = usize::from(self.byte()?);
        let text = self.take(size)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| "a signature that is not UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_sent() {
        let call = Message::call("org.a", "/a/b", "org.a.B", "Do");
        let message =
            Message { serial: 7, reply_to: 3, descriptors: 1, ..call.with("st", Body::default().text("é").long(9)) };
        let mut bytes = message.encode();
        let length = bytes.len();
        bytes.extend([1, 2, 3]);
        let (read, taken) = Message::decode(&bytes).unwrap().unwrap();
        assert_eq!((&read, taken), (&message, length));
        let mut arguments = read.arguments();
        assert_eq!((arguments.text().unwrap().as_str(), arguments.long().unwrap()), ("é", 9));
        assert!(arguments.number().is_err());
        for end in 0..length {
            assert_eq!(Message::decode(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let good = Message::call("org.a", "/a", "org.a.B", "Do").encode();
        for (place, byte) in [(0, b'B'), (3, 2), (6, 255), (14, 255), (17, 9), (18, b'y'), (23, 255)] {
            let mut bad = good.clone();
            bad[place] = byte;
            assert!(Message::decode(&bad).is_err(), "{place}");
        }
    }
}
