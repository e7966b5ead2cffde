//! Definitions of types.

use std::collections::BTreeSet;

use super::custom::{self, Common};
use super::{Descriptions, Form, Resource, kind_value};
use crate::gvk::GroupVersionKind;
use crate::json::{Map, Value};
use crate::schema::{self, Field, ListSemantics, MapSemantics, Schema, Type, TypeRef};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// All types that the resources' operations name, and all that these refer to.
pub(super) fn definitions(resources: &[Resource], form: Form, descriptions: &Descriptions<'_>) -> Map {
    let describe = |ty: &str, field: &str| descriptions.of_field(ty, field).map(std::borrow::Cow::into_owned);
    let common = Common::new(form, describe);
    let mut closure = Closure { form, descriptions, common, seen: BTreeSet::new(), definitions: Vec::new() };
    for name in ["DeleteOptions", "Status", "Patch", "ObjectMeta", "ListMeta", "WatchEvent"] {
        closure.named(&format!("{META}.{name}"));
    }
    for resource in resources {
        closure.add_type(resource.ty.get());
        if resource.verbs.iter().any(|v| v == "list") {
            closure.list(&resource.ty, &resource.kind, &resource.plural);
        }
        for ty in resource.subresources.iter().filter_map(|s| s.ty.as_ref()) {
            closure.add_type(ty.get());
        }
    }
    closure.definitions.into_iter().collect()
}

/// The name of the definition of a type's lists.
pub(super) fn list_name(ty: &Type) -> String {
    format!("{}List", ty.name)
}

/// A reference to a definition.
pub(super) fn reference(name: &str, form: Form) -> Map {
    let place = if form == Form::V2 { "#/definitions/" } else { "#/components/schemas/" };
    [("$ref", format!("{place}{name}"))].into_iter().collect()
}

struct Closure<'a> {
    form: Form,
    descriptions: &'a Descriptions<'a>,
    common: Common,
    seen: BTreeSet<String>,
    definitions: Vec<(String, Map)>,
}

impl Closure<'_> {
    fn named(&mut self, name: &str) {
        if let Some(ty) = schema::lookup(name) {
            self.add_type(ty);
        } else if self.seen.insert(name.to_owned()) {
            // A type of a form of its own that is no row of the table.
            let mut definition = own_form(name, self.form);
            self.describe(name, &mut definition);
            self.definitions.push((name.to_owned(), definition));
        }
    }

    fn add_type(&mut self, ty: &Type) {
        if !self.seen.insert(ty.name.to_string()) {
            return;
        }
        let mut definition = match &ty.definition {
            Some(schema) => custom::definition(schema, self.form, &self.common),
            None if ty.fields.is_empty() => own_form(&ty.name, self.form),
            None => self.object(ty),
        };
        self.describe(&ty.name, &mut definition);
        if !ty.kinds.is_empty() {
            definition.insert("x-kubernetes-group-version-kind", ty.kinds.iter().map(kind_value).collect::<Vec<_>>());
        }
        self.definitions.push((ty.name.to_string(), definition));
    }

    fn describe(&self, name: &str, definition: &mut Map) {
        if let Some(text) = self.descriptions.of_type(name) {
            definition.insert("description", text.as_ref());
        }
    }

    /// Lists of built-in kinds are rows of the table; those of custom resources are made here.
    fn list(&mut self, ty: &TypeRef, kind: &GroupVersionKind, plural: &str) {
        let ty = ty.get();
        let name = list_name(ty);
        if let Some(list) = schema::lookup(&name) {
            self.add_type(list);
            return;
        }
        if !self.seen.insert(name.clone()) {
            return;
        }
        let list_kind = GroupVersionKind::new(kind.group.clone(), kind.version.clone(), format!("{}List", kind.kind));
        let mut definition = Value::object();
        self.common.add_to(&mut definition);
        definition.set_at(&["properties", "metadata"], self.common.list_metadata.clone());
        let items = definition.ensure_at(&["properties", "items"]);
        items.set_at(&["type"], "array");
        items.set_at(&["items"], reference(&ty.name, self.form));
        items.set_at(&["description"], format!("All {plural} of the list."));
        definition.set_at(&["type"], "object");
        definition.set_at(&["required"], vec!["items"]);
        definition.set_at(&["description"], format!("{} is a list of {}", list_kind.kind, kind.kind));
        definition.set_at(&["x-kubernetes-group-version-kind"], vec![kind_value(&list_kind)]);
        let definition = definition.as_object_mut().map(std::mem::take).unwrap_or_default();
        self.definitions.push((name, definition));
    }

    fn object(&mut self, ty: &Type) -> Map {
        let mut definition = Map::new();
        definition.insert("type", "object");
        let properties: Map = ty.fields.iter().map(|f| (f.name.as_ref(), self.field(ty, f))).collect();
        if !properties.is_empty() {
            definition.insert("properties", properties);
        }
        let required: Vec<&str> = ty.fields.iter().filter(|f| f.required).map(|f| f.name.as_ref()).collect();
        if !required.is_empty() {
            definition.insert("required", required);
        }
        if ty.atomic {
            definition.insert("x-kubernetes-map-type", "atomic");
        }
        if ty.preserve_unknown {
            definition.insert("x-kubernetes-preserve-unknown-fields", true);
        }
        if ty.embedded_resource {
            definition.insert("x-kubernetes-embedded-resource", true);
        }
        definition
    }

    fn field(&mut self, ty: &Type, field: &Field) -> Map {
        let mut extras = Map::new();
        let described = field.description.clone().or_else(|| self.descriptions.of_field(&ty.name, &field.name));
        if let Some(description) = described {
            extras.insert("description", description.as_ref());
        }
        if let Some(default) = &field.default {
            extras.insert("default", default.clone());
        }
        if let Some(key) = &field.patch_merge_key {
            extras.insert("x-kubernetes-patch-merge-key", key.as_ref());
        }
        let strategy = field.patch_strategy;
        let strategies: Vec<&str> =
            [(strategy.merge, "merge"), (strategy.replace, "replace"), (strategy.retain_keys, "retainKeys")]
                .into_iter()
                .filter_map(|(is, name)| is.then_some(name))
                .collect();
        if !strategies.is_empty() {
            extras.insert("x-kubernetes-patch-strategy", strategies.join(","));
        }
        if field.nullable && self.form == Form::V3 {
            extras.insert("nullable", true);
        }
        let mut schema = self.schema(&field.schema);
        if extras.is_empty() {
            return schema;
        }
        // In v3 nothing may stand beside a reference.
        if self.form == Form::V3 && schema.contains_key("$ref") {
            schema = [("allOf", vec![schema])].into_iter().collect();
        }
        for (key, value) in extras {
            schema.insert(key, value);
        }
        schema
    }

    fn schema(&mut self, schema: &Schema) -> Map {
        let mut map = Map::new();
        match schema {
            Schema::String => of_type(&mut map, "string", ""),
            Schema::Bytes => of_type(&mut map, "string", "byte"),
            Schema::Bool => of_type(&mut map, "boolean", ""),
            Schema::Int32 => of_type(&mut map, "integer", "int32"),
            Schema::Int64 => of_type(&mut map, "integer", "int64"),
            Schema::Double => of_type(&mut map, "number", "double"),
            Schema::List(list) => {
                of_type(&mut map, "array", "");
                map.insert("items", self.schema(&list.element));
                list_extensions(&mut map, &list.semantics);
            }
            Schema::Map(of) => {
                of_type(&mut map, "object", "");
                map.insert("additionalProperties", self.schema(&of.element));
                map_extensions(&mut map, of.semantics);
            }
            Schema::Struct(ty, semantics) => {
                map = self.reference_to(ty.get());
                if *semantics != MapSemantics::Unset {
                    if self.form == Form::V3 && map.contains_key("$ref") {
                        map = [("allOf", vec![map])].into_iter().collect();
                    }
                    map_extensions(&mut map, *semantics);
                }
            }
            other => match other.type_name() {
                Some(name) => {
                    self.named(name);
                    map = reference(name, self.form);
                }
                None if matches!(other, Schema::Object(_)) => of_type(&mut map, "object", ""),
                None => {
                    map.insert("x-kubernetes-preserve-unknown-fields", true);
                }
            },
        }
        map
    }

    /// Named types are referred to, those without a name stand where they are used.
    fn reference_to(&mut self, ty: &Type) -> Map {
        if ty.name.is_empty() {
            return self.object(ty);
        }
        self.add_type(ty);
        reference(&ty.name, self.form)
    }
}

