//! Text to tokens.

use std::sync::Arc;

use crate::source::Issue;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Ident(String),
    /// `` `a.b` ``, a field's name that is no identifier.
    Escaped(String),
    Int(String),
    Uint(String),
    Double(String),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Sign(&'static str),
    End,
}

/// A token, its place (letters from the start), and its text.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub token: Token,
    pub at: u32,
    pub text: String,
}

const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "in",
];

/// All tokens of a text, the end among them.
pub(crate) fn lex(source: &str, issues: &mut Vec<Issue>) -> Vec<Placed> {
    let letters: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { letters: &letters, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let from = lexer.at;
        let at = u32::try_from(from).unwrap_or(u32::MAX);
        if from >= letters.len() {
            tokens.push(Placed { token: Token::End, at, text: "<EOF>".to_owned() });
            return tokens;
        }
        match lexer.token() {
            Ok(token) => tokens.push(Placed { token, at, text: letters[from..lexer.at].iter().collect() }),
            Err(message) => {
                lexer.at = lexer.at.max(from + 1);
                let text: String = letters[from..lexer.at].iter().collect();
                let message =
                    message.unwrap_or_else(|| format!("Syntax error: token recognition error at: '{}'", shown(&text)));
                issues.push(Issue { at: Some(at), message });
            }
        }
    }
}

fn shown(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

struct Lexer<'a> {
    letters: &'a [char],
    at: usize,
}

/// What is wrong; nothing when it is no token at all.
type Wrong = Option<String>;

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.letters.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self) {
        loop {
            match self.peek(0) {
                ' ' | '\t' | '\r' | '\n' | '\u{c}' => self.at += 1,
                '/' if self.peek(1) == '/' => {
                    while self.at < self.letters.len() && self.peek(0) != '\n' {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn token(&mut self) -> Result<Token, Wrong> {
        let first = self.peek(0);
        if let Some(prefix) = self.string_prefix() {
            return self.string(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.run(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(if name == "in" { Token::Sign("in") } else { Token::Ident(name) });
        }
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_ascii_digit()) {
            return Ok(self.number());
        }
        if first == '`' {
            return self.escaped();
        }
        let rest: String = self.letters[self.at..].iter().take(2).collect();
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign)).ok_or(None)?;
        self.at += sign.len();
        Ok(Token::Sign(sign))
    }

    fn run(&mut self, is: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.at < self.letters.len() && is(self.peek(0)) {
            self.at += 1;
        }
        self.letters[from..self.at].iter().collect()
    }

    fn escaped(&mut self) -> Result<Token, Wrong> {
        self.at += 1;
        let name = self.run(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c));
        if self.peek(0) != '`' || name.is_empty() {
            return Err(None);
        }
        self.at += 1;
        Ok(Token::Escaped(name))
    }

    fn number(&mut self) -> Token {
        if self.peek(0) == '0' && matches!(self.peek(1), 'x' | 'X') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            let digits = format!("0x{}", self.run(|c| c.is_ascii_hexdigit()));
            return self.whole(digits);
        }
        let mut text = self.run(|c| c.is_ascii_digit());
        let mut double = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            double = true;
            self.at += 1;
            text.push('.');
            text.push_str(&self.run(|c| c.is_ascii_digit()));
        }
        let sign = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + sign).is_ascii_digit() {
            double = true;
            text.extend(&self.letters[self.at..=self.at + sign]);
            self.at += 1 + sign;
            text.push_str(&self.run(|c| c.is_ascii_digit()));
        }
        if double { Token::Double(text) } else { self.whole(text) }
    }

    fn whole(&mut self, digits: String) -> Token {
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return Token::Uint(digits);
        }
        Token::Int(digits)
    }

    /// Letters before the quote, when a string starts here.
    fn string_prefix(&self) -> Option<usize> {
        let is_quote = |c| c == '"' || c == '\'';
        let (first, second) = (self.peek(0).to_ascii_lowercase(), self.peek(1).to_ascii_lowercase());
        match (first, second) {
            (c, _) if is_quote(c) => Some(0),
            ('r' | 'b', c) if is_quote(c) => Some(1),
            ('r', 'b') | ('b', 'r') if is_quote(self.peek(2)) => Some(2),
            _ => None,
        }
    }

    fn string(&mut self, prefix: usize) -> Result<Token, Wrong> {
        let flags: String = self.letters[self.at..self.at + prefix].iter().collect::<String>().to_ascii_lowercase();
        let (raw, bytes) = (flags.contains('r'), flags.contains('b'));
        self.at += prefix;
        let quote = self.peek(0);
        let long = self.peek(1) == quote && self.peek(2) == quote;
        let quotes = if long { 3 } else { 1 };
        self.at += quotes;
        let from = self.at;
        loop {
            if self.at >= self.letters.len() || (!long && matches!(self.peek(0), '\n' | '\r')) {
                return Err(None);
            }
            if (0..quotes).all(|i| self.peek(i) == quote) {
                break;
            }
            let step = if self.peek(0) == '\\' && !raw { 2 } else { 1 };
            self.at = (self.at + step).min(self.letters.len());
        }
        let end = self.at.min(self.letters.len());
        let content = &self.letters[from..end];
        self.at += quotes;
        let made = unquote(content, raw, bytes).map_err(|message| Some(message.to_owned()))?;
        if bytes {
            return Ok(Token::Bytes(made.into()));
        }
        let text = String::from_utf8(made).map_err(|_| Some("invalid UTF-8".to_owned()))?;
        Ok(Token::String(text.into()))
    }
}

/// What a string's letters mean.
fn unquote(content: &[char], raw: bool, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let mut made = Vec::with_capacity(content.len());
    let push = |made: &mut Vec<u8>, letter: char| made.extend(letter.encode_utf8(&mut [0; 4]).bytes());
    let mut at = 0;
    while at < content.len() {
        if content[at] != '\\' || raw {
            push(&mut made, content[at]);
            at += 1;
            continue;
        }
        let kind = *content.get(at + 1).ok_or("unable to unescape string, found '\\' as last character")?;
        at += 2;
        let (digits, radix) = match kind {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => (3, 8),
            _ => (0, 0),
        };
        if digits == 0 {
            push(&mut made, simple(kind).ok_or("unable to unescape string")?);
            continue;
        }
        let from = if radix == 8 { at - 1 } else { at };
        let text: String = content.get(from..from + digits).ok_or("unable to unescape string")?.iter().collect();
        let code = text.bytes().all(|b| b.is_ascii_alphanumeric()).then(|| u32::from_str_radix(&text, radix).ok());
        let code = code.flatten().ok_or("unable to unescape string")?;
        at = from + digits;
        match (bytes, kind) {
            (true, 'u' | 'U') => return Err("unable to unescape string"),
            (true, _) => made.push(u8::try_from(code).map_err(|_| "unable to unescape string")?),
            _ => push(&mut made, char::from_u32(code).ok_or("invalid unicode code point")?),
        }
    }
    Ok(made)
}

fn simple(kind: char) -> Option<char> {
    Some(match kind {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '\'' | '"' | '`' | '?' => kind,
        _ => return None,
    })
}
