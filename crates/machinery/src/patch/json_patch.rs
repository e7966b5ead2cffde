//! JSON patch, RFC 6902, with the leniences of the library that upstream uses: negative indices count from the end, and
//! `replace` of an object's missing key adds it.

use super::does_not_apply;
use crate::error::ApiError;
use crate::field::quoted;
use crate::json::{DEPTH_MAX, Value};

/// Most operations in one patch.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// Most bytes that a patch's `copy` operations may add together.
pub const JSON_PATCH_COPY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// How often a patch's operations may make the tree look too deep.
const DEPTH_COUNTS_MAX: usize = 100;

/// Applies a JSON patch.
pub fn json_patch(mut tree: Value, patch: &Value) -> Result<Value, ApiError> {
    let Value::Array(operations) = patch else {
        let kind = crate::schema::go_value_name(patch);
        return Err(undecodable(&format!(
            "json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
        )));
    };
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(ApiError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut copied_bytes = 0;
    let mut bounds = Depth { most: tree.depth(), counts_left: DEPTH_COUNTS_MAX };
    for operation in operations {
        let operation = Operation::read(operation)?;
        operation.apply(&mut tree, &mut copied_bytes).ok_or_else(does_not_apply)?;
        bounds.after(&operation, &tree).ok_or_else(does_not_apply)?;
    }
    Ok(tree)
}

/// The levels of a path.
fn levels(path: Option<&str>) -> usize {
    path.unwrap_or_default().matches('/').count()
}

/// How deep a tree may have become. No document can be deeper than a parser reads, but operations can nest one value in
/// another time and again.
struct Depth {
    /// It is no deeper than this.
    most: usize,
    counts_left: usize,
}

impl Depth {
    /// Nothing when the tree is too deep after an operation. It is looked at only where the sum of what operations may have
    /// added says that it could be.
    fn after(&mut self, operation: &Operation<'_>, tree: &Value) -> Option<()> {
        let value = match operation.op {
            "add" | "replace" => operation.value.map_or(0, Value::depth),
            "move" | "copy" => self.most.saturating_sub(levels(operation.from)),
            _ => return Some(()),
        };
        let at = levels(operation.path);
        self.most = self.most.max(at + value);
        if self.most > DEPTH_MAX {
            self.counts_left = self.counts_left.checked_sub(1)?;
            self.most = tree.depth();
        }
        (self.most <= DEPTH_MAX).then_some(())
    }
}

/// What strict field validation has against a patch: `json patch unknown field "[0].foo"`.
pub fn json_patch_issues(patch: &Value) -> Vec<String> {
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let unknown = operations.flat_map(|(i, operation)| {
        let keys = operation.as_object().into_iter().flat_map(|o| o.keys());
        let unknown = keys.filter(|key| !["op", "path", "from", "value"].contains(key));
        unknown
            .map(move |key| format!("json patch unknown field {}", quoted(&format!("[{i}].{key}"))))
            .collect::<Vec<_>>()
    });
    unknown.collect()
}

fn undecodable(detail: &str) -> ApiError {
    ApiError::BadRequest(format!("error decoding patch: {detail}"))
}

struct Operation<'a> {
    op: &'a str,
    path: Option<&'a str>,
    from: Option<&'a str>,
    value: Option<&'a Value>,
}

impl<'a> Operation<'a> {
    fn read(value: &'a Value) -> Result<Self, ApiError> {
        let Value::Object(map) = value else {
            let kind = crate::schema::go_value_name(value);
            return Err(undecodable(&format!(
                "json: cannot unmarshal {kind} into Go value of type handlers.jsonPatchOp"
            )));
        };
        let text = |key: &str| match map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.as_str())),
            Some(other) => Err(undecodable(&format!(
                "json: cannot unmarshal {} into Go struct field jsonPatchOp.{key} of type string",
                crate::schema::go_value_name(other)
            ))),
        };
        Ok(Self {
            op: text("op")?.unwrap_or_default(),
            path: text("path")?,
            from: text("from")?,
            value: map.get("value"),
        })
    }

    fn new_value(&self) -> Value {
        self.value.cloned().unwrap_or_default()
    }

    /// Nothing when the operation does not apply.
    fn apply(&self, tree: &mut Value, copied_bytes: &mut usize) -> Option<()> {
        let path = self.path?;
        match self.op {
            "add" => add(tree, path, self.new_value()),
            "remove" => remove(tree, path).map(|_| ()),
            "replace" => replace(tree, path, self.new_value()),
            "move" => {
                let value = remove(tree, self.from?)?;
                add(tree, path, value)
            }
            "copy" => {
                let value = get(tree, self.from?)?;
                *copied_bytes += value.to_bytes().len();
                if *copied_bytes > JSON_PATCH_COPY_BYTES_MAX {
                    return None;
                }
                let value = value.clone();
                add(tree, path, value)
            }
            "test" => {
                let wanted = self.value.unwrap_or(&Value::Null);
                let found = if path.is_empty() { tree } else { get(tree, path)? };
                (found == wanted).then_some(())
            }
            _ => None,
        }
    }
}

/// The container of the last part of a path, and that part.
fn find<'t>(tree: &'t mut Value, path: &str) -> Option<(&'t mut Value, String)> {
    let mut parts = path.split('/');
    parts.next()?;
    let mut parts: Vec<String> = parts.map(|p| p.replace("~1", "/").replace("~0", "~")).collect();
    let last = parts.pop()?;
    let mut place = tree;
    for part in parts {
        place = match place {
            Value::Object(map) => map.get_mut(&part)?,
            Value::Array(list) => {
                let index = index(&part, list.len(), list.len())?;
                list.get_mut(index)?
            }
            _ => return None,
        };
    }
    Some((place, last))
}

