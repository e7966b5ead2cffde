//! Words of a label selector's text form.

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Close,
    Open,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Identifier,
    Bad,
}

const SYMBOLS: [(&str, Token); 9] = [
    (")", Token::Close),
    ("(", Token::Open),
    (",", Token::Comma),
    ("!", Token::Not),
    ("==", Token::DoubleEquals),
    ("=", Token::Equals),
    ("!=", Token::NotEquals),
    (">", Token::Greater),
    ("<", Token::Less),
];

/// Takes a text apart. The last word is [`Token::End`].
pub(super) fn scan(text: &str) -> Vec<(Token, String)> {
    let mut rest = text;
    let mut words = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else {
            words.push((Token::End, String::new()));
            return words;
        };
        let word;
        (word, rest) = if is_special(first) { symbol(rest) } else { identifier(rest) };
        words.push(word);
    }
}

fn is_special(c: char) -> bool {
    "=!(),><".contains(c)
}

/// The longest symbol that stands here.
fn symbol(text: &str) -> ((Token, String), &str) {
    let known = SYMBOLS.iter().filter(|(s, _)| text.starts_with(s)).max_by_key(|(s, _)| s.len());
    match known {
        Some((s, token)) => ((*token, (*s).to_owned()), &text[s.len()..]),
        None => ((Token::Bad, format!("error expected: keyword found '{text}'")), ""),
    }
}

fn identifier(text: &str) -> ((Token, String), &str) {
    let end = text.find(|c: char| is_special(c) || " \t\r\n".contains(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let token = match word {
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ => Token::Identifier,
    };
    ((token, word.to_owned()), rest)
}
