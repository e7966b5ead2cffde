//! Objects of any type, made of the schema table by a seed.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::json::{Map, Value};
use crate::schema::{JSON_SCHEMA_PROPS, Schema, Type};
use crate::time;

/// Values that an object holds about at most; the lists and maps on the way are finished.
const VALUES_MAX: usize = 1500;
/// Odd strings: what encoders trip over.
const STRINGS: [&str; 12] =
    ["", " ", "a\nb", "\u{0}\u{1f}", "<&>\u{2028}", "日本語 🦀", "\"\\", "null", "yes", "0x10", "- a: b", "~"];
const QUANTITIES: [&str; 10] =
    ["0", "100m", "1", "-5", "1Gi", "1500Mi", "12e6", "3n", "9223372036854775807", "-100000000000000000000"];
const DURATIONS: [&str; 6] = ["0s", "1h0m5s", "-1.5s", "100ms", "3µs", "2562047h47m16.854775807s"];

/// Makes objects. The same seed makes the same.
pub(super) struct Maker {
    state: u64,
    numbered: u32,
    values: usize,
    /// The types around the place, so that those which hold themselves end.
    around: Vec<*const Type>,
    /// Fields that were filled, by type.
    pub(super) filled: HashSet<(String, String)>,
}

impl Maker {
    pub(super) fn new(seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { state, numbered: 1000, values: 0, around: Vec::new(), filled: HashSet::new() }
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % bound
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    /// A number that no other value of the object has.
    fn number(&mut self) -> u32 {
        self.numbered += 1;
        self.numbered
    }

    /// An object with its apiVersion and kind; every second field is filled.
    pub(super) fn whole(&mut self, ty: &Type) -> Value {
        self.values = 0;
        let mut tree = self.object(ty);
        if let Some(kind) = ty.kinds.first() {
            tree.insert("apiVersion", kind.api_version());
            tree.insert("kind", kind.kind.as_ref());
        }
        tree.into()
    }

    fn object(&mut self, ty: &Type) -> Map {
        let nested = self.around.iter().filter(|around| std::ptr::eq(**around, ty)).count();
        self.around.push(ty);
        let mut map = Map::new();
        for field in ty.fields.iter().filter(|f| !f.proto.is_empty()) {
            let wanted = self.below([2, 12, 40].get(nested).copied().unwrap_or(usize::MAX)) == 0;
            if wanted && self.values < VALUES_MAX {
                self.filled.insert((ty.name.to_string(), field.name.to_string()));
                map.insert(field.name.as_ref(), self.value(&field.schema));
            }
        }
        self.around.pop();
        map
    }

    fn value(&mut self, schema: &Schema) -> Value {
        self.values += 1;
        match schema {
            Schema::String if self.below(4) == 0 => self.one_of(&STRINGS).into(),
            Schema::String => format!("s#{}", self.number()).into(),
            Schema::Bytes => {
                let length = self.below(7);
                STANDARD.encode((0..length).map(|_| self.below(256) as u8).collect::<Vec<u8>>()).into()
            }
            Schema::Bool => (self.below(2) == 0).into(),
            Schema::Int32 if self.below(4) == 0 => [0, -1, i32::MAX, i32::MIN][self.below(4)].into(),
            Schema::Int64 if self.below(4) == 0 => [0, -1, i64::MAX, i64::MIN][self.below(4)].into(),
            Schema::Int32 | Schema::Int64 => i64::from(self.number()).into(),
            Schema::Double => [0.5, -1e300, 1e-9, 2.0, 1e21][self.below(5)].into(),
            Schema::Quantity => self.one_of(&QUANTITIES).into(),
            Schema::Time => self.time(1_000_000_000, time::format).into(),
            Schema::MicroTime => self.time(1_000, time::format_micro).into(),
            Schema::Duration => self.one_of(&DURATIONS).into(),
            Schema::IntOrString if self.below(2) == 0 => i64::from(self.number()).into(),
            Schema::IntOrString => self.one_of(&["", "50%", "http"]).into(),
            Schema::Object(_) => Value::parse(br#"{"a":{"b":[1,-0.5,null,"x"]},"f:c":{}}"#).expect("it is JSON"),
            Schema::Any(of) => self.any(of),
            Schema::List(list) => (0..1 + self.below(2)).map(|_| self.value(&list.element)).collect::<Vec<_>>().into(),
            Schema::Map(of) => {
                let keys = [["a.b/c", "日本"], ["k", ""], ["z", "a"]][self.below(3)];
                let count = 1 + self.below(2);
                keys[..count].iter().map(|key| (*key, self.value(&of.element))).collect::<Map>().into()
            }
            Schema::Struct(ty, _) => self.object(ty.get()).into(),
        }
    }

    /// A time of the years 1 to 9999 in steps of so many nanoseconds.
    fn time(&mut self, step_nanos: i128, format: impl Fn(jiff::Timestamp) -> String) -> String {
        let seconds = [-62_135_596_799_i64, -1, 0, 1, 1_700_000_000, 253_402_207_200][self.below(6)];
        let nanos = self.below(1_000_000_000) as i128 / step_nanos * step_nanos;
        let time = jiff::Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + nanos);
        format(time.expect("it is a time between the years 1 and 9999"))
    }

    fn any(&mut self, of: &str) -> Value {
        let props = match Schema::builtin(JSON_SCHEMA_PROPS) {
            Some(Schema::Struct(ty, _)) => ty,
            _ => unreachable!("the table has the type"),
        };
        match (of.rsplit('.').next().unwrap_or_default(), self.below(3)) {
            ("JSONSchemaPropsOrBool", 0) => false.into(),
            ("JSONSchemaPropsOrBool", 1) => true.into(),
            ("JSONSchemaPropsOrStringArray", 0 | 1) => vec!["a", "b"].into(),
            ("JSONSchemaPropsOrArray", 0) => {
                vec![Value::from(self.object(props.get())), self.object(props.get()).into()].into()
            }
            ("JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray", _) => {
                self.object(props.get()).into()
            }
            (_, 0) => format!("s#{}", self.number()).into(),
            (_, 1) => vec![Value::Null, 1.into(), Value::object()].into(),
            _ => Value::parse(br#"{"a":[1.5,false]}"#).expect("it is JSON"),
        }
    }
}
