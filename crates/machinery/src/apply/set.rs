//! Sets of field paths, and their form in `fieldsV1`.

use super::element;
use super::steps::Steps;
use crate::json::{Map, Str, Value, write_string};

/// A set of field paths, as a tree of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the path down to here is in the set.
    pub(super) member: bool,
    /// What is below, by step.
    pub(super) children: Steps,
}

impl FieldSet {
    /// Reads `fieldsV1`. What cannot be read is left out.
    pub fn from_fields_v1(fields: &Value) -> Self {
        if let Value::Raw(text) = fields {
            return Self::from_text(text);
        }
        let mut set = Self::default();
        for (step, below) in fields.as_object().into_iter().flat_map(Map::iter) {
            if step == "." {
                set.member = true;
            } else if let Some(step) = element::normalized(step) {
                let mut child = Self::from_fields_v1(below);
                // A leaf is written without the dot.
                child.member |= child.children.is_empty();
                set.children.set(step, child);
            }
        }
        set
    }

    /// Reads `fieldsV1` as it is written.
    pub(super) fn from_text(text: &str) -> Self {
        let read = || Value::parse(text.as_bytes()).map(|fields| Self::from_fields_v1(&fields)).unwrap_or_default();
        super::text::read(text).unwrap_or_else(read)
    }

    /// Writes `fieldsV1`, compact and in order.
    pub(super) fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).expect("it is written of strings and marks")
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut is_first = true;
        if self.member && !self.children.is_empty() {
            out.extend_from_slice(br#"".":{}"#);
            is_first = false;
        }
        for (step, child) in &self.children {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            write_string(step, out);
            out.push(b':');
            child.write(out);
        }
        out.push(b'}');
    }

    /// Writes `fieldsV1`.
    pub fn to_fields_v1(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".", Value::object());
        }
        for (step, child) in &self.children {
            map.insert(step.clone(), child.to_fields_v1());
        }
        map.into()
    }

    /// Fields which belong to nobody.
    pub(super) fn never_managed() -> Self {
        let mut set = Self::default();
        for name in ["apiVersion", "kind", "metadata"] {
            set.insert_fields(&[name]);
        }
        for name in super::before::NOBODYS_METADATA {
            set.insert_fields(&["metadata", name]);
        }
        set
    }

    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// Adds a path of fields.
    pub fn insert_fields(&mut self, path: &[&str]) {
        let steps: Vec<Str> = path.iter().map(|name| element::field(name)).collect();
        self.insert(&steps);
    }

    pub(super) fn insert(&mut self, path: &[Str]) {
        let mut set = self;
        for step in path {
            set = set.children.entry(step);
        }
        set.member = true;
    }

    /// Adds a set below a path. A set without steps is the path itself.
    pub(super) fn graft(&mut self, path: &[Str], below: &Self) {
        let mut set = self;
        for step in path {
            set = set.children.entry(step);
        }
        set.add(below);
        set.member |= below.children.is_empty();
    }

    pub(super) fn child(&self, step: &str) -> Option<&Self> {
        self.children.get(step)
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.add(other);
        union
    }

    fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (step, child) in &other.children {
            self.children.entry(step).add(child);
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let both = |(step, child): (&Str, &Self)| {
            let common = child.intersection(other.children.get(step)?);
            (!common.is_empty()).then(|| (step.clone(), common))
        };
        Self { member: self.member && other.member, children: self.children.iter().filter_map(both).collect() }
    }

    /// What is here and not there. Paths below a path of the other set stay.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let rest = |(step, child): (&Str, &Self)| {
            let rest = other.children.get(step).map_or_else(|| child.clone(), |o| child.difference(o));
            (!rest.is_empty()).then(|| (step.clone(), rest))
        };
        Self { member: self.member && !other.member, children: self.children.iter().filter_map(rest).collect() }
    }

    /// What is here and neither there nor below a path there.
    #[must_use]
    pub(super) fn without_below(&self, other: &Self) -> Self {
        if other.member {
            return Self::default();
        }
        let rest = |(step, child): (&Str, &Self)| {
            let rest = other.children.get(step).map_or_else(|| child.clone(), |o| child.without_below(o));
            (!rest.is_empty()).then(|| (step.clone(), rest))
        };
        Self { member: self.member, children: self.children.iter().filter_map(rest).collect() }
    }

    /// All paths, as errors show them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(prefix.to_owned());
        }
        for (step, child) in &self.children {
            child.collect_paths(&format!("{prefix}{}", element::shown(step)), paths);
        }
    }
}
