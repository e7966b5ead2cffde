//! Server-side tables (`metav1.Table`) and metadata-only answers: what `kubectl get` prints.

use jiff::Timestamp;
use machinery::{Map, Value};
use resources::{Column, Resource};

/// What each row of a table carries of its object (`metav1.IncludeObjectPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Only its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    None,
}

impl IncludeObject {
    /// Reads the parameter `includeObject`; the error is upstream's wording.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        match text.unwrap_or_default() {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::None),
            other => Err(format!("unrecognized includeObject value: {other:?}")),
        }
    }
}

/// How tables of one answer are made.
#[derive(Debug, Clone, Copy)]
pub struct TableOptions {
    /// `v1` or `v1beta1`
    pub version: &'static str,
    /// What rows carry.
    pub include: IncludeObject,
    /// The moment that ages refer to.
    pub now: Timestamp,
}

impl TableOptions {
    /// A table without rows. Watches tell the columns only once.
    pub fn head(&self, row: &Resource, with_columns: bool) -> Map {
        let mut table = Map::new();
        table.insert("kind", "Table");
        table.insert("apiVersion", format!("meta.k8s.io/{}", self.version));
        let columns: Vec<Map> =
            if with_columns { row.all_columns().into_iter().map(definition).collect() } else { Vec::new() };
        table.insert("columnDefinitions", if with_columns { columns.into() } else { Value::Null });
        table.insert("rows", Value::Array(Vec::new()));
        table
    }

    /// The row of one object.
    pub fn row(&self, columns: &[&Column], object: &Value) -> Value {
        let mut row = Map::new();
        row.insert("cells", columns.iter().map(|c| c.cell.of(object, self.now)).collect::<Vec<_>>());
        match self.include {
            IncludeObject::Metadata => {
                row.insert("object", partial(object, self.version));
            }
            IncludeObject::Object => {
                row.insert("object", object.clone());
            }
            IncludeObject::None => {}
        }
        row.into()
    }

    /// The table of one object.
    pub fn single(&self, row: &Resource, object: &Value, with_columns: bool) -> Value {
        let mut table = self.head(row, with_columns);
        let version = object.str_at(&["metadata", "resourceVersion"]).unwrap_or_default();
        table.insert("metadata", Map::from_iter([("resourceVersion", version)]));
        table.insert("rows", vec![self.row(&row.all_columns(), object)]);
        table.into()
    }
}

/// `metav1.TableColumnDefinition`
fn definition(column: &Column) -> Map {
    let mut tree = Map::new();
    tree.insert("name", column.name.as_ref());
    tree.insert("type", column.kind.as_ref());
    tree.insert("format", column.format.as_ref());
    tree.insert("description", column.description.as_ref());
    tree.insert("priority", column.priority);
    tree
}

/// `metav1.PartialObjectMetadata` of an object.
pub fn partial(object: &Value, version: &str) -> Value {
    let mut tree = Map::new();
    tree.insert("kind", "PartialObjectMetadata");
    tree.insert("apiVersion", format!("meta.k8s.io/{version}"));
    tree.insert("metadata", object.get("metadata").cloned().unwrap_or_else(Value::object));
    tree.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(include: IncludeObject) -> TableOptions {
        TableOptions { version: "v1", include, now: "2026-01-01T00:05:00Z".parse().unwrap() }
    }

    #[test]
    fn a_namespace_is_shown_as_kubectl_shows_it() {
        let rows = resources::table();
        let row = rows.iter().find(|r| r.plural == "namespaces").unwrap();
        let object = Value::parse(
            br#"{"kind":"Namespace","apiVersion":"v1","status":{"phase":"Active"},
                 "metadata":{"name":"a","resourceVersion":"7","creationTimestamp":"2026-01-01T00:00:00Z"}}"#,
        )
        .unwrap();
        let table = options(IncludeObject::Metadata).single(row, &object, true);
        let names = table.get("columnDefinitions").and_then(Value::as_array).unwrap();
        let names: Vec<_> = names.iter().filter_map(|c| c.str_at(&["name"])).collect();
        assert_eq!(names, ["Name", "Status", "Age"]);
        let line = &table.get("rows").and_then(Value::as_array).unwrap()[0];
        assert_eq!(line.get("cells"), Some(&Value::from(vec!["a", "Active", "5m"])));
        assert_eq!(line.str_at(&["object", "kind"]), Some("PartialObjectMetadata"));
        assert_eq!(line.at(&["object", "status"]), None);
        assert_eq!(table.str_at(&["metadata", "resourceVersion"]), Some("7"));
        let bare = options(IncludeObject::None).single(row, &object, false);
        assert_eq!(bare.get("columnDefinitions"), Some(&Value::Null));
        assert_eq!(bare.get("rows").and_then(Value::as_array).unwrap()[0].get("object"), None);
    }
}
