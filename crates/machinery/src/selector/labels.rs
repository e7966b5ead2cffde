//! Label selectors: the text form (`a=b,c in (d,e),!f`) and `metav1.LabelSelector` objects.

use std::collections::BTreeMap;
use std::fmt;

use super::SelectorError;
use super::lexer::{Token, scan};
use crate::field::{FieldError, Path};
use crate::json::{Map, Value};
use crate::names;

/// Something that has labels.
pub trait Labels {
    /// The value of a label.
    fn label_value(&self, key: &str) -> Option<&str>;
}

impl Labels for Map {
    fn label_value(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}
impl Labels for Value {
    fn label_value(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}
impl Labels for BTreeMap<String, String> {
    fn label_value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}
impl<T: Labels + ?Sized> Labels for &T {
    fn label_value(&self, key: &str) -> Option<&str> {
        (**self).label_value(key)
    }
}
impl<T: Labels> Labels for Option<T> {
    fn label_value(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label_value(key)
    }
}

/// What a requirement asks of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`; also true where the label is not there.
    NotEquals,
    /// `in`
    In,
    /// `notin`; also true where the label is not there.
    NotIn,
    /// The key alone.
    Exists,
    /// `!key`
    DoesNotExist,
    /// `>`, of whole numbers.
    GreaterThan,
    /// `<`, of whole numbers.
    LessThan,
}

/// What is asked of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked.
    pub operator: Operator,
    /// The values, sorted.
    pub values: Vec<String>,
}

