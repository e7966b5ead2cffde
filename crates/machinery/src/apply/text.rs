//! Field sets in their written form, `fieldsV1`: what can be told and changed there without reading them into sets. Objects
//! of steps have their steps in order, as [`crate::json::Map`] has, with `.` first.

use std::borrow::Cow;

use super::set::FieldSet;
use crate::json::{Str, Value, object_length};

/// What is left of a set when others are taken out of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// All of it.
    Same,
    /// This.
    Less(String),
    /// Nothing.
    Nothing,
}

/// Takes the paths of some sets out of a written one. Paths below them stay.
pub(super) fn subtract(text: &str, gone: [Option<&FieldSet>; 2]) -> Rest {
    let mut cut = Cut { reader: Reader::new(text), out: Vec::with_capacity(text.len()) };
    match cut.object(gone) {
        Some(true) if cut.out == text.as_bytes() => Rest::Same,
        Some(true) => String::from_utf8(cut.out).map_or(Rest::Same, Rest::Less),
        Some(false) => Rest::Nothing,
        // It is not written as it should be, so it is read.
        None => {
            let set = gone.into_iter().flatten().fold(FieldSet::from_text(text), |set, gone| set.difference(gone));
            if set.is_empty() { Rest::Nothing } else { Rest::Less(set.to_text()) }
        }
    }
}

/// Whether all paths of a set are in a written one.
pub(super) fn contains(text: &str, set: &FieldSet) -> bool {
    has(&mut Reader::new(text), set).unwrap_or(false)
}

/// Reads a set that is written in our order and spelling; nothing when it is not.
pub(super) fn read(text: &str) -> Option<FieldSet> {
    let mut set = FieldSet::default();
    let mut reader = Reader::new(text);
    read_into(&mut reader, &mut set)?;
    (reader.at == text.len()).then_some(set)
}

fn read_into(reader: &mut Reader<'_>, set: &mut FieldSet) -> Option<()> {
    reader.take(b'{')?;
    while let Some(step) = reader.step()? {
        if step.name == "." {
            set.member = true;
            reader.object()?;
            continue;
        }
        let name = match step.name.as_bytes().first_chunk::<2>()? {
            b"f:" => Str::from(step.name),
            // Keys and values may be spelled otherwise.
            _ => super::element::normalized(&step.name)?,
        };
        let below = set.children.entry(&name);
        read_into(reader, below)?;
        below.member |= below.children.is_empty();
    }
    Some(())
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

/// A step as it stands, quotes and colon included, and as it reads.
struct Step<'t> {
    written: &'t str,
    name: Cow<'t, str>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.text.as_bytes().get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// The next step of an object that has begun; the inner nothing is its end.
    fn step(&mut self) -> Option<Option<Step<'t>>> {
        if self.take(b'}').is_some() {
            return Some(None);
        }
        let _ = self.take(b',');
        let start = self.at;
        self.take(b'"')?;
        let mut is_plain = true;
        loop {
            match self.text.as_bytes().get(self.at)? {
                b'"' => break,
                b'\\' => {
                    is_plain = false;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at)?;
        self.take(b':')?;
        let name = if is_plain {
            Cow::Borrowed(&quoted[1..quoted.len() - 1])
        } else {
            Cow::Owned(Value::parse(quoted.as_bytes()).ok()?.as_str()?.to_owned())
        };
        Some(Some(Step { written: self.text.get(start..self.at)?, name }))
    }

    /// Passes by an object, and gives it.
    fn object(&mut self) -> Option<&'t str> {
        let rest = self.text.get(self.at..)?;
        if !rest.starts_with('{') {
            return None;
        }
        let length = object_length(rest.as_bytes())?;
        self.at += length;
        rest.get(..length)
    }
}

struct Cut<'t> {
    reader: Reader<'t>,
    out: Vec<u8>,
}

impl Cut<'_> {
    /// Writes what is left of the object that comes next. Gives whether anything is; nothing when it is no object.
    fn object(&mut self, gone: [Option<&FieldSet>; 2]) -> Option<bool> {
        let start = self.out.len() + 1;
        self.reader.take(b'{')?;
        self.out.push(b'{');
        let is_gone = gone.into_iter().flatten().any(|set| set.member);
        let mut is_member = None;
        let mut has_steps = false;
        while let Some(step) = self.reader.step()? {
            if step.name == "." {
                is_member = Some(true);
                self.reader.object()?;
                continue;
            }
            let mark = self.out.len();
            if has_steps {
                self.out.push(b',');
            } else if *is_member.get_or_insert(false) && !is_gone {
                self.out.extend_from_slice(br#"".":{},"#);
            }
            self.out.extend_from_slice(step.written.as_bytes());
            if self.below(&step.name, gone)? {
                has_steps = true;
            } else {
                self.out.truncate(mark);
            }
        }
        if !has_steps {
            self.out.truncate(start);
        }
        self.out.push(b'}');
        // A leaf is written without the dot.
        Some(has_steps || is_member.unwrap_or(true) && !is_gone)
    }

    fn below(&mut self, step: &str, gone: [Option<&FieldSet>; 2]) -> Option<bool> {
        let below = gone.map(|set| set.and_then(|set| set.child(step)));
        if below != [None, None] {
            return self.object(below);
        }
        self.out.extend_from_slice(self.reader.object()?.as_bytes());
        Some(true)
    }
}

/// Whether the object that comes next has all paths of a set.
fn has(reader: &mut Reader<'_>, set: &FieldSet) -> Option<bool> {
    reader.take(b'{')?;
    let mut is_member = None;
    let mut found = 0;
    while let Some(step) = reader.step()? {
        if step.name == "." {
            is_member = Some(true);
            reader.object()?;
            continue;
        }
        is_member = is_member.or(Some(false));
        match set.child(&step.name) {
            None => _ = reader.object()?,
            Some(below) => {
                if !has(reader, below)? {
                    return Some(false);
                }
                found += 1;
            }
        }
    }
    Some((!set.member || is_member.unwrap_or(true)) && found == set.children.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sets() -> impl Strategy<Value = FieldSet> {
        let name = prop_oneof![Just("f:a"), Just("f:b"), Just(r#"k:{"name":"x"}"#), Just("v:\"é\\\"\"")];
        let path = prop::collection::vec(name, 1..4);
        prop::collection::vec(path, 0..8).prop_map(|paths| {
            let mut set = FieldSet::default();
            for path in paths {
                set.insert(&path.into_iter().map(Into::into).collect::<Vec<_>>());
            }
            set
        })
    }

    proptest! {
        #[test]
        fn written_sets_are_changed_as_sets_are(a in sets(), b in sets(), c in sets()) {
            let text = a.to_text();
            prop_assert_eq!(FieldSet::from_text(&text), a.clone());
            prop_assert_eq!(Value::parse(text.as_bytes()).unwrap().to_string(), text.clone());
            let wanted = a.difference(&b).difference(&c);
            let got = match subtract(&text, [Some(&b), Some(&c)]) {
                Rest::Same => { prop_assert_eq!(&wanted, &a); wanted.to_text() }
                Rest::Less(text) => text,
                Rest::Nothing => { prop_assert!(wanted.is_empty()); wanted.to_text() }
            };
            prop_assert_eq!(got, wanted.to_text());
            prop_assert_eq!(contains(&text, &b), b.difference(&a).is_empty());
        }
    }
}
