//! How long a policy's typical expressions take to compile and to evaluate. Run with `--release`.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::Instant;

use cel::{Bindings, Budget, Environment, Type, compile};
use machinery::Value;

const ROUNDS: u32 = 20_000;

const EXPRESSIONS: [(&str, &str); 4] = [
    ("one field", "object.spec.replicas <= 5"),
    ("labels", "has(object.metadata.labels) && ['app', 'team'].all(k, k in object.metadata.labels)"),
    (
        "containers",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('registry.example.com/') && has(c.resources) && \
         has(c.resources.limits) && (!has(c.securityContext) || c.securityContext.?privileged.orValue(false) == false))",
    ),
    ("expression", "object.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"),
];

const OBJECT: &[u8] = br#"{"metadata":{"name":"web-frontend","namespace":"shop","labels":{"app":"web","team":"shop"}},"spec":{"replicas":3,
    "template":{"spec":{"containers":[
        {"name":"a","image":"registry.example.com/a:1","resources":{"limits":{"cpu":"1"}},"securityContext":{"privileged":false}},
        {"name":"b","image":"registry.example.com/b:1","resources":{"limits":{"cpu":"1"}}},
        {"name":"c","image":"registry.example.com/c:1","resources":{"limits":{"cpu":"1"}}}]}}}}"#;

fn main() {
    let object = Value::parse(OBJECT).expect("the sample is JSON");
    let environment = Environment::new().variable("object", Type::Dyn).variable("oldObject", Type::Dyn);
    for (name, text) in EXPRESSIONS {
        let program = compile(text, &environment, &[Type::Bool]).expect("the sample compiles");
        let bindings = Bindings::new().json("object", &object);
        let mut budget = Budget::new(u64::MAX);
        let held = program.evaluate(&bindings, &mut budget).expect("the sample can be evaluated");
        println!("{name}: {held}, costs {}", u64::MAX - budget.remaining());
        time("  compile", || compile(black_box(text), &environment, &[Type::Bool]).is_ok());
        time("  evaluate", || {
            let bindings = Bindings::new().json("object", black_box(&object));
            program.evaluate(&bindings, &mut Budget::new(u64::MAX)).is_ok()
        });
    }
}

fn time<T>(what: &str, mut run: impl FnMut() -> T) {
    for _ in 0..ROUNDS / 10 {
        black_box(run());
    }
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(run());
    }
    println!("{what:12} {:6.2} µs", started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}
