//! What stands at a field that an object leaves out: nothing, or what Go's encoder writes for an empty value.

use super::check::zero;
use super::{Field, Schema, Type};
use crate::json::{Map, Str, Value};

/// What stands where a field is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nothing.
    Nothing,
    /// `null`
    Null,
    /// The type's empty value.
    Zero,
}

impl Absent {
    /// For a field of an object that is there.
    pub fn of(field: &Field) -> Self {
        match (&field.schema, field.pointer, field.omit_empty) {
            // As of 1.34 the time of creation is left out as long as there is none.
            (Schema::Time, ..) if field.name == "creationTimestamp" => Self::Nothing,
            (_, true, true) => Self::Nothing,
            (_, true, false) | (Schema::Time | Schema::MicroTime, false, _) => Self::Null,
            // Go leaves out no structs.
            (Schema::Struct(..) | Schema::Quantity | Schema::IntOrString | Schema::Duration, false, _) => Self::Zero,
            (_, false, true) => Self::Nothing,
            (Schema::String | Schema::Bool | Schema::Int32 | Schema::Int64 | Schema::Double, false, false) => {
                Self::Zero
            }
            _ => Self::Null,
        }
    }
}

/// Writes out what Go's encoder always writes: `status: {}`, `rules: null`. Custom resources have no such fields.
pub fn complete(tree: &mut Value, ty: &Type) {
    if let Value::Object(map) = tree
        && !ty.custom
    {
        fields(map, ty);
    }
}

fn fields(map: &mut Map, ty: &Type) {
    let mut known = ty.fields.iter().peekable();
    let mut missing = Vec::new();
    let absent = |field: &'_ Field| match Absent::of(field) {
        Absent::Nothing => None,
        Absent::Null => Some((Str::from(field.name.as_ref()), Value::Null)),
        Absent::Zero => {
            let mut zero = zero(&field.schema);
            value(&mut zero, &field.schema);
            Some((Str::from(field.name.as_ref()), zero))
        }
    };
    for (name, inner) in map.iter_mut() {
        while let Some(field) = known.next_if(|field| field.name.as_ref() < name) {
            missing.extend(absent(field));
        }
        if let Some(field) = known.next_if(|field| field.name == name) {
            value(inner, &field.schema);
        }
    }
    missing.extend(known.filter_map(absent));
    for (name, value) in missing {
        map.insert(name, value);
    }
}

fn value(tree: &mut Value, schema: &Schema) {
    match (schema, tree) {
        (Schema::Struct(ty, _), tree) => complete(tree, ty.get()),
        (Schema::List(list), Value::Array(items)) if holds_structs(&list.element) => {
            items.iter_mut().for_each(|item| value(item, &list.element));
        }
        (Schema::Map(of), Value::Object(map)) if holds_structs(&of.element) => {
            map.iter_mut().for_each(|(_, inner)| value(inner, &of.element));
        }
        _ => {}
    }
}

fn holds_structs(element: &Schema) -> bool {
    matches!(element, Schema::Struct(..) | Schema::List(_) | Schema::Map(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::lookup_kind;

    #[test]
    fn what_go_always_writes_is_there() {
        let cases = [
            ("v1", "ConfigMap", "{}", "{}"),
            ("rbac.authorization.k8s.io/v1", "Role", "{}", r#"{"rules":null}"#),
            ("v1", "LimitRange", r#"{"spec":{}}"#, r#"{"spec":{"limits":null}}"#),
            (
                "v1",
                "Pod",
                r#"{"spec":{"containers":[{"name":"a","ports":[{"name":"p"}]}]},"status":{"conditions":[{"type":"Ready"}]}}"#,
                r#"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":0,"name":"p"}],"resources":{}}]},
                    "status":{"conditions":[{"lastProbeTime":null,"lastTransitionTime":null,"status":"","type":"Ready"}]}}"#,
            ),
            (
                "networking.k8s.io/v1",
                "Ingress",
                r#"{"spec":{"rules":[{"http":{"paths":[{"backend":{"service":{}}}]}}]}}"#,
                r#"{"spec":{"rules":[{"http":{"paths":[{"backend":{"service":{"name":"","port":{}}},"pathType":null}]}}]},
                    "status":{"loadBalancer":{}}}"#,
            ),
        ];
        for (api_version, kind, given, wanted) in cases {
            let ty = lookup_kind(api_version, kind).unwrap();
            let parse = |text: &str| Value::parse(text.as_bytes()).unwrap();
            let (mut tree, mut wanted) = (parse(given), parse(wanted));
            complete(&mut tree, ty);
            wanted.set_at(&["metadata"], Value::object());
            assert_eq!(tree, wanted, "{kind}");
            complete(&mut tree, ty);
            assert_eq!(tree, wanted, "{kind} again");
        }
    }
}