/// A conjunction of requirements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Matches all.
    pub const fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Matches nothing.
    pub const fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Matches what has all these labels. The labels are not checked.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let make = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: vec![value.to_owned()],
        };
        Self::from_requirements(labels.into_iter().map(make).collect())
    }

    fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser { words: scan(text), at: 0 }.selector().map(Self::from_requirements).map_err(SelectorError)
    }

    /// Reads a `metav1.LabelSelector` object: none matches nothing, an empty one all.
    pub fn from_object(object: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(object) = object.filter(|o| !o.is_null()) else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flat_map(Map::iter) {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
        }
        for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = match expression.str_at(&["operator"]).unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.map(|v| v.as_str().unwrap_or_default().to_owned()).collect();
            requirements.push(Requirement::new(expression.str_at(&["key"]).unwrap_or_default(), operator, values)?);
        }
        Ok(Self::from_requirements(requirements))
    }

    /// Whether the labels meet all requirements.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether it matches all.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// What it asks, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Requirement {
    /// A requirement, checked as upstream checks it.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
        let mut wrong: Vec<FieldError> = Vec::new();
        let path = Path::default();
        wrong.extend(invalid_key(&path.child("key"), key));
        let values_path = path.child("values");
        let shown = Value::from(values.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(detail) = wrong_count(operator, values.len()) {
            wrong.push(FieldError::invalid(&values_path, &shown, detail));
        }
        for (i, value) in values.iter().enumerate() {
            let place = values_path.index(i);
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                wrong.push(FieldError::invalid(&place, value, detail));
            }
            let messages = names::label_value(value);
            if !messages.is_empty() {
                wrong.push(FieldError::invalid(&place.key(key), value, &messages.join("; ")));
            }
        }
        values.sort();
        match wrong.as_slice() {
            [] => Ok(Self { key: key.to_owned(), operator, values }),
            [one] => Err(SelectorError(one.to_string())),
            many => {
                let texts: Vec<String> = many.iter().map(ToString::to_string).collect();
                Err(SelectorError(format!("[{}]", texts.join(", "))))
            }
        }
    }

    /// Whether the labels meet it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let found = labels.label_value(&self.key);
        let is_one = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => found.is_some_and(is_one),
            Operator::NotEquals | Operator::NotIn => !found.is_some_and(is_one),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan => self.compare(found).is_some_and(|(a, b)| a > b),
            Operator::LessThan => self.compare(found).is_some_and(|(a, b)| a < b),
        }
    }

    fn compare(&self, found: Option<&str>) -> Option<(i64, i64)> {
        Some((found?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn wrong_count(operator: Operator, count: usize) -> Option<&'static str> {
    match operator {
        Operator::In | Operator::NotIn if count == 0 => Some("for 'in', 'notin' operators, values set can't be empty"),
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if count != 1 => {
            Some("exact-match compatibility requires one single value")
        }
        Operator::Exists | Operator::DoesNotExist if count != 0 => {
            Some("values set must be empty for exists and does not exist")
        }
        Operator::GreaterThan | Operator::LessThan if count != 1 => {
            Some("for 'Gt', 'Lt' operators, exactly one value is required")
        }
        _ => None,
    }
}

fn invalid_key(path: &Path, key: &str) -> Option<FieldError> {
    let messages = names::qualified_name(key);
    (!messages.is_empty()).then(|| FieldError::invalid(path, key, &messages.join("; ")))
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// Reads the text form; errors are worded as upstream's parser words them.
struct Parser {
    words: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    /// The next word. `in` and `notin` are plain words where a key or value stands.
    fn peek(&self) -> (Token, &str) {
        let (token, text) = &self.words[self.at.min(self.words.len() - 1)];
        let token = if matches!(token, Token::In | Token::NotIn) { Token::Identifier } else { *token };
        (token, text)
    }

    fn next(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let word = (token, text.to_owned());
        self.at += 1;
        word
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {
                    let one = self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?;
                    requirements.push(one);
                    match self.next() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (token, text) = self.peek();
                            if !matches!(token, Token::Identifier | Token::Not) {
                                return Err(format!("found '{text}', expected: identifier after ','"));
                            }
                        }
                        (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(error) = invalid_key(&Path::default(), &key) {
            return Err(error.to_string());
        }
        let alone = matches!(self.peek().0, Token::End | Token::Comma);
        let (operator, values) = match (negated, alone) {
            (true, _) => (Operator::DoesNotExist, Vec::new()),
            (false, true) => (Operator::Exists, Vec::new()),
            (false, false) => {
                let operator = self.operator()?;
                let set = matches!(operator, Operator::In | Operator::NotIn);
                (operator, if set { self.values()? } else { self.exact_value()? })
            }
        };
        Requirement::new(&key, operator, values).map_err(|e| e.0)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let (token, text) = self.words[self.at.min(self.words.len() - 1)].clone();
        self.at += 1;
        match token {
            Token::In => Ok(Operator::In),
            Token::NotIn => Ok(Operator::NotIn),
            Token::Equals => Ok(Operator::Equals),
            Token::DoubleEquals => Ok(Operator::DoubleEquals),
            Token::NotEquals => Ok(Operator::NotEquals),
            Token::Greater => Ok(Operator::GreaterThan),
            Token::Less => Ok(Operator::LessThan),
            _ => Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let (token, text) = self.next();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        let (token, text) = self.peek();
        let text = text.to_owned();
        match token {
            Token::Close => {
                self.at += 1;
                Ok(vec![String::new()])
            }
            Token::Identifier | Token::Comma => {
                let values = self.list()?;
                if self.next().0 == Token::Close { Ok(values) } else { Err(format!("found '{text}', expected: ')'")) }
            }
            _ => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// Values up to the closing parenthesis; between commas there may be nothing, which is the empty value.
    fn list(&mut self) -> Result<Vec<String>, String> {
        let mut values: Vec<String> = Vec::new();
        let add = |values: &mut Vec<String>, value: String| {
            if !values.contains(&value) {
                values.push(value);
            }
        };
        loop {
            let (token, text) = self.next();
            match token {
                Token::Identifier => {
                    add(&mut values, text);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        add(&mut values, String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            add(&mut values, String::new());
                            return Ok(values);
                        }
                        Token::Comma => add(&mut values, String::new()),
                        _ => {}
                    }
                }
                _ => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<Vec<String>, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(vec![String::new()]);
        }
        match self.next() {
            (Token::Identifier, text) => Ok(vec![text]),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Map {
        [("app", "web"), ("tier", "front"), ("n", "5")].into_iter().collect()
    }

    #[test]
    fn selectors_match_as_upstreams() {
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("app", true),
            ("!app", false),
            ("!none", true),
            ("none!=x", true),
            ("app in (web, api)", true),
            ("app notin (web)", false),
            ("none notin (web)", true),
            ("app in (api)", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app=web,tier=back", false),
            (" app = web , tier in (front) ", true),
            ("in=", false),
            ("app in ()", false),
            ("none=", false),
        ];
        for (text, wanted) in cases {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels()), wanted, "{text}");
        }
    }

    #[test]
    fn parse_errors_are_upstreams() {
        let cases = [
            ("app=web,", "found '', expected: identifier after ','"),
            ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
            ("app in web", "unable to parse requirement: found 'web' expected: '('"),
            ("app in (web", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("=web", "found '=', expected: !, identifier, or 'end of string'"),
            (
                "n>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(LabelSelector::parse(text).unwrap_err().0, wanted, "{text}");
        }
        let key = LabelSelector::parse("a/b/c=d").unwrap_err().0;
        assert!(
            key.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key must")
        );
        let value = LabelSelector::parse("a=-").unwrap_err().0;
        assert!(
            value.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be")
        );
    }

    #[test]
    fn objects_select_too() {
        let object = Value::parse(
            br#"{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"In","values":["front","x"]},{"key":"gone","operator":"DoesNotExist"}]}"#,
        )
        .unwrap();
        let selector = LabelSelector::from_object(Some(&object)).unwrap();
        assert!(selector.matches(&labels()));
        assert_eq!(selector.to_string(), "app=web,!gone,tier in (front,x)");
        assert!(!LabelSelector::from_object(None).unwrap().matches(&labels()));
        assert!(LabelSelector::from_object(Some(&Value::object())).unwrap().matches(&labels()));
    }

    #[test]
    fn the_text_form_reads_back() {
        for text in ["a=b,c!=d", "a in (b,c),!d,e", "x notin (,y)"] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        }
    }
}
