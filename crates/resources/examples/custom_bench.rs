//! What a large definition costs: `cargo run --release -p resources --example custom_bench`.

use std::hint::black_box;
use std::time::Instant;

use machinery::json::Value;
use machinery::schema::check;
use resources::{Resource, custom};

/// Rows that are kept, to see what one takes.
const ROWS: usize = 100;

#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it prints times")]
fn main() {
    let mut crd = definition();
    let definitions = resources::table().into_iter().find(|row| row.plural == "customresourcedefinitions");
    let definitions = definitions.expect("it is built in");
    let bytes = crd.to_bytes().len();
    println!("a definition of {bytes} bytes");
    time("default", || definitions.strategy.default(&mut black_box(&crd).clone()));
    time("validate", || drop(black_box(definitions.strategy.validate(&crd))));
    let now = "2026-01-01T00:00:00Z".parse().expect("a moment");
    crd.set_at(&["status"], custom::status(&crd, &[], now));
    time("status", || drop(black_box(custom::status(&crd, &[], now))));
    time("rows", || drop(black_box(custom::rows(&crd))));
    let before = resident_kib();
    let rows: Vec<Vec<Resource>> = (0..ROWS).map(|_| custom::rows(&crd)).collect();
    println!("{:>10} KiB a row", (resident_kib() - before) / ROWS);
    let row = &rows[0][0];
    let object = object();
    println!("an object of {} bytes", object.to_bytes().len());
    let ty = row.schema.as_ref().expect("it has one");
    time("check", || drop(check(&mut black_box(&object).clone(), ty)));
    time("defaults", || row.strategy.default(&mut black_box(&object).clone()));
    time("judge", || assert!(row.strategy.validate(&object).is_empty()));
}

#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it prints times")]
fn time(name: &str, mut run: impl FnMut()) {
    const RUNS: u32 = 50;
    run();
    let start = Instant::now();
    (0..RUNS).for_each(|_| run());
    println!("{:>10} µs {name}", start.elapsed().as_micros() / u128::from(RUNS));
}

fn resident_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4
}

const DESCRIPTION: &str = "What it is for, how it is used, and which of its values mean what: as long a text as such fields \
    usually have in definitions that are generated from types, where it is most of what there is.";

/// A schema of objects in lists in objects, as generated definitions have them.
fn schema(depth: usize) -> Value {
    let leaf = |kind: &str| {
        let mut schema = Value::object();
        schema.set_at(&["type"], kind);
        schema.set_at(&["description"], DESCRIPTION);
        schema
    };
    let mut schema = leaf("object");
    for (name, kind) in [("name", "string"), ("image", "string"), ("count", "integer"), ("enabled", "boolean")] {
        schema.set_at(&["properties", name], leaf(kind));
    }
    schema.set_at(&["properties", "name", "pattern"], "^[a-z]([-a-z0-9]*[a-z0-9])?$");
    schema.set_at(&["properties", "count", "default"], 1);
    schema.set_at(&["required"], vec!["name"]);
    if depth > 0 {
        for name in ["first", "second", "third"] {
            let mut list = leaf("array");
            list.set_at(&["items"], self::schema(depth - 1));
            schema.set_at(&["properties", name], list);
        }
    }
    schema
}

fn definition() -> Value {
    let text = br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"foos.example.com"},
        "spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"foos","singular":"foo","kind":"Foo","listKind":"FooList"},
        "conversion":{"strategy":"None"},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}}}]},
        "status":{"storedVersions":["v1"]}}"#;
    let mut crd = Value::parse(text).expect("it is well-formed");
    let mut root = Value::object();
    root.set_at(&["type"], "object");
    root.set_at(&["properties", "spec"], schema(4));
    if let Some(version) =
        crd.at_mut(&["spec", "versions"]).and_then(Value::as_array_mut).and_then(|list| list.first_mut())
    {
        version.set_at(&["schema", "openAPIV3Schema"], root);
    }
    crd
}

/// An object with three elements in each list.
fn object() -> Value {
    fn part(depth: usize) -> Value {
        let mut value = Value::object();
        value.set_at(&["name"], "web");
        value.set_at(&["enabled"], true);
        if depth > 0 {
            value.set_at(&["first"], (0..3).map(|_| part(depth - 1)).collect::<Vec<Value>>());
        }
        value
    }
    let mut object = Value::object();
    object.set_at(&["apiVersion"], "example.com/v1");
    object.set_at(&["kind"], "Foo");
    object.set_at(&["metadata", "name"], "a");
    object.set_at(&["spec"], part(4));
    object
}
