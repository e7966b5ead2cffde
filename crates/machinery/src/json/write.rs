//! Tree to bytes: compact JSON, escaped as Go's encoder escapes (`<`, `>` and `&` too), numbers as it writes them.

use super::Value;

/// Bytes with which the output starts, so that most objects grow it a few times at most.
const CAPACITY_BYTES: usize = 1024;

impl Value {
    /// Writes the tree as compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CAPACITY_BYTES);
        self.write(&mut out);
        out.shrink_to_fit();
        out
    }

    /// Appends the tree as compact JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Integer(i) => write_integer(*i, out),
            Self::Float(f) => write_float(*f, out),
            Self::String(s) => write_string(s, out),
            Self::Array(list) => {
                out.push(b'[');
                for (i, value) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
            Self::Object(map) => {
                out.push(b'{');
                for (i, (key, value)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write_string(key, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::Raw(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    // Nineteen digits and a sign.
    let mut digits = [0_u8; 20];
    let (mut rest, mut at) = (value.unsigned_abs(), digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

/// Go writes very small and very large numbers with an exponent. What is no number cannot come out of a document.
fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    // DIVERGES: Go writes -0, which it reads back as 0.
    let size = value.abs();
    let value = if size == 0.0 { size } else { value };
    let text = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        if text.contains("e-") { text } else { text.replace('e', "e+") }
    } else {
        value.to_string()
    };
    out.extend_from_slice(text.as_bytes());
}

/// 0 for bytes that stand for themselves; 226 is the first byte of U+2028 and U+2029, which are escaped as well.
static ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = true;
        i += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    table[226] = true;
    table
};

/// Appends a string in quotes.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_text(text, out);
    out.push(b'"');
}

/// Appends what stands between the quotes.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    // Most strings need no escape, which is quicker to see without stopping at the first that does.
    if !rest.iter().fold(false, |any, b| any | ESCAPED[usize::from(*b)]) {
        out.extend_from_slice(rest);
        return;
    }
    while let Some(at) = rest.iter().position(|b| ESCAPED[usize::from(*b)]) {
        out.extend_from_slice(&rest[..at]);
        let taken = write_escaped(&rest[at..], out);
        rest = &rest[at + taken..];
    }
    out.extend_from_slice(rest);
}

/// Writes the escape for what stands first, and says how many bytes that was.
fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match bytes[0] {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        226 => {
            match bytes.get(1..3) {
                Some([0x80, 0xa8]) => out.extend_from_slice(b"\\u2028"),
                Some([0x80, 0xa9]) => out.extend_from_slice(b"\\u2029"),
                _ => {
                    out.push(226);
                    return 1;
                }
            }
            return 3;
        }
        other => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(other >> 4)]);
            out.push(HEX[usize::from(other & 15)]);
            return 1;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_go_writes_them() {
        let cases = [
            (Value::from("<a&b>\u{2028}\"\\\n\u{1}é\u{2019}"), r#""\u003ca\u0026b\u003e\u2028\"\\\n\u0001é’""#),
            (Value::Float(1.0), "1"),
            (Value::Float(0.1), "0.1"),
            (Value::Float(1e21), "1e+21"),
            (Value::Float(1e-7), "1e-7"),
            (Value::Float(1e20), "100000000000000000000"),
            (Value::Integer(i64::MIN), "-9223372036854775808"),
            (Value::Integer(0), "0"),
            (Value::from(vec![Value::Null, true.into(), Value::object()]), "[null,true,{}]"),
        ];
        for (value, wanted) in cases {
            assert_eq!(String::from_utf8(value.to_bytes()).unwrap(), wanted);
        }
    }
}
