//! The built-in table: `kubernetes-1.36.txt`, read once on first use (under a millisecond when optimized).
//!
//! The file's head says what its lines mean. Its facts are Kubernetes' published OpenAPI and protobuf definitions and, for flags
//! and Go's type names, the API's Go types. The text is part of the binary and well-formed by the tests below.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Field, List, ListSemantics, MapOf, MapSemantics, PatchStrategy, Schema, Text, Type, TypeRef};
use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::json::Value;

static TEXT: &str = include_str!("kubernetes-1.36.txt");
static TABLE: LazyLock<Table> = LazyLock::new(|| read(TEXT));

struct Table {
    types: Vec<Type>,
    rows: HashMap<&'static str, u16>,
    kinds: HashMap<GroupVersionKind, u16>,
}

/// All built-in types.
pub fn types() -> &'static [Type] {
    &TABLE.types
}

/// A built-in type by its full name: `io.k8s.api.core.v1.Pod`.
pub fn lookup(name: &str) -> Option<&'static Type> {
    row_of(name).map(row)
}

/// The built-in type of a kind. Kinds that are many types' (`DeleteOptions`) or no type's are not found.
pub fn lookup_gvk(gvk: &GroupVersionKind) -> Option<&'static Type> {
    TABLE.kinds.get(gvk).map(|r| row(*r))
}

/// The same, by what stands in an object: `apps/v1`, `Deployment`.
pub fn lookup_kind(api_version: &str, kind: &str) -> Option<&'static Type> {
    let version = GroupVersion::parse(api_version)?;
    lookup_gvk(&GroupVersionKind::new(version.group, version.version, kind))
}

pub(super) fn row(row: u16) -> &'static Type {
    &TABLE.types[usize::from(row)]
}

pub(super) fn row_of(name: &str) -> Option<u16> {
    TABLE.rows.get(name).copied()
}

fn read(text: &'static str) -> Table {
    let names = names(text);
    let rows: HashMap<&'static str, u16> = names
        .iter()
        .enumerate()
        .map(|(i, n)| (&*String::leak(n.clone()), u16::try_from(i).expect("there are under 65,536 types")))
        .collect();
    let mut types: Vec<Type> = Vec::with_capacity(names.len());
    let mut package = "";
    for line in text.lines() {
        match line.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'@') => package = &line[1..],
            Some(b':') => types.push(read_type(&line[1..], names[types.len()].clone())),
            Some(_) => {
                let field = read_field(line, package, &rows);
                types.last_mut().expect("a type's line stands before its fields").fields.push(field);
            }
        }
    }
    let mut kinds = HashMap::new();
    for (i, ty) in types.iter().enumerate() {
        for kind in &ty.kinds {
            kinds.insert(kind.clone(), u16::try_from(i).expect("there are under 65,536 types"));
        }
    }
    Table { types, rows, kinds }
}

fn names(text: &str) -> Vec<String> {
    let mut package = "";
    let mut names = Vec::with_capacity(800);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('@') {
            package = name;
        } else if let Some(head) = line.strip_prefix(':') {
            names.push(format!("{package}.{}", head.split(' ').next().unwrap_or_default()));
        }
    }
    names
}

fn read_type(head: &'static str, name: String) -> Type {
    let kinds = head.split(' ').skip(1).filter_map(|kind| {
        let mut parts = kind.splitn(3, '/');
        Some(GroupVersionKind::new(parts.next()?, parts.next()?, parts.next()?))
    });
    let atomic = head.split(' ').skip(1).any(|word| word == "atomic");
    Type { name: Cow::Owned(name), kinds: kinds.collect(), atomic, ..Type::default() }
}

fn read_field(line: &'static str, package: &str, rows: &HashMap<&'static str, u16>) -> Field {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (name, proto, schema, flags) = (word(), word(), word(), word());
    let mut field = Field {
        name: name.into(),
        proto: proto.split('.').filter_map(|n| n.parse().ok()).collect(),
        required: flags.contains('r'),
        omit_empty: flags.contains('o'),
        pointer: flags.contains('p'),
        ..Field::default()
    };
    let mut semantics = (ListSemantics::Unset, MapSemantics::Unset);
    for (key, value) in words.filter_map(|w| w.split_once('=')) {
        match key {
            "list" => semantics.0 = list_semantics(value),
            "map" if value == "atomic" => semantics.1 = MapSemantics::Atomic,
            "map" => semantics.1 = MapSemantics::Granular,
            "key" => field.patch_merge_key = Some(value.into()),
            "strategy" => field.patch_strategy = patch_strategy(value),
            "go" => field.go_type = Some(value.into()),
            "default" => field.default = Value::parse(value.as_bytes()).ok(),
            _ => {}
        }
    }
    field.schema = read_schema(schema, package, rows, semantics);
    field
}

