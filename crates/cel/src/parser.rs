//! Tokens to a tree.

use std::sync::Arc;

use crate::ast::{Call, Expr, Kind, Literal, Select, SelectMode, Struct};
use crate::lexer::{Placed, Token, lex};
use crate::macros;
use crate::source::Issue;

/// Longest expression, in letters.
pub(crate) const LETTERS_MAX: usize = 100_000;
/// Deepest tree: what hangs on a chain of operators or dots counts, and what stands in parentheses.
pub(crate) const DEPTH_MAX: u16 = 200;
/// How deep expressions stand in parentheses, brackets or the branches of a choice. Each level takes a dozen calls to read.
pub(crate) const NESTING_MAX: u16 = 64;

/// Most mistakes that are told of one expression, as upstream has it.
const ISSUES_MAX: usize = 100;

/// What may begin an expression, as messages list it.
const BEGINNINGS: &str =
    "'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Words that the language keeps for itself.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The tree of a text, or all that is wrong with it. DIVERGES: where the text does not fit the grammar, reading ends; upstream
/// guesses what was meant and goes on.
pub(crate) fn parse(source: &str) -> Result<Expr, Vec<Issue>> {
    let letters = source.chars().count();
    if letters > LETTERS_MAX {
        let message = format!("expression code point size exceeds limit: size: {letters}, limit {LETTERS_MAX}");
        return Err(vec![Issue { at: None, message }]);
    }
    let mut issues = Vec::new();
    let tokens = lex(source, &mut issues);
    issues.truncate(ISSUES_MAX);
    let mut parser = Parser { tokens, next: 0, depth: 0, issues };
    let tree = parser.expression().and_then(|tree| parser.end().map(|()| tree));
    match tree {
        Ok(tree) if parser.issues.is_empty() => Ok(tree),
        Ok(_) => Err(parser.issues),
        Err(issue) => {
            parser.issues.truncate(ISSUES_MAX - 1);
            parser.issues.push(issue);
            Err(parser.issues)
        }
    }
}

pub(crate) struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: u16,
    issues: Vec<Issue>,
}

type Parsed<T = Expr> = Result<T, Issue>;

impl Parser {
    fn peek(&self) -> &Placed {
        // The last token is the end, which is never passed.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Placed {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(&self.peek().token, Token::Sign(found) if *found == sign)
    }

    /// Takes a sign, when it stands next. Gives its place.
    fn accept(&mut self, sign: &str) -> Option<u32> {
        let at = self.peek().at;
        self.is(sign).then(|| {
            self.next += 1;
            at
        })
    }

    fn expect(&mut self, sign: &str) -> Parsed<u32> {
        if let Some(at) = self.accept(sign) {
            return Ok(at);
        }
        let Placed { at, text, token } = self.peek();
        let message = match token {
            Token::End => format!("missing '{sign}' at '<EOF>'"),
            _ => format!("mismatched input '{text}' expecting '{sign}'"),
        };
        Err(syntax(*at, &message))
    }

    fn unexpected(&self, more: &str) -> Issue {
        let Placed { at, text, .. } = self.peek();
        syntax(*at, &format!("mismatched input '{text}' expecting {{{more}{BEGINNINGS}"))
    }

    fn end(&mut self) -> Parsed<()> {
        let Placed { at, text, token } = self.peek();
        if *token == Token::End {
            return Ok(());
        }
        let last = self.tokens.get(self.next + 1).is_none_or(|after| after.token == Token::End);
        let what = if last { "extraneous" } else { "mismatched" };
        Err(syntax(*at, &format!("{what} input '{text}' expecting <EOF>")))
    }

    /// Notes what is wrong with something that fits the grammar, and goes on as if nothing stood there.
    fn note(&mut self, issue: Issue) -> Parsed {
        // What is wrong nowhere in particular is wrong with the whole.
        let Some(at) = issue.at else { return Err(issue) };
        if self.issues.len() < ISSUES_MAX {
            self.issues.push(issue);
        }
        self.make(at, Kind::Literal(Literal::Null))
    }

    /// Every node is made here: deep trees would be deep calls wherever they are walked.
    fn make(&self, at: u32, kind: Kind) -> Parsed {
        let made = Expr::new(at, kind);
        if made.depth > DEPTH_MAX { Err(too_deep(DEPTH_MAX)) } else { Ok(made) }
    }

