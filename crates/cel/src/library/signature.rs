//! Signatures as text: `string.(int,int)list(string)`; `A` and `B` stand for any type.

use super::Overload;
use super::special::OPAQUE;
use crate::types::Type;

/// Reads a signature of this program.
pub(super) fn read(text: &str) -> Overload {
    let mut reader = Reader { rest: text.trim() };
    let (member, mut params) = if reader.rest.starts_with('(') {
        (false, Vec::new())
    } else {
        let receiver = reader.ty();
        reader.take(".");
        (true, vec![receiver])
    };
    reader.take("(");
    while !reader.rest.starts_with(')') {
        params.push(reader.ty());
        reader.skip(",");
    }
    reader.take(")");
    Overload { member, params, result: reader.ty() }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, what: &str) {
        assert!(self.skip(what), "signatures of this program are well-formed: {}", self.rest);
    }

    fn ty(&mut self) -> Type {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if !matches!(name, "list" | "map" | "optional" | "type") {
            return simple(name);
        }
        if !self.skip("(") {
            return Type::Type(None);
        }
        let first = self.ty();
        let made = match name {
            "list" => Type::list(first),
            "optional" => Type::optional(first),
            "type" => Type::Type(Some(first.into())),
            _ => {
                self.take(",");
                Type::map(first, self.ty())
            }
        };
        self.take(")");
        made
    }
}

fn simple(name: &str) -> Type {
    match name {
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        other => {
            let opaque = OPAQUE.iter().find(|(short, _)| *short == other);
            Type::Opaque(opaque.expect("signatures of this program name known types").1)
        }
    }
}
