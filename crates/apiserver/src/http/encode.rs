//! Trees to bytes, in the form that the client wants.

use machinery::{Value, yaml};

use super::negotiate::Format;
use super::respond::Wants;

/// A tree as the client wants it. JSON ends with a line feed, as upstream's does.
pub(super) fn encode(tree: &Value, wants: &Wants) -> Vec<u8> {
    match wants.accepted.format {
        Format::Yaml => yaml::write(tree).into_bytes(),
        Format::Json if wants.pretty => {
            let mut out = indented(tree);
            out.push(b'\n');
            out
        }
        // What has no protobuf form does not come here.
        Format::Json | Format::Protobuf => {
            let mut out = tree.to_bytes();
            out.push(b'\n');
            out
        }
    }
}

/// JSON indented by two spaces, as Go's `MarshalIndent` does.
pub(super) fn indented(tree: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    indent(tree, 0, &mut out);
    out
}

/// The same of an item in a list that is a field of an object, with the line's beginning.
pub(super) fn indented_item(tree: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    new_line(2, &mut out);
    indent(tree, 2, &mut out);
    out
}

fn new_line(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

fn indent(tree: &Value, depth: usize, out: &mut Vec<u8>) {
    match tree {
        Value::Object(map) if !map.is_empty() => {
            out.push(b'{');
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                new_line(depth + 1, out);
                Value::from(key).write(out);
                out.extend_from_slice(b": ");
                indent(value, depth + 1, out);
            }
            new_line(depth, out);
            out.push(b'}');
        }
        Value::Array(list) if !list.is_empty() => {
            out.push(b'[');
            for (i, value) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                new_line(depth + 1, out);
                indent(value, depth + 1, out);
            }
            new_line(depth, out);
            out.push(b']');
        }
        plain => plain.write(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_json_is_indented_by_two() {
        let tree = Value::parse(br#"{"a":[1,{"b":"x"}],"c":{},"d":[]}"#).unwrap();
        let out = encode(&tree, &Wants { pretty: true, ..Wants::default() });
        let wanted = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
