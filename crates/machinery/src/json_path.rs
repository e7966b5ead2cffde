//! JSONPath as kubectl and printer columns use it (client-go's `util/jsonpath`): one expression without the braces around it.
//!
//! Fields, quoted fields, indexes, slices, wildcards, unions, recursive descent and filters that compare two operands.

use std::cmp::Ordering;

use crate::json::Value;

/// Longest path, and most steps in one.
const LENGTH_MAX: usize = 4096;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    /// This place and all below it.
    Descend,
    /// Start, end and step of a list's part.
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        step: i64,
    },
    Index(i64),
    Union(Vec<JsonPath>),
    Filter {
        left: Operand,
        comparison: Comparison,
        right: Operand,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path {
        from_root: bool,
        path: JsonPath,
    },
    Literal(Value),
    /// An existence test has no right side.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Comparisons as they are written, the longer ones first.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// A path that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PathError(String);

fn error<T>(text: impl Into<String>) -> Result<T, PathError> {
    Err(PathError(text.into()))
}

impl JsonPath {
    /// Reads `.spec.containers[0].name`, `.status.conditions[?(@.type=="Ready")].status` and the like.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > LENGTH_MAX {
            return error("the path is too long");
        }
        let mut steps = Vec::new();
        let mut rest = text.trim();
        rest = rest.strip_prefix(['$', '@']).unwrap_or(rest);
        while !rest.is_empty() {
            rest = step(rest, &mut steps)?;
        }
        Ok(Self { steps })
    }

    /// All values at the path, in order.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        self.find_from(root, vec![root])
    }

    fn find_from<'v>(&self, root: &'v Value, start: Vec<&'v Value>) -> Vec<&'v Value> {
        self.steps.iter().fold(start, |values, step| {
            let mut found = Vec::new();
            for value in values {
                step.find(root, value, &mut found);
            }
            found
        })
    }
}

/// Reads one step. Gives what follows.
fn step<'t>(text: &'t str, steps: &mut Vec<Step>) -> Result<&'t str, PathError> {
    if let Some(rest) = text.strip_prefix("..") {
        steps.push(Step::Descend);
        return if rest.starts_with('[') { Ok(rest) } else { field(rest, steps) };
    }
    if let Some(rest) = text.strip_prefix('.') {
        return if rest.is_empty() { Ok(rest) } else { field(rest, steps) };
    }
    if let Some(rest) = text.strip_prefix('[') {
        let end = closing(rest).ok_or_else(|| PathError("unterminated array".to_owned()))?;
        steps.push(bracket(rest[..end].trim())?);
        return Ok(&rest[end + 1..]);
    }
    error(format!("unrecognized character in action: {:?}", text.chars().next().unwrap_or_default()))
}

fn field<'t>(text: &'t str, steps: &mut Vec<Step>) -> Result<&'t str, PathError> {
    let mut name = String::new();
    let mut letters = text.char_indices();
    let mut end = text.len();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => {
                end = at;
                break;
            }
            ']' | '(' | ')' | '{' | '}' | '\'' | '"' | ',' | ' ' => {
                return error(format!("unrecognized character in action: {letter:?}"));
            }
            _ => name.push(letter),
        }
    }
    steps.push(if name == "*" { Step::Wildcard } else { Step::Field(name) });
    Ok(&text[end..])
}

/// Where the bracket that is open at the start ends.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[' | '(') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']' | ')') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Result<Step, PathError> {
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return comparison(filter);
    }
    let parts = split(text, ',');
    if parts.len() > 1 {
        let paths = parts.iter().map(|part| Ok(JsonPath { steps: vec![bracket(part.trim())?] }));
        return Ok(Step::Union(paths.collect::<Result<_, PathError>>()?));
    }
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(name) = unquoted(text) {
        return Ok(Step::Field(name));
    }
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| PathError(format!("invalid array index {text}"))),
    };
    match split(text, ':').as_slice() {
        [index] => match number(index)? {
            Some(index) => Ok(Step::Index(index)),
            None => error("invalid array index"),
        },
        [from, to] => Ok(Step::Slice { from: number(from)?, to: number(to)?, step: 1 }),
        [from, to, by] => match number(by)?.unwrap_or(1) {
            by @ ..=0 => error(format!("step must be > 0, got {by}")),
            by => Ok(Step::Slice { from: number(from)?, to: number(to)?, step: by }),
        },
        _ => error(format!("invalid array index {text}")),
    }
}

/// Splits at a mark outside of quotes and brackets.
fn split(text: &str, mark: char) -> Vec<&str> {
    let (mut parts, mut start, mut quote, mut depth) = (Vec::new(), 0, None, 0);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth -= 1,
            (None, _) if letter == mark && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unquoted(text: &str) -> Option<String> {
    let inner = ['\'', '"'].into_iter().find_map(|q| text.strip_prefix(q)?.strip_suffix(q))?;
    let mut escaped = false;
    let mut name = String::new();
    for letter in inner.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            _ => {
                escaped = false;
                name.push(letter);
            }
        }
    }
    Some(name)
}