    fn call(&self, at: u32, function: &str, args: Vec<Expr>) -> Parsed {
        self.make(at, call(function, false, args))
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(too_deep(NESTING_MAX));
        }
        let condition = self.or()?;
        let made = match self.accept("?") {
            None => condition,
            Some(at) => {
                let then = self.or()?;
                self.expect(":")?;
                let otherwise = self.expression()?;
                self.make(at, Kind::If(Box::new([condition, then, otherwise])))?
            }
        };
        self.depth -= 1;
        Ok(made)
    }

    fn or(&mut self) -> Parsed {
        let (first, mut rest, at) = (self.and()?, Vec::new(), self.peek().at);
        while self.accept("||").is_some() {
            rest.push(self.and()?);
        }
        if rest.is_empty() {
            return Ok(first);
        }
        rest.insert(0, first);
        self.make(at, Kind::Or(rest))
    }

    fn and(&mut self) -> Parsed {
        let (first, mut rest, at) = (self.relation()?, Vec::new(), self.peek().at);
        while self.accept("&&").is_some() {
            rest.push(self.relation()?);
        }
        if rest.is_empty() {
            return Ok(first);
        }
        rest.insert(0, first);
        self.make(at, Kind::And(rest))
    }

    fn binary(&mut self, signs: &[(&str, &str)], below: fn(&mut Self) -> Parsed) -> Parsed {
        let mut left = below(self)?;
        while let Some((sign, function)) = signs.iter().find(|(sign, _)| self.is(sign)) {
            let at = self.expect(sign)?;
            let right = below(self)?;
            left = self.call(at, function, vec![left, right])?;
        }
        Ok(left)
    }

    fn relation(&mut self) -> Parsed {
        let signs =
            [("<", "_<_"), ("<=", "_<=_"), (">=", "_>=_"), (">", "_>_"), ("==", "_==_"), ("!=", "_!=_"), ("in", "@in")];
        self.binary(&signs, |parser| {
            parser.binary(&[("+", "_+_"), ("-", "_-_")], |parser| {
                parser.binary(&[("*", "_*_"), ("/", "_/_"), ("%", "_%_")], Self::unary)
            })
        })
    }

    fn unary(&mut self) -> Parsed {
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            let mut places = Vec::new();
            // A number's own sign belongs to it.
            while self.is(sign) && !(sign == "-" && places.is_empty() && self.is_number_after()) {
                places.push(self.take().at);
            }
            if places.is_empty() {
                continue;
            }
            let operand = self.member()?;
            // Two of them are none.
            let Some(at) = places.first().filter(|_| places.len() % 2 == 1) else { return Ok(operand) };
            return self.call(*at, function, vec![operand]);
        }
        self.member()
    }

    fn is_number_after(&self) -> bool {
        matches!(self.tokens.get(self.next + 1).map(|after| &after.token), Some(Token::Int(_) | Token::Double(_)))
    }

    fn member(&mut self) -> Parsed {
        let mut operand = self.primary()?;
        loop {
            if let Some(at) = self.accept(".") {
                operand = self.after_dot(at, operand)?;
            } else if let Some(at) = self.accept("[") {
                let function = if self.accept("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.call(at, function, vec![operand, index])?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn after_dot(&mut self, at: u32, operand: Expr) -> Parsed {
        let mode = if self.accept("?").is_some() { SelectMode::Optional } else { SelectMode::Field };
        let Placed { token, at: name_at, text } = self.take();
        let (name, escaped) = match token {
            Token::Ident(name) => (name, false),
            Token::Escaped(name) => (name, true),
            _ => return Err(syntax(name_at, &format!("no viable alternative at input '.{text}'"))),
        };
        if mode == SelectMode::Field && !escaped {
            if let Some(at) = self.accept("(") {
                let args = self.arguments(")")?;
                return self.member_call(at, operand, &name, args);
            }
            if self.is("{")
                && let Some(path) = macros::path(&operand)
            {
                return self.structure(format!("{path}.{name}"));
            }
        }
        self.make(at, Kind::Select(Box::new(Select { operand, field: name.into(), mode })))
    }

    fn member_call(&mut self, at: u32, operand: Expr, name: &str, mut args: Vec<Expr>) -> Parsed {
        let kind = match macros::member(at, operand, name, args) {
            Ok(macros::Expanded::Macro(kind)) => kind,
            Ok(macros::Expanded::Call(operand, rest)) => {
                args = rest;
                args.insert(0, operand);
                call(name, true, args)
            }
            Err(issue) => return self.note(issue),
        };
        self.make(at, kind)
    }

    fn arguments(&mut self, closing: &str) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.accept(closing).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.accept(",").is_none() {
                self.expect(closing)?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let Placed { token, at, .. } = self.peek().clone();
        match token {
            Token::Sign("(") => {
                self.take();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.map(),
            Token::Sign(".") => {
                self.take();
                self.ident()
            }
            Token::Ident(name) => match keyword(&name) {
                Some(literal) => {
                    self.take();
                    self.make(at, Kind::Literal(literal))
                }
                None => self.ident(),
            },
            Token::Sign("-")
            | Token::Int(_)
            | Token::Uint(_)
            | Token::Double(_)
            | Token::String(_)
            | Token::Bytes(_) => self.literal(),
            _ => Err(self.unexpected("")),
        }
    }

    fn literal(&mut self) -> Parsed {
        let at = self.peek().at;
        let minus = if self.is("-") && self.is_number_after() { "-" } else { "" };
        if !minus.is_empty() {
            self.take();
        }
        let literal = match &self.peek().token {
            Token::Int(digits) => whole(&format!("{minus}{digits}")).map(Literal::Int).ok_or("invalid int literal"),
            Token::Uint(digits) => {
                let value = whole(digits).and_then(|value: i128| u64::try_from(value).ok());
                value.map(Literal::Uint).ok_or("invalid uint literal")
            }
            Token::Double(digits) => {
                let value = format!("{minus}{digits}").parse().ok().filter(|value: &f64| value.is_finite());
                value.map(Literal::Double).ok_or("invalid double literal")
            }
            Token::String(text) => Ok(Literal::String(text.clone())),
            Token::Bytes(bytes) => Ok(Literal::Bytes(bytes.clone())),
            _ => return Err(self.unexpected("")),
        };
        self.take();
        match literal {
            Ok(literal) => self.make(at, Kind::Literal(literal)),
            Err(message) => self.note(Issue { at: Some(at), message: message.to_owned() }),
        }
    }

    /// A name, a call, or an object with its type's name.
    fn ident(&mut self) -> Parsed {
        let Placed { token, at, .. } = self.take();
        let Token::Ident(name) = token else {
            self.next -= 1;
            let Placed { at, text, .. } = self.peek();
            return Err(syntax(*at, &format!("mismatched input '{text}' expecting IDENTIFIER")));
        };
        if RESERVED.contains(&name.as_str()) {
            self.note(Issue { at: Some(at), message: format!("reserved identifier: {name}") })?;
        }
        if let Some(at) = self.accept("(") {
            let args = self.arguments(")")?;
            let kind = match macros::global(at, &name, args) {
                Ok(Ok(kind)) => kind,
                Ok(Err(args)) => call(&name, false, args),
                Err(issue) => return self.note(issue),
            };
            return self.make(at, kind);
        }
        if self.is("{") {
            return self.structure(name);
        }
        self.make(at, Kind::Ident(name))
    }

    fn structure(&mut self, name: String) -> Parsed {
        let at = self.expect("{")?;
        let mut fields = Vec::new();
        while self.accept("}").is_none() {
            let optional = self.accept("?").is_some();
            let Placed { token, at, text } = self.take();
            let (Token::Ident(field) | Token::Escaped(field)) = token else {
                return Err(syntax(at, &format!("mismatched input '{text}' expecting IDENTIFIER")));
            };
            self.expect(":")?;
            fields.push((Arc::from(field), self.expression()?, optional));
            if self.accept(",").is_none() && !self.is("}") {
                self.expect("}")?;
            }
        }
        self.make(at, Kind::Struct(Box::new(Struct { name, fields, ty: None })))
    }

    fn list(&mut self) -> Parsed {
        let at = self.expect("[")?;
        let mut items = Vec::new();
        while self.accept("]").is_none() {
            let optional = self.accept("?").is_some();
            if items.is_empty() && !optional && self.peek().token == Token::End {
                return Err(self.unexpected("']', ',', '?', "));
            }
            items.push((self.expression()?, optional));
            if self.accept(",").is_none() && !self.is("]") {
                self.expect("]")?;
            }
        }
        self.make(at, Kind::List(items))
    }

    fn map(&mut self) -> Parsed {
        let at = self.expect("{")?;
        let mut entries = Vec::new();
        while self.accept("}").is_none() {
            let optional = self.accept("?").is_some();
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?, optional));
            if self.accept(",").is_none() && !self.is("}") {
                self.expect("}")?;
            }
        }
        self.make(at, Kind::Map(entries))
    }
}

fn call(function: &str, member: bool, args: Vec<Expr>) -> Kind {
    Kind::Call(Box::new(Call { function: function.into(), member, args, resolved: None, regex: None }))
}

fn keyword(name: &str) -> Option<Literal> {
    Some(match name {
        "true" => Literal::Bool(true),
        "false" => Literal::Bool(false),
        "null" => Literal::Null,
        _ => return None,
    })
}

fn whole<T: TryFrom<i128>>(digits: &str) -> Option<T> {
    let (minus, rest) = digits.strip_prefix('-').map_or((false, digits), |rest| (true, rest));
    let value = match rest.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok()?,
        None => rest.parse::<i128>().ok()?,
    };
    T::try_from(if minus { -value } else { value }).ok()
}

fn syntax(at: u32, message: &str) -> Issue {
    Issue { at: Some(at), message: format!("Syntax error: {message}") }
}

/// DIVERGES: upstream's limit is 250 levels, of more stack.
fn too_deep(limit: u16) -> Issue {
    Issue { at: None, message: format!("expression recursion limit exceeded: {limit}") }
}