/// An index below `end`. Negative ones count back from `size`.
fn index(part: &str, size: usize, end: usize) -> Option<usize> {
    let index: i64 = part.parse().ok()?;
    let index = if index < 0 { index.checked_add(i64::try_from(size).ok()?)? } else { index };
    usize::try_from(index).ok().filter(|i| *i < end)
}

/// The value at a path; null where an object has no such key.
fn get<'t>(tree: &'t mut Value, path: &str) -> Option<&'t Value> {
    match find(tree, path)? {
        (Value::Object(map), key) => Some(map.get(&key).unwrap_or(&Value::Null)),
        (Value::Array(list), key) => index(&key, list.len(), list.len()).map(|i| &list[i]),
        _ => None,
    }
}

fn add(tree: &mut Value, path: &str, value: Value) -> Option<()> {
    match find(tree, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(list), key) if key == "-" => list.push(value),
        (Value::Array(list), key) => {
            let at = index(&key, list.len() + 1, list.len() + 1)?;
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(tree: &mut Value, path: &str) -> Option<Value> {
    match find(tree, path)? {
        (Value::Object(map), key) => map.remove(&key),
        (Value::Array(list), key) => index(&key, list.len(), list.len()).map(|i| list.remove(i)),
        _ => None,
    }
}

fn replace(tree: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *tree = value;
        return Some(());
    }
    match find(tree, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(list), key) => {
            let at = index(&key, list.len(), list.len())?;
            list[at] = value;
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn operations_apply_in_order() {
        let tree = r#"{"a":{"b":[1,2,3],"x/y":"s"},"n":null}"#;
        let cases = [
            (r#"[{"op":"add","path":"/a/b/1","value":9}]"#, Some(r#"{"a":{"b":[1,9,2,3],"x/y":"s"},"n":null}"#)),
            (r#"[{"op":"add","path":"/a/b/-","value":9}]"#, Some(r#"{"a":{"b":[1,2,3,9],"x/y":"s"},"n":null}"#)),
            (r#"[{"op":"remove","path":"/a/x~1y"}]"#, Some(r#"{"a":{"b":[1,2,3]},"n":null}"#)),
            (r#"[{"op":"replace","path":"/a/b/-1","value":0}]"#, Some(r#"{"a":{"b":[1,2,0],"x/y":"s"},"n":null}"#)),
            (r#"[{"op":"move","from":"/a/b","path":"/c"}]"#, Some(r#"{"a":{"x/y":"s"},"c":[1,2,3],"n":null}"#)),
            (r#"[{"op":"copy","from":"/a/b/0","path":"/c"}]"#, Some(r#"{"a":{"b":[1,2,3],"x/y":"s"},"c":1,"n":null}"#)),
            (r#"[{"op":"test","path":"/a/b","value":[1,2,3]},{"op":"remove","path":"/a"}]"#, Some(r#"{"n":null}"#)),
            (r#"[{"op":"test","path":"/a/b","value":[1,2]}]"#, None),
            (r#"[{"op":"remove","path":"/missing"}]"#, None),
            (r#"[{"op":"add","path":"/missing/a","value":1}]"#, None),
            (r#"[{"op":"add","path":"/a/b/7","value":1}]"#, None),
            (r#"[{"op":"jump","path":"/a"}]"#, None),
        ];
        for (patch, wanted) in cases {
            let result = json_patch(parse(tree), &parse(patch));
            match wanted {
                Some(wanted) => assert_eq!(result.unwrap(), parse(wanted), "{patch}"),
                None => assert_eq!(result.unwrap_err().code(), 422, "{patch}"),
            }
        }
    }

    #[test]
    fn operations_cannot_nest_without_end() {
        let nest = r#"{"op":"add","path":"/y","value":{}},{"op":"move","from":"/x","path":"/y/a"},{"op":"move","from":"/y","path":"/x"}"#;
        let patch = |times: usize| parse(&format!("[{}]", vec![nest; times].join(",")));
        let deep = json_patch(parse(r#"{"x":1}"#), &patch(200)).unwrap();
        assert_eq!(deep.depth(), 201);
        let error = json_patch(parse(r#"{"x":1}"#), &patch(300)).unwrap_err();
        assert_eq!((error.code(), error.to_status().get("details")), (422, Some(&Value::object())));
        // Moves that nest nothing go on for as long as a patch may.
        let back = r#"{"op":"move","from":"/x","path":"/a/x"},{"op":"move","from":"/a/x","path":"/x"}"#;
        let patch = parse(&format!("[{}]", vec![back; 1000].join(",")));
        assert_eq!(json_patch(parse(r#"{"x":1,"a":{}}"#), &patch).unwrap(), parse(r#"{"x":1,"a":{}}"#));
    }

    #[test]
    fn unknown_fields_of_operations_are_told() {
        let issues = json_patch_issues(&parse(r#"[{"op":"remove","path":"/a"},{"op":"test","foo":1}]"#));
        assert_eq!(issues, [r#"json patch unknown field "[1].foo""#]);
    }

    #[test]
    fn what_is_no_patch_is_a_bad_request() {
        let error = json_patch(Value::object(), &Value::object()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        );
    }
}
