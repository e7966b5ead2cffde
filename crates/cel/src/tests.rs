//! Golden expressions, and random ones.

mod random;

use machinery::Value;
use machinery::schema::{ListSemantics, Schema};

use crate::{
    Attributes, Authorizer, Bindings, Budget, CompileError, Environment, Failure, Program, Question, Type, Verdict,
    compile,
};

/// Variables of these tests.
const OBJECT: &str = r#"{"spec":{"replicas":3,"name":"web","ratio":0.5,"on":true,"none":null,"tags":["a","b"],"x-y":1,
    "labels":{"app":"web","tier":"front"},"ports":[{"name":"http","port":80},{"name":"tls","port":443}],"int":7,
    "when":"2024-02-03T04:05:06Z","ints":[1,2,3]}}"#;

fn environment() -> Environment {
    Environment::new()
        .variable("object", Type::Dyn)
        .variable("x", Type::Int)
        .variable("s", Type::String)
        .variable("missing", Type::Dyn)
        .variable("deployment", Type::from_schema(&Schema::builtin("io.k8s.api.apps.v1.Deployment").unwrap()))
        .variable("maybe", Type::optional(Type::String))
        .variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
        .mutation()
}

fn program(expression: &str) -> Program {
    compile(expression, &environment(), &[]).unwrap_or_else(|wrong| panic!("{expression}: {wrong}"))
}

fn wrong(expression: &str) -> String {
    match compile(expression, &environment(), &[]) {
        Ok(program) => panic!("{expression} is {}", program.result_type()),
        Err(wrong) => wrong.to_string(),
    }
}

struct Friends;

impl Authorizer for Friends {
    fn check(&self, question: &Question) -> Verdict {
        let Attributes { group, resource, namespace, .. } = &question.attributes;
        let allowed = (group.as_str(), resource.as_str(), namespace.as_str()) == ("apps", "deployments", "a");
        Verdict { allowed, reason: question.verb.clone(), error: None }
    }
}

