//! Random expressions: every function and operator with values of every type. Nothing panics, and costs are kept to.

use machinery::Value;

use super::{Friends, OBJECT, environment};
use crate::{Bindings, Budget, compile, library};

const ROUNDS: u32 = 30_000;

const VALUES: [&str; 40] = [
    "null",
    "true",
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "0u",
    "18446744073709551615u",
    "0.0",
    "-1.5e300",
    "1.0 / 0.0",
    "0.0 / 0.0",
    "''",
    "'é😀'",
    "'a,b'",
    "'[a-z]+('",
    "'2024-01-01T00:00:00Z'",
    "'1h'",
    "b''",
    "b'\\xff'",
    "[]",
    "{}",
    "[1, 2]",
    "['a', 'b']",
    "[dyn(1), dyn('a'), dyn(null)]",
    "{'a': 1}",
    "{1: 'x'}",
    "object",
    "object.spec",
    "deployment",
    "x",
    "s",
    "int",
    "timestamp('9999-12-30T00:00:00Z')",
    "timestamp('0001-01-01T00:00:00Z')",
    "duration('2562047h')",
    "optional.none()",
    "optional.of(1)",
    "quantity('1Ei')",
    "cidr('::/0')",
];

const MORE: [&str; 8] = [
    "ip('255.255.255.255')",
    "semver('18446744073709551615.0.0-a.1')",
    "url('https://[::1]:99999/%20?a=%ff')",
    "authorizer",
    "format.uuid()",
    "Object{spec: Object.spec{}}",
    "type(1)",
    "matches",
];

/// A row of numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }

    fn pick<'v, T: ?Sized>(&mut self, list: &[&'v T]) -> &'v T {
        list[self.below(list.len())]
    }

    fn value(&mut self) -> String {
        let index = self.below(VALUES.len() + MORE.len());
        let text = VALUES.get(index).or(MORE.get(index.wrapping_sub(VALUES.len()))).unwrap_or(&"1");
        if self.below(3) == 0 { (*text).to_owned() } else { format!("dyn({text})") }
    }

    fn expression(&mut self, depth: usize, names: &[&str]) -> String {
        if depth == 0 {
            return self.value();
        }
        let below = |numbers: &mut Self| {
            let depth = numbers.below(depth);
            numbers.expression(depth, names)
        };
        match self.below(9) {
            0 => {
                let sign = self.pick(&["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]);
                format!("({} {sign} {})", below(self), below(self))
            }
            1 => format!("{}[{}]", below(self), below(self)),
            2 => format!("{}{}({})", self.pick(&["-", "!"]), "", below(self)),
            3 => format!("{}.{}", below(self), self.pick(&["spec", "?spec", "nothing", "metadata"])),
            4 => {
                let name = self.pick(&["all", "exists", "exists_one", "map", "filter"]);
                format!("{}.{name}(i, {})", below(self), below(self))
            }
            5 => {
                let name = self.pick(&["transformList", "transformMap", "transformMapEntry", "all", "existsOne"]);
                format!("{}.{name}(i, v, {})", below(self), below(self))
            }
            6 => format!("({} ? {} : {})", below(self), below(self), below(self)),
            _ => {
                let name = self.pick(names);
                let args: Vec<String> = (0..self.below(4)).map(|_| below(self)).collect();
                if self.below(2) == 0 {
                    format!("{name}({})", args.join(", "))
                } else {
                    format!("{}.{name}({})", below(self), args.join(", "))
                }
            }
        }
    }
}

#[test]
fn any_function_takes_any_values() {
    let mut names: Vec<&str> =
        library::all().map(|function| function.name).filter(|name| name.starts_with(char::is_alphabetic)).collect();
    names.sort_unstable();
    let object = Value::parse(OBJECT.as_bytes()).unwrap();
    let (x, s) = (Value::from(5), Value::from("text"));
    let environment = environment();
    let (mut numbers, mut compiled, mut evaluated) = (Numbers(7), 0, 0);
    for _ in 0..ROUNDS {
        let depth = numbers.below(4);
        let text = numbers.expression(depth, &names);
        let Ok(program) = compile(&text, &environment, &[]) else { continue };
        compiled += 1;
        let bindings = Bindings::new().json("object", &object).json("deployment", &object).json("x", &x).json("s", &s);
        let bindings = bindings.authorizer(&Friends, None);
        let result = program.evaluate(&bindings, &mut Budget::new(2_000_000));
        evaluated += u32::from(result.is_ok());
    }
    // Most do not fit together; enough must.
    assert!(compiled > ROUNDS / 10 && evaluated > ROUNDS / 100, "{compiled} {evaluated}");
}
