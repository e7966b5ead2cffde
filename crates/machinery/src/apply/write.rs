//! What a value sets, written as `fieldsV1` in one pass: what a new object's manager owns, and what an update adds or takes
//! away as a whole.

use super::before::{Part, Reset, is_nobodys, is_zero};
use super::shape::{ANY, Shape, list_step, shape};
use crate::json::{Map, Str, Value, write_text};
use crate::schema::{Absent, Schema, Text, Type};

/// Bytes that most field sets fit into.
const CAPACITY_BYTES: usize = 2048;

/// What a new object sets. Nothing when it sets nothing.
pub(super) fn object(schema: &Schema, object: &Value, reset: Reset<'_>) -> Option<String> {
    let mut writer = Writer { out: Vec::with_capacity(CAPACITY_BYTES), part: Part::Root };
    let wrote = writer.place(schema, object, Absent::Zero, reset);
    wrote.then(|| writer.finish())
}

/// What a value sets that stands somewhere in an object where nothing, or an empty value, stood.
pub(super) fn value(schema: &Schema, value: &Value, before: Absent) -> Option<String> {
    let mut writer = Writer { out: Vec::new(), part: Part::Other };
    let wrote = writer.place(schema, value, before, Reset::NONE);
    wrote.then(|| writer.finish())
}

struct Writer {
    out: Vec<u8>,
    /// Where the object that is written next stands.
    part: Part,
}

impl Writer {
    fn finish(self) -> String {
        String::from_utf8(self.out).expect("it is written of strings and marks")
    }

    /// Writes what is set at a place and below it, or nothing when that is nothing.
    fn place(&mut self, schema: &Schema, value: &Value, before: Absent, reset: Reset<'_>) -> bool {
        match (shape(schema, [Some(value), None]), value) {
            (Shape::List { element, keys }, Value::Array(list)) if !list.is_empty() => {
                self.list(element, keys, list, before)
            }
            (Shape::Struct(ty), Value::Object(map)) if !map.is_empty() || before == Absent::Nothing => {
                self.fields(ty, map, before, reset)
            }
            (Shape::Map(element), Value::Object(map)) if !map.is_empty() => self.map(element, map, before),
            _ => self.leaf(schema, value, before),
        }
    }

    fn leaf(&mut self, schema: &Schema, value: &Value, before: Absent) -> bool {
        let is_set = match before {
            Absent::Nothing => true,
            Absent::Null => !value.is_null(),
            Absent::Zero => !is_zero(schema, value),
        };
        if is_set {
            self.out.extend_from_slice(b"{}");
        }
        is_set
    }

    fn open(&mut self, before: Absent) {
        let begin: &[u8] = if before == Absent::Nothing { br#"{".":{},"# } else { b"{" };
        self.out.extend_from_slice(begin);
    }

    /// Ends an object of steps that began at `start`, and takes it back when there is nothing in it.
    fn close(&mut self, start: usize, before: Absent) -> bool {
        if self.out.last() == Some(&b',') && self.out.len() > start {
            self.out.pop();
            self.out.push(b'}');
            let is_alone = before == Absent::Nothing && self.out.len() == start + br#"{".":{}}"#.len();
            if is_alone {
                self.out.truncate(start);
                self.out.extend_from_slice(b"{}");
            }
            return true;
        }
        self.out.truncate(start);
        false
    }

    /// Writes a step and what is below it.
    fn below(&mut self, prefix: &[u8], name: &str, write: impl FnOnce(&mut Self) -> bool) {
        let start = self.out.len();
        self.out.push(b'"');
        self.out.extend_from_slice(prefix);
        write_text(name, &mut self.out);
        self.out.extend_from_slice(b"\":");
        if write(self) {
            self.out.push(b',');
        } else {
            self.out.truncate(start);
        }
    }

    /// The fields of a type, those too that Go writes where they are left out.
    fn fields(&mut self, ty: &Type, map: &Map, before: Absent, reset: Reset<'_>) -> bool {
        let start = self.out.len();
        self.open(before);
        let part = std::mem::replace(&mut self.part, Part::Other);
        let mut known = ty.fields.iter().peekable();
        for (name, value) in map.iter() {
            let field = loop {
                match known.peek() {
                    Some(field) if field.name.as_ref() < name => {
                        if before != Absent::Zero {
                            self.left_out(field);
                        }
                        known.next();
                    }
                    Some(field) if field.name == name => break known.next(),
                    _ => break None,
                }
            };
            let Some(reset) = reset.field(name) else { continue };
            if is_nobodys(part, name) {
                continue;
            }
            let (schema, before) = match field {
                Some(field) if before == Absent::Zero => (&field.schema, Absent::of(field)),
                Some(field) => (&field.schema, Absent::Nothing),
                None => (&ANY, Absent::Nothing),
            };
            self.part = part.field(name);
            self.below(b"f:", name, |w| w.place(schema, value, before, reset));
            self.part = Part::Other;
        }
        if before != Absent::Zero {
            known.for_each(|field| self.left_out(field));
        }
        self.close(start, before)
    }

    fn left_out(&mut self, field: &crate::schema::Field) {
        match (Absent::of(field), &field.schema) {
            (Absent::Nothing, _) => {}
            (Absent::Zero, Schema::Struct(..)) => {
                let empty = Value::object();
                self.below(b"f:", &field.name, |w| w.place(&field.schema, &empty, Absent::Nothing, Reset::NONE));
            }
            _ => self.below(b"f:", &field.name, |w| w.leaf(&field.schema, &Value::Null, Absent::Nothing)),
        }
    }

    fn map(&mut self, element: &Schema, map: &Map, before: Absent) -> bool {
        let start = self.out.len();
        self.open(before);
        for (name, value) in map.iter() {
            self.below(b"f:", name, |w| w.place(element, value, Absent::Nothing, Reset::NONE));
        }
        self.close(start, before)
    }

    fn list(&mut self, element: &Schema, keys: &[Text], list: &[Value], before: Absent) -> bool {
        let start = self.out.len();
        self.open(before);
        let steps = list.iter().filter_map(|value| Some((list_step(element, keys, value).ok()?, value)));
        let mut steps: Vec<(Str, &Value)> = steps.collect();
        if !steps.is_sorted_by(|a, b| a.0 < b.0) {
            steps.sort_by(|a, b| a.0.cmp(&b.0));
        }
        for same in steps.chunk_by(|a, b| a.0 == b.0) {
            self.below(b"", &same[0].0, |w| match same {
                [(_, one)] => w.place(element, one, Absent::Nothing, Reset::NONE),
                // Of what stands twice only the step itself is owned.
                _ => w.leaf(element, &Value::Null, Absent::Nothing),
            });
        }
        self.close(start, before)
    }
}
