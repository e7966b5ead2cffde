//! Where validation stands in an object. A place costs nothing until an error names it.

use std::fmt;

use machinery::field::{FieldError, Path, Shown};
use machinery::json::Value;

/// A place in an object: a chain of steps from its root, on the stack.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Place<'a> {
    /// A top-level field: `spec`; empty for the object as a whole.
    pub const fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    /// A field below this one; several steps may be joined by dots.
    pub const fn field<'b>(&'b self, name: &'b str) -> Place<'b> {
        Place { parent: Some(self), step: Step::Field(name) }
    }

    /// An element of a list.
    pub const fn index<'b>(&'b self, index: usize) -> Place<'b> {
        Place { parent: Some(self), step: Step::Index(index) }
    }

    /// A key of a map.
    pub const fn key<'b>(&'b self, key: &'b str) -> Place<'b> {
        Place { parent: Some(self), step: Step::Key(key) }
    }

    fn path(&self) -> Path {
        Path::new(&self.to_string())
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// A tree shown in a field error as JSON; strings in quotes.
pub struct Json<'a>(pub &'a Value);

impl Shown for Json<'_> {
    fn shown(&self) -> String {
        match self.0.as_str() {
            Some(text) => text.shown(),
            None => String::from_utf8_lossy(&self.0.to_bytes()).into_owned(),
        }
    }
}

/// What validation has found so far.
pub trait Report {
    /// A field is missing.
    fn required(&mut self, at: &Place<'_>, detail: &str);
    /// A field's value is wrong.
    fn invalid(&mut self, at: &Place<'_>, value: impl Shown, detail: &str);
    /// Values of several fields do not go together.
    fn invalid_together(&mut self, at: &Place<'_>, detail: &str);
    /// A field's value is none of those known.
    fn unsupported(&mut self, at: &Place<'_>, value: impl Shown, supported: &[&str]);
    /// A value could not be judged.
    fn internal(&mut self, at: &Place<'_>, detail: &str);
    /// A value stands twice where it may stand once.
    fn duplicate(&mut self, at: &Place<'_>, value: impl Shown);
    /// A field may not be set (so).
    fn forbidden(&mut self, at: &Place<'_>, detail: &str);
    /// What a field refers to is not there.
    fn not_found(&mut self, at: &Place<'_>, value: impl Shown);
    /// A field has too many bytes.
    fn too_long(&mut self, at: &Place<'_>, max_bytes: usize);
    /// A list has too many elements.
    fn too_many(&mut self, at: &Place<'_>, actual: usize, max: usize);
    /// One `invalid` per message.
    fn invalid_each(&mut self, at: &Place<'_>, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(at, value, &message);
        }
    }
}

impl Report for Vec<FieldError> {
    fn required(&mut self, at: &Place<'_>, detail: &str) {
        self.push(FieldError::required(&at.path(), detail));
    }
    fn invalid(&mut self, at: &Place<'_>, value: impl Shown, detail: &str) {
        self.push(FieldError::invalid(&at.path(), value, detail));
    }
    fn invalid_together(&mut self, at: &Place<'_>, detail: &str) {
        let body = format!("Invalid value: {detail}");
        self.push(FieldError { body, ..FieldError::invalid(&at.path(), "", "") });
    }
    fn unsupported(&mut self, at: &Place<'_>, value: impl Shown, supported: &[&str]) {
        self.push(FieldError::not_supported(&at.path(), value, supported));
    }
    fn internal(&mut self, at: &Place<'_>, detail: &str) {
        self.push(FieldError::internal(&at.path(), detail));
    }
    fn duplicate(&mut self, at: &Place<'_>, value: impl Shown) {
        self.push(FieldError::duplicate(&at.path(), value));
    }
    fn forbidden(&mut self, at: &Place<'_>, detail: &str) {
        self.push(FieldError { field: at.to_string(), ..FieldError::forbidden(&at.path(), detail) });
    }
    fn not_found(&mut self, at: &Place<'_>, value: impl Shown) {
        self.push(FieldError::not_found(&at.path(), value));
    }
    fn too_long(&mut self, at: &Place<'_>, max_bytes: usize) {
        self.push(FieldError { field: at.to_string(), ..FieldError::too_long(&at.path(), max_bytes) });
    }
    fn too_many(&mut self, at: &Place<'_>, actual: usize, max: usize) {
        self.push(FieldError::too_many(&at.path(), actual, max));
    }
}