fn list_semantics(value: &'static str) -> ListSemantics {
    match value.strip_prefix("map:") {
        Some(keys) => ListSemantics::Map(keys.split(',').map(Text::Borrowed).collect()),
        None if value == "set" => ListSemantics::Set,
        None => ListSemantics::Atomic,
    }
}

fn patch_strategy(value: &str) -> PatchStrategy {
    let has = |name: &str| value.split(',').any(|v| v == name);
    PatchStrategy { merge: has("merge"), replace: has("replace"), retain_keys: has("retainKeys") }
}

fn read_schema(
    text: &str,
    package: &str,
    rows: &HashMap<&'static str, u16>,
    semantics: (ListSemantics, MapSemantics),
) -> Schema {
    let inner = |rest| read_schema(rest, package, rows, (ListSemantics::Unset, MapSemantics::Unset));
    if let Some(rest) = text.strip_prefix("[]") {
        return Schema::List(Box::new(List { element: inner(rest), semantics: semantics.0 }));
    }
    if let Some(rest) = text.strip_prefix("{}") {
        return Schema::Map(Box::new(MapOf { element: inner(rest), semantics: semantics.1 }));
    }
    match text {
        "string" => Schema::String,
        "bytes" => Schema::Bytes,
        "bool" => Schema::Bool,
        "int32" => Schema::Int32,
        "int64" => Schema::Int64,
        "double" => Schema::Double,
        "object" => Schema::Object("".into()),
        name => named_schema(name, package, rows, semantics.1),
    }
}

/// Types of a shape of their own on the wire are known by name.
fn named_schema(name: &str, package: &str, rows: &HashMap<&'static str, u16>, semantics: MapSemantics) -> Schema {
    let full = if name.contains('.') { format!("io.k8s.{name}") } else { format!("{package}.{name}") };
    match name.rsplit('.').next().unwrap_or_default() {
        "Quantity" => return Schema::Quantity,
        "Time" => return Schema::Time,
        "MicroTime" => return Schema::MicroTime,
        "Duration" => return Schema::Duration,
        "IntOrString" => return Schema::IntOrString,
        "RawExtension" | "FieldsV1" | "Patch" => return Schema::Object(full.into()),
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
            return Schema::Any(full.into());
        }
        _ => {}
    }
    let row = rows.get(full.as_str()).copied().expect("the table's types refer to each other");
    Schema::Struct(TypeRef::Builtin(row), semantics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_knows_merge_keys() {
        assert!(types().len() > 700);
        let pod = lookup_gvk(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        assert_eq!(pod.name, "io.k8s.api.core.v1.Pod");
        assert_eq!(pod.go_name(), "v1.Pod");
        let spec = pod.field("spec").unwrap().schema.as_type().unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!(containers.patch_merge_key.as_deref(), Some("name"));
        assert!(containers.patch_strategy.merge && containers.required);
        let volumes = spec.field("volumes").unwrap();
        assert!(volumes.patch_strategy.retain_keys && volumes.patch_strategy.merge);
        let Schema::List(list) = &containers.schema else { panic!("containers are a list") };
        assert_eq!(list.semantics, ListSemantics::Map(vec!["name".into()]));
        let ports = list.element.as_type().unwrap().field("ports").unwrap();
        let Schema::List(ports) = &ports.schema else { panic!("ports are a list") };
        assert_eq!(ports.semantics, ListSemantics::Map(vec!["containerPort".into(), "protocol".into()]));
        assert_eq!(ports.element.as_type().unwrap().field("protocol").unwrap().default, Some("TCP".into()));
        let probe = lookup("io.k8s.api.core.v1.Probe").unwrap();
        assert_eq!(probe.field("httpGet").unwrap().proto, [1, 2]);
    }

    #[test]
    fn fields_are_sorted_by_name() {
        for ty in types() {
            assert!(ty.fields.is_sorted_by(|a, b| a.name < b.name), "{}", ty.name);
        }
    }
}