fn comparison(text: &str) -> Result<Step, PathError> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None => {
                if let Some((mark, comparison)) = COMPARISONS.iter().find(|(mark, _)| text[at..].starts_with(mark)) {
                    let (left, right) = (operand(&text[..at])?, operand(&text[at + mark.len()..])?);
                    return Ok(Step::Filter { left, comparison: *comparison, right });
                }
            }
        }
    }
    Ok(Step::Filter { left: operand(text)?, comparison: Comparison::Exists, right: Operand::Nothing })
}

fn operand(text: &str) -> Result<Operand, PathError> {
    let text = text.trim();
    if text.starts_with(['@', '$', '.', '[']) {
        return Ok(Operand::Path { from_root: text.starts_with('$'), path: JsonPath::parse(text)? });
    }
    if let Some(text) = unquoted(text) {
        return Ok(Operand::Literal(text.into()));
    }
    match Value::parse(text.as_bytes()) {
        Ok(value @ (Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Null)) => Ok(Operand::Literal(value)),
        _ => error(format!("unrecognized identifier {text}")),
    }
}

impl Step {
    fn find<'v>(&self, root: &'v Value, value: &'v Value, found: &mut Vec<&'v Value>) {
        match self {
            Self::Field(name) => found.extend(value.get(name)),
            Self::Wildcard => found.extend(children(value)),
            Self::Descend => descend(value, found),
            Self::Index(index) => {
                let Value::Array(list) = value else { return };
                let at = if *index < 0 { index.saturating_add_unsigned(list.len() as u64) } else { *index };
                found.extend(usize::try_from(at).ok().and_then(|at| list.get(at)));
            }
            Self::Slice { from, to, step } => {
                let Value::Array(list) = value else { return };
                let length = list.len() as i64;
                let place =
                    |at: i64| usize::try_from(if at < 0 { at + length } else { at }.clamp(0, length)).unwrap_or(0);
                let (from, to) = (from.map_or(0, place), to.map_or(list.len(), place));
                let step = usize::try_from(*step).unwrap_or(usize::MAX).max(1);
                found.extend(list.get(from..to).into_iter().flatten().step_by(step));
            }
            Self::Union(paths) => found.extend(paths.iter().flat_map(|path| path.find_from(root, vec![value]))),
            Self::Filter { left, comparison, right } => {
                let Value::Array(list) = value else { return };
                found.extend(list.iter().filter(|item| holds(root, item, left, *comparison, right)));
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    }
}

fn descend<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    found.push(value);
    for child in children(value) {
        descend(child, found);
    }
}

fn holds(root: &Value, item: &Value, left: &Operand, comparison: Comparison, right: &Operand) -> bool {
    let Some(left) = left.value(root, item) else { return false };
    if comparison == Comparison::Exists {
        return true;
    }
    let Some(right) = right.value(root, item) else { return false };
    match comparison {
        Comparison::Exists => true,
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => order(left, right) == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order(left, right), Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order(left, right) == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order(left, right), Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

impl Operand {
    fn value<'v>(&'v self, root: &'v Value, item: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Path { from_root, path } => {
                path.find_from(root, vec![if *from_root { root } else { item }]).into_iter().next()
            }
            Self::Literal(value) => Some(value),
            Self::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_what_kubectl_finds() {
        let tree =
            br#"{"a":{"b.c":1,"list":[{"type":"Ready","status":"True","n":1},{"type":"Other","status":"False","n":3}],
            "x y":"z","n":[1,2,3,4]},"name":"root"}"#;
        let tree = Value::parse(tree).unwrap();
        let cases = [
            (".a.list[0].type", r#"["Ready"]"#),
            ("a", ""),
            ("$.name", r#"["root"]"#),
            (".a['b.c']", "[1]"),
            (r".a.b\.c", "[1]"),
            (r#".a["x y"]"#, r#"["z"]"#),
            (".a.n[-1]", "[4]"),
            (".a.n[1:3]", "[2,3]"),
            (".a.n[::2]", "[1,3]"),
            (".a.n[-2:]", "[3,4]"),
            (".a.n[0,2]", "[1,3]"),
            (".a.list[*].status", r#"["True","False"]"#),
            (r#".a.list[?(@.type=="Ready")].status"#, r#"["True"]"#),
            (".a.list[?(@.type != 'Ready')].status", r#"["False"]"#),
            (".a.list[?(@.n>=2)].type", r#"["Other"]"#),
            (".a.list[?(@.missing)].type", "[]"),
            ("..status", r#"["True","False"]"#),
            (".missing.more", "[]"),
            (".a.n[9]", "[]"),
            (".a[", ""),
            (".a[x]", ""),
            (".a[?(@.b==c)]", ""),
            (".", "[{"),
        ];
        for (path, wanted) in cases {
            let shown = JsonPath::parse(path).map(|path| {
                let found: Vec<String> = path.find(&tree).into_iter().map(ToString::to_string).collect();
                format!("[{}]", found.join(","))
            });
            match (shown, wanted) {
                (Err(_), "") => {}
                (Ok(shown), wanted) => {
                    assert!(wanted == shown || wanted == "[{" && shown.starts_with(wanted), "{path}: {shown}")
                }
                (Err(error), _) => panic!("{path}: {error}"),
            }
        }
    }
}
