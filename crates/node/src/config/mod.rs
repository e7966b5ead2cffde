//! From a container's spec to what the runtime is told.

pub mod app_armor;
pub mod env;
pub mod env_file;
pub mod fields;
pub mod files;
pub mod memory_qos;
pub mod resources;
pub mod security;
pub mod services;
pub mod users;

/// Replaces `$(NAME)` by what `of` knows; `$$` is a plain `$`, unknown names stay as they are (upstream's expansion).
pub fn expand(text: &str, of: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match of(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_follows_upstream() {
        let of = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, wanted) in
            [("x$(A)y", "x1y"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$(A", "$(A"), ("$", "$"), ("$A$(A)", "$A1")]
        {
            assert_eq!(expand(text, &of), wanted, "{text}");
        }
    }
}
