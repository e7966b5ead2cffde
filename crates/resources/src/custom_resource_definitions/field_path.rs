//! Paths to fields of a schema, as rules and selectable fields name them: `.spec.color`, `.metadata['name']`.

use machinery::json::Value;

use crate::read::Read;

/// What a path leads to: the path as field errors show it, and the schema there. The error is in upstream's words
/// (`cel.ValidFieldPath`).
pub(crate) fn find<'s>(schema: &'s Value, path: &str) -> Result<(String, &'s Value), String> {
    let (mut shown, mut schema, mut rest) = (String::new(), schema, path);
    while !rest.is_empty() {
        let (name, after) = if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            match (end, after.chars().next()) {
                (_, None) => return Err("unexpected end of JSON path".to_owned()),
                // A mark is taken for the name, which no field has.
                (0, Some(mark)) => (mark.to_string(), &after[mark.len_utf8()..]),
                _ => (after[..end].to_owned(), &after[end..]),
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            quoted(after)?
        } else {
            let end = rest.find(['.', '[', ']']).filter(|end| *end > 0).unwrap_or(rest.len());
            return Err(format!("expected [ or . but got: {}", &rest[..end]));
        };
        schema = below(schema, &name, &mut shown)?;
        rest = after;
    }
    Ok((shown, schema))
}

/// `'NAME']`, after the bracket.
fn quoted(text: &str) -> Result<(String, &str), String> {
    const END: &str = "unexpected end of JSON path";
    let Some(body) = text.strip_prefix('\'') else {
        let end = text.find(['.', '[', ']']).filter(|end| *end > 0).unwrap_or(text.len());
        return Err(if text.is_empty() {
            END.to_owned()
        } else {
            format!("expected single quoted string but got {}", &text[..end])
        });
    };
    let (mut name, mut letters) = (String::new(), body.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some((_, escaped @ ('\\' | '\''))) => name.push(escaped),
                _ => return Err("invalid string literal: invalid escape sequence".to_owned()),
            },
            '\'' => {
                let after = &body[at + 1..];
                return match after.strip_prefix(']') {
                    Some(rest) => Ok((name, rest)),
                    None if after.is_empty() => Err(END.to_owned()),
                    None => Err(format!("expected ] but got {}", after.chars().next().unwrap_or_default())),
                };
            }
            _ => name.push(letter),
        }
    }
    Err(format!("expected single quoted string but got {text}"))
}

fn below<'s>(schema: &'s Value, name: &str, shown: &mut String) -> Result<&'s Value, String> {
    let invalid = || "does not refer to a valid field".to_owned();
    if !schema.entries("properties").is_empty() {
        if !shown.is_empty() {
            shown.push('.');
        }
        shown.push_str(name);
        return schema.entries("properties").get(name).ok_or_else(invalid);
    }
    match schema.get("additionalProperties") {
        Some(of @ Value::Object(_)) => {
            shown.push_str(&format!("[{name}]"));
            Ok(of)
        }
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_schema_says() {
        let schema = br#"{"properties":{"spec":{"properties":{"a.b":{"type":"string"},"c":{"type":"integer"},
            "m":{"additionalProperties":{"type":"boolean"}}}}}}"#;
        let schema = Value::parse(schema).expect("the test's own text");
        let cases = [
            (".spec.c", "spec.c"),
            (".spec['a.b']", "spec.a.b"),
            (".spec.m.k", "spec.m[k]"),
            (".spec.m['k']", "spec.m[k]"),
            (".spec.d", "does not refer to a valid field"),
            (".spec.c.x", "does not refer to a valid field"),
            ("spec", "expected [ or . but got: spec"),
            (".spec.", "unexpected end of JSON path"),
            (".spec[0]", "expected single quoted string but got 0"),
            (".spec['c'", "unexpected end of JSON path"),
        ];
        for (path, wanted) in cases {
            let found = find(&schema, path).map_or_else(|error| error, |(shown, _)| shown);
            assert_eq!(found, wanted, "{path}");
        }
    }
}