fn of_type(map: &mut Map, name: &str, format: &str) {
    map.insert("type", name);
    if !format.is_empty() {
        map.insert("format", format);
    }
}

fn list_extensions(map: &mut Map, semantics: &ListSemantics) {
    let name = match semantics {
        ListSemantics::Unset => return,
        ListSemantics::Atomic => "atomic",
        ListSemantics::Set => "set",
        ListSemantics::Map(keys) => {
            map.insert("x-kubernetes-list-map-keys", keys.iter().map(|k| k.as_ref()).collect::<Vec<&str>>());
            "map"
        }
    };
    map.insert("x-kubernetes-list-type", name);
}

fn map_extensions(map: &mut Map, semantics: MapSemantics) {
    match semantics {
        MapSemantics::Unset => {}
        MapSemantics::Granular => drop(map.insert("x-kubernetes-map-type", "granular")),
        MapSemantics::Atomic => drop(map.insert("x-kubernetes-map-type", "atomic")),
    }
}

/// Types whose wire form is not that of an object with fields.
fn own_form(name: &str, form: Form) -> Map {
    let one_of = |names: [&str; 2]| -> Value {
        names.into_iter().map(|n| [("type", n)].into_iter().collect::<Map>()).collect::<Vec<_>>().into()
    };
    let mut map = Map::new();
    match (name.rsplit('.').next().unwrap_or_default(), form) {
        ("Quantity", Form::V3) => drop(map.insert("oneOf", one_of(["string", "number"]))),
        ("IntOrString", Form::V3) => {
            map.insert("format", "int-or-string");
            map.insert("oneOf", one_of(["integer", "string"]));
        }
        ("IntOrString", Form::V2) => of_type(&mut map, "string", "int-or-string"),
        ("Time" | "MicroTime", _) => of_type(&mut map, "string", "date-time"),
        ("Quantity" | "Duration", _) => of_type(&mut map, "string", ""),
        ("JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray", _) => {}
        _ => of_type(&mut map, "object", ""),
    }
    map
}