fn evaluated(expression: &str) -> Result<String, Failure> {
    let object = Value::parse(OBJECT.as_bytes()).unwrap();
    let (x, s) = (Value::from(5), Value::from("text"));
    let deployment = Value::parse(br#"{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{}}}"#).unwrap();
    let bindings = Bindings::new()
        .json("object", &object)
        .json("x", &x)
        .json("s", &s)
        .json("deployment", &deployment)
        .authorizer(&Friends, None);
    program(expression).evaluate(&bindings, &mut Budget::new(10_000_000)).map(|value| value.to_string())
}

#[track_caller]
fn results(cases: &[(&str, &str)]) {
    for (expression, wanted) in cases {
        match evaluated(expression) {
            Ok(found) => assert_eq!(found, *wanted, "{expression}"),
            Err(failure) => assert_eq!(failure.to_string(), *wanted, "{expression}"),
        }
    }
}

#[track_caller]
fn holds(expressions: &[&str]) {
    for expression in expressions {
        assert_eq!(evaluated(expression).as_deref(), Ok("true"), "{expression}");
    }
}

#[test]
fn literals_and_operators() {
    results(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-(1) + -2", "-3"),
        ("!!true && !false", "true"),
        ("0x1F + 1", "32"),
        ("1u + 2u", "3"),
        ("1.5e2 / 3.0", "50"),
        (r#""a\n\x41é\101" + 'b' + r'\n'"#, r#""a\nAéAb\\n""#),
        ("'''it's'''", "\"it's\""),
        ("b'ab'", "\"YWI=\""),
        ("size('é') + size(b'é')", "3"),
        ("x == 5 ? 'yes' : 'no'", "\"yes\""),
        ("[1, 2] + [3]", "[1,2,3]"),
        ("{'a': [1], 'b': [2]}.b[0]", "2"),
        ("[1, 2, 3][1]", "2"),
        ("[1][1]", "index out of bounds: 1"),
        ("{'a': 1}['b']", "no such key: b"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("1u - 2u", "unsigned integer overflow"),
        ("int('12') + int(2.9) + int(3u)", "17"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("string(1.0) + string(true) + string(1e25)", "\"1true1e+25\""),
        ("double('1.5') + 1.0", "2.5"),
        ("type(1) == int && type('') == string && type([]) == list && type(null) == null_type", "true"),
        ("dyn(1) == 1.0 && dyn(1u) == 1 && 1 < 1.5 && 2u > 1", "true"),
        ("dyn('1') == 1", "false"),
        ("{dyn(1): 'a', dyn(1u): 'b'}", "Failed with repeated key 1"),
        ("'a' in ['a'] && 'b' in {'b': 1} && !(1 in [2])", "true"),
        ("[1, 2] == [1, 2] && {'a': [1]} == {'a': [1]} && [1] != [2]", "true"),
        ("// a comment\n 1 + // another\n 1", "2"),
    ]);
}

#[test]
fn trees_are_read_where_they_are_looked_at() {
    results(&[
        ("object.spec.replicas", "3"),
        ("object.spec['x-y'] + object.spec.int", "8"),
        ("object.spec.`x-y`", "1"),
        ("object.spec.tags", r#"["a","b"]"#),
        ("object.spec.nothing", "no such key: nothing"),
        ("object.spec.replicas.nothing", "no such overload"),
        ("has(object.spec.none) && !has(object.spec.nothing) && object.spec.none == null", "true"),
        ("object.spec.?nothing.?more.orValue('d')", "\"d\""),
        ("object.?spec.replicas.value()", "3"),
        ("object.spec.ports.map(p, p.port)", "[80,443]"),
        ("object.spec.ports.filter(p, p.port > 100).map(p, p.name)", "[\"tls\"]"),
        ("object.spec.replicas + 'a'", "no such overload"),
        ("object.spec.replicas.startsWith('a')", "no such overload: startsWith(int, string)"),
        ("missing", "no such attribute(s): missing"),
        ("maybe.orValue('none')", "\"none\""),
        ("deployment.spec.replicas + 1", "3"),
        ("deployment.spec.?paused.hasValue()", "false"),
        ("timestamp(object.spec.when).getFullYear()", "2024"),
    ]);
}

#[test]
fn errors_are_outweighed() {
    holds(&[
        "true || missing",
        "missing || true",
        "!(missing && false)",
        "[1, 2].exists(x, x == 2 || missing)",
        "[missing, 1].size() == 2 || true",
        "![1, 2].all(i, i / (i - 1) < 0)",
    ]);
    results(&[
        ("missing || false", "no such attribute(s): missing"),
        ("[0, 1].all(i, 1 / i == 1)", "division by zero"),
        ("object.spec.name || false", "no such overload"),
    ]);
}

#[test]
fn macros_go_through_lists_and_maps() {
    results(&[
        ("[1, 2, 3].map(i, i % 2 == 1, i * 10)", "[10,30]"),
        ("[1, 2, 2].exists_one(i, i == 1) && ![1, 2, 2].exists_one(i, i == 2)", "true"),
        ("object.spec.labels.all(k, k.size() < 5)", "true"),
        ("object.spec.labels.map(k, object.spec.labels[k])", r#"["web","front"]"#),
        ("[5, 6].all(i, v, v == i + 5)", "true"),
        ("{'a': 1}.exists(k, v, k == 'a' && v == 1)", "true"),
        ("{'a': 1, 'b': 2}.existsOne(k, v, v > 1)", "true"),
        ("[1, 2].transformList(i, v, v > 1, i * v)", "[2]"),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v * 2)", r#"{"a":2,"b":4}"#),
        ("['x', 'y'].transformMapEntry(i, v, {v: i})", r#"{"x":0,"y":1}"#),
        ("['x', 'x'].transformMapEntry(i, v, {v: i})", "insert failed: key already exists"),
        ("[[1], [2, 3]].map(l, l.map(i, i + l.size()))", "[[2],[4,5]]"),
        ("optional.of(2).optMap(v, v + 1).value()", "3"),
        ("optional.none().optMap(v, v + 1).orValue(9)", "9"),
        ("optional.of(1).optFlatMap(v, optional.none()).hasValue()", "false"),
    ]);
}

#[test]
fn optional_values() {
    results(&[
        ("optional.of(1).or(optional.of(2)).value()", "1"),
        ("optional.none().value()", "optional.none() dereference"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("[1, ?optional.none(), ?optional.of(2)]", "[1,2]"),
        ("{?'a': optional.none(), 'b': 1}", r#"{"b":1}"#),
        ("[1, 2][?5].orValue(0)", "0"),
        ("{'a': 1}[?'a'].value()", "1"),
    ]);
}

#[test]
fn strings_and_lists() {
    results(&[
        ("'hello'.charAt(1) + 'hello'.charAt(5)", "\"e\""),
        ("'hello'.charAt(6)", "index out of range: 6"),
        (
            "['héllo'.indexOf('l'), 'hello'.indexOf('l', 3), 'hello'.lastIndexOf('l'), 'hello'.lastIndexOf('l', 2), 'a'.indexOf('')]",
            "[2,3,3,2,0]",
        ),
        ("'TacoCat'.lowerAscii() + 'é!'.upperAscii()", "\"tacocaté!\""),
        ("'hello hello'.replace('he', 'we') + ' ' + 'aaa'.replace('a', 'b', 1)", "\"wello wello baa\""),
        ("'a,b,c'.split(',') + 'a,b,c'.split(',', 2) + 'ab'.split('')", r#"["a","b","c","a","b,c","a","b"]"#),
        ("'tacocat'.substring(4) + 'tacocat'.substring(0, 4)", "\"cattaco\""),
        ("'a'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'  x '.trim() + ['a', 'b'].join('-') + ['c'].join()", "\"xa-bc\""),
        (r#"strings.quote('a"b')"#, r#""\"a\\\"b\"""#),
    ]);
    results(&[
        ("'%s=%d'.format(['a', 2])", "\"a=2\""),
        (
            "'%.2f%% %e %x %X %b %o %s'.format([dyn(1.0), dyn(1500.0), dyn(255), dyn('hi'), dyn(5), dyn(8), dyn([1])])",
            "\"1.00% 1.500000e+03 ff 6869 101 10 [1]\"",
        ),
        ("'abc'.matches('^[a-c]+$') && !'abc'.matches('^b') && 'a1'.matches(r'^\\w\\d$')", "true"),
        ("'é'.matches(r'^\\w$')", "false"),
        ("'abc 123'.find('[0-9]+') + 'x'.find('y')", "\"123\""),
        ("'a1b22'.findAll('[0-9]+') + 'a1b2'.findAll('[0-9]', 1)", r#"["1","22","1"]"#),
        ("[3, 1, 2].min() + [3, 1, 2].max() + [1, 2].sum()", "7"),
        ("[].sum()", "0"),
        (
            "[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(5) == -1",
            "true",
        ),
        ("object.spec.ints.sum() + object.spec.ints.max()", "9"),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])", "true"),
    ]);
}

#[test]
fn times() {
    results(&[
        ("timestamp('2024-02-03T04:05:06.7Z')", "\"2024-02-03T04:05:06.7Z\""),
        ("duration('1h30m') + duration('1s')", "\"5401s\""),
        ("string(duration('1.5s'))", "\"1.5s\""),
        ("timestamp('2024-02-03T00:00:00Z') + duration('24h')", "\"2024-02-04T00:00:00Z\""),
        ("timestamp('2024-02-03T00:00:00Z') - timestamp('2024-02-02T00:00:00Z') == duration('24h')", "true"),
        ("timestamp('2024-02-03T04:05:06Z').getMonth()", "1"),
        ("timestamp('2024-02-03T04:05:06Z').getDayOfWeek()", "6"),
        ("timestamp('2024-02-03T04:05:06Z').getHours('-05:00')", "23"),
        ("duration('90m').getHours() + duration('90m').getMinutes()", "91"),
        ("timestamp('9999-12-30T00:00:00Z') + duration('48h')", "timestamp overflow"),
        ("timestamp(object.spec.name)", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
    ]);
}

#[test]
fn libraries_of_kubernetes() {
    holds(&[
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('50k').add(20).asInteger() == 50020",
        "isQuantity('1.5') && !isQuantity('x') && quantity('100m').asApproximateFloat() == 0.1",
        "quantity('1Mi') == quantity('1024Ki') && quantity('2').compareTo(quantity('3')) == -1",
        "ip('10.0.0.1').family() == 4 && ip('::1').isLoopback() && !isIP('1.2.3') && ip('224.0.0.1').isLinkLocalMulticast()",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('::/0').prefixLength() == 0 && !isCIDR('1.2.3.4')",
        "string(cidr('10.1.2.3/8').ip()) == '10.1.2.3' && ip.isCanonical('::1') && !ip.isCanonical('0:0::1')",
        "url('https://a.b:8/c%20d?q=1&q=2').getPort() == '8' && url('https://[::1]:80/').getHostname() == '::1'",
        "url('https://a.b/?q=1&q=2').getQuery() == {'q': ['1', '2']} && !isURL('a b') && isURL('/x')",
        "semver('1.2.3-a.1').isLessThan(semver('1.2.3')) && semver('v1.02', true).minor() == 2 && !isSemver('v1')",
        "!format.dns1123Label().validate('abc').hasValue() && format.dns1123Label().validate('A!').hasValue()",
        "format.named('uuid').hasValue() && !format.named('nope').hasValue()",
        "authorizer.group('apps').resource('deployments').namespace('a').check('get').allowed()",
        "!authorizer.path('/healthz').check('get').allowed()",
        "type(quantity('1')) == kubernetes.Quantity",
    ]);
    results(&[
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
        ("ip('x')", "IP Address \"x\" parse error during conversion from string: ParseAddr(\"x\"): unable to parse IP"),
        ("Object{spec: Object.spec{replicas: 1}}", r#"{"spec":{"replicas":1}}"#),
        (
            "Object{spec: Object.status{replicas: 1}}",
            "unexpected type name \"Object.status\", expected \"Object.spec\", which matches field name path from root Object type",
        ),
        (
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: 1}]",
            r#"[{"op":"add","path":"/a/b~1c","value":1}]"#,
        ),
    ]);
}

#[test]
fn what_does_not_compile_is_shown() {
    for (expression, message) in [
        ("foo", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo\n | ^"),
        (
            "x + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | x + 'a'\n | ..^",
        ),
        ("x.foo", "ERROR: <input>:1:2: type 'int' does not support field selection\n | x.foo\n | .^"),
        (
            "deployment.spec.nope",
            "ERROR: <input>:1:16: undefined field 'nope'\n | deployment.spec.nope\n | ...............^",
        ),
        (
            "deployment.spec.replicas > '1'",
            "ERROR: <input>:1:26: found no matching overload for '_>_' applied to '(int, string)'\n | deployment.spec.replicas > '1'\n | .........................^",
        ),
        ("bar(1)", "ERROR: <input>:1:4: undeclared reference to 'bar' (in container '')\n | bar(1)\n | ...^"),
        (
            "s.charAt('a')",
            "ERROR: <input>:1:9: found no matching overload for 'charAt' applied to 'string.(string)'\n | s.charAt('a')\n | ........^",
        ),
        ("x && true", "ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | x && true\n | ^"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        (
            "x.all(i, true)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | x.all(i, true)\n | ^",
        ),
        ("s.matches('[')", "ERROR: <input>:1:11: invalid matches argument\n | s.matches('[')\n | ..........^"),
        ("duration('x')", "ERROR: <input>:1:10: invalid duration argument\n | duration('x')\n | .........^"),
        ("x y", "ERROR: <input>:1:3: Syntax error: extraneous input 'y' expecting <EOF>\n | x y\n | ..^"),
        (
            "x +",
            "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | x +\n | ...^",
        ),
        ("(x", "ERROR: <input>:1:3: Syntax error: missing ')' at '<EOF>'\n | (x\n | ..^"),
        ("has(x)", "ERROR: <input>:1:4: invalid argument to has() macro\n | has(x)\n | ...^"),
        (
            "has(x) && for(9223372036854775808)",
            "ERROR: <input>:1:4: invalid argument to has() macro\n | has(x) && for(9223372036854775808)\n | ...^\n\
             ERROR: <input>:1:11: reserved identifier: for\n | has(x) && for(9223372036854775808)\n | ..........^\n\
             ERROR: <input>:1:15: invalid int literal\n | has(x) && for(9223372036854775808)\n | ..............^",
        ),
        ("for", "ERROR: <input>:1:1: reserved identifier: for\n | for\n | ^"),
        ("9223372036854775808", "ERROR: <input>:1:1: invalid int literal\n | 9223372036854775808\n | ^"),
        ("Foo{}", "ERROR: <input>:1:4: undeclared reference to 'Foo' (in container '')\n | Foo{}\n | ...^"),
    ] {
        assert_eq!(wrong(expression), format!("compilation failed: {message}"), "{expression}");
    }
}

#[test]
fn results_are_of_the_wanted_types() {
    let types = |expression: &str, wanted: &[Type]| {
        compile(expression, &environment(), wanted).map(|program| program.result_type().to_string())
    };
    assert_eq!(types("x > 1", &[Type::Bool]).unwrap(), "bool");
    let not_bool = types("object.spec", &[Type::Bool]).unwrap_err();
    assert_eq!(not_bool.to_string(), "must evaluate to bool");
    let CompileError::Result { found, .. } = not_bool else { panic!("it is the result that is wrong") };
    assert_eq!(found.to_string(), "dyn");
    assert_eq!(
        types("1", &[Type::String, Type::Null]).unwrap_err().to_string(),
        "must evaluate to one of [string null_type]"
    );
    assert_eq!(types("null", &[Type::String, Type::Null]).unwrap(), "null");
    assert_eq!(types("[x].map(i, {s: i})", &[]).unwrap(), "list(map(string, int))");
    assert_eq!(types("true ? dyn(1) : 'a'", &[]).unwrap(), "dyn");
    assert_eq!(types("[]", &[]).unwrap(), "list(dyn)");
    assert_eq!(types("optional.of(x)", &[]).unwrap(), "optional_type(int)");
    assert_eq!(types("deployment.metadata.creationTimestamp", &[]).unwrap(), "timestamp");
}

#[test]
fn shared_lists_are_sets_and_maps() {
    let set = Type::list_with(Type::String, ListSemantics::Set);
    let entry = Type::object("entry", [("name", Type::String), ("v", Type::Int)]);
    let map = Type::list_with(entry, ListSemantics::Map(vec!["name".into()]));
    let environment = Environment::new().variable("self", Type::object("object", [("set", set), ("map", map)]));
    let environment = environment.clone().variable("oldSelf", environment.variables[0].1.clone());
    let parse = |text: &str| Value::parse(text.as_bytes()).unwrap();
    let new = parse(r#"{"set":["a","b"],"map":[{"name":"x","v":1},{"name":"y","v":2}]}"#);
    let old = parse(r#"{"set":["b","a"],"map":[{"name":"y","v":2},{"name":"x","v":1}]}"#);
    let bindings = Bindings::new().json("self", &new).json("oldSelf", &old);
    for (expression, wanted) in [
        ("self.set == oldSelf.set && self.map == oldSelf.map", "true"),
        ("self.set + ['a', 'c']", r#"["a","b","c"]"#),
        ("(self.map + oldSelf.map).size()", "2"),
        ("self.map.map(m, m.v)", "[1,2]"),
    ] {
        let program = compile(expression, &environment, &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
        let found = program.evaluate(&bindings, &mut Budget::new(1_000_000)).unwrap();
        assert_eq!(found.to_string(), wanted, "{expression}");
    }
}

#[test]
fn fields_are_read_by_their_own_names() {
    let fields =
        Type::object("object", [("x__dash__y", Type::Int), ("__namespace__", Type::String), ("t", Type::Timestamp)]);
    let environment = Environment::new().variable("self", fields);
    let tree = Value::parse(br#"{"x-y":4,"namespace":"n","t":"2024-01-01T00:00:00Z"}"#).unwrap();
    let bindings = Bindings::new().json("self", &tree);
    for expression in
        ["self.x__dash__y == 4 && self.__namespace__ == 'n'", "self.t > timestamp('2023-01-01T00:00:00Z')"]
    {
        let program = compile(expression, &environment, &[Type::Bool]).unwrap();
        let found = program.evaluate(&bindings, &mut Budget::new(1_000_000));
        assert_eq!(found, Ok(Value::Bool(true)), "{expression}");
    }
}

#[test]
fn lazy_variables_are_evaluated_once_and_only_when_asked_for() {
    let base = Environment::new().variable("object", Type::Dyn);
    let a = compile("object.n + 1", &base, &[]).unwrap();
    let with_a = base.clone().variable("variables", Type::object("v", [("a", a.result_type().clone())]));
    let b = compile("variables.a * 2", &with_a, &[]).unwrap();
    let broken = compile("object.nothing", &base, &[]).unwrap();
    let fields = [("a", Type::Dyn), ("b", Type::Dyn), ("broken", Type::Dyn)];
    let all = base.variable("variables", Type::object("v", fields));
    let object = Value::parse(br#"{"n":1}"#).unwrap();
    let bindings =
        Bindings::new().json("object", &object).lazy("variables", [("a", &a), ("b", &b), ("broken", &broken)]);
    let mut budget = Budget::new(1_000_000);
    let mut run = |expression: &str| {
        let program = compile(expression, &all, &[]).unwrap();
        let before = budget.remaining();
        let result = program.evaluate(&bindings, &mut budget).map(|value| value.to_string());
        (result, before - budget.remaining())
    };
    let (first, cost) = run("variables.b + variables.a");
    assert_eq!(first.as_deref(), Ok("6"));
    let (again, less) = run("variables.b + variables.a");
    assert_eq!(again.as_deref(), Ok("6"));
    assert!(less < cost, "{less} {cost}");
    let failure = run("variables.broken").0.unwrap_err().to_string();
    assert_eq!(failure, "composited variable \"broken\" fails to evaluate: no such key: nothing");
}

#[test]
fn costly_expressions_are_stopped() {
    let limit = "operation cancelled: actual cost limit exceeded";
    let long = format!("[{}]", vec!["1"; 1000].join(","));
    for expression in [
        format!("{long}.all(a, {long}.all(b, {long}.all(c, a == b || true)))"),
        format!("{long}.map(a, {long}.map(b, {long}.map(c, c))).size() > 0"),
        format!("'{}'.replace('a', '{}').replace('b', '{}').size() > 0", "a".repeat(5000), "b".repeat(5000), "c".repeat(5000)),
        "authorizer.path('/').check('a').allowed() || authorizer.path('/').check('b').allowed() || authorizer.path('/').check('c').allowed()".to_owned(),
    ] {
        let failure = evaluated(&expression).unwrap_err().to_string();
        assert_eq!(failure, limit);
    }
    let program = program("[1, 2, 3].all(i, i > 0)");
    let bindings = Bindings::new();
    let mut budget = Budget::new(20);
    assert_eq!(program.evaluate(&bindings, &mut budget), Err(Failure::Budget));
}

#[test]
fn deep_expressions_are_refused_on_any_stack() {
    for expression in [
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        "1".to_owned() + &" + 1".repeat(10_000),
        "object".to_owned() + &".a".repeat(10_000),
        "true ? 1 : ".repeat(5000) + "1",
        "[1].map(a, ".repeat(5000),
    ] {
        let wrong = compile(&expression, &environment(), &[]).unwrap_err().to_string();
        assert!(wrong.contains("expression recursion limit exceeded"), "{wrong:.200}");
    }
    let long = "a".repeat(100_001);
    let wrong = compile(&long, &environment(), &[]).unwrap_err().to_string();
    assert!(wrong.contains("expression code point size exceeds limit: size: 100001, limit 100000"), "{wrong:.200}");
    // As deep as may be, each of them can be evaluated.
    let (nested, chained) = (usize::from(crate::parser::NESTING_MAX) - 2, usize::from(crate::parser::DEPTH_MAX) - 2);
    for expression in [
        format!("{}1{}", "[".repeat(nested), "]".repeat(nested)),
        format!("{}x{}", "(".repeat(nested), ")".repeat(nested)),
        format!("x{}", " + 1".repeat(chained)),
        format!("{}x", "!true ? 1 : ".repeat(nested)),
        format!("{}[1]{}", "[1].map(a, ".repeat(nested), ")".repeat(nested)),
        format!("{}has(object{}){}", "[true].map(a, ".repeat(nested), ".?a".repeat(100) + ".b", ")".repeat(nested)),
    ] {
        evaluated(&expression).unwrap();
    }
}
