//! Formats of strings that upstream checks (`apiserver/validation/formats.go` and kube-openapi's `strfmt`). Others are not
//! looked at.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;

use crate::{go_regex, names};

/// A format that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format(usize);

struct Row {
    /// Without hyphens: `date-time` and `datetime` are one.
    name: &'static str,
    is_valid: fn(&str) -> bool,
}

const FORMATS: [Row; 26] = [
    Row { name: "bsonobjectid", is_valid: |text| text.len() == 24 && is_hexadecimal(text) },
    Row { name: "uri", is_valid: is_request_uri },
    Row { name: "email", is_valid: is_email },
    Row { name: "hostname", is_valid: is_hostname },
    Row { name: "ipv4", is_valid: is_ipv4 },
    Row { name: "ipv6", is_valid: is_ipv6 },
    Row { name: "cidr", is_valid: is_cidr },
    Row { name: "mac", is_valid: is_mac },
    Row { name: "uuid", is_valid: |text| is_uuid(text, None) },
    Row { name: "uuid3", is_valid: |text| is_uuid(text, Some('3')) },
    Row { name: "uuid4", is_valid: |text| is_uuid(text, Some('4')) },
    Row { name: "uuid5", is_valid: |text| is_uuid(text, Some('5')) },
    Row { name: "isbn", is_valid: |text| is_isbn10(text) || is_isbn13(text) },
    Row { name: "isbn10", is_valid: is_isbn10 },
    Row { name: "isbn13", is_valid: is_isbn13 },
    Row { name: "creditcard", is_valid: is_credit_card },
    Row { name: "ssn", is_valid: is_ssn },
    Row { name: "hexcolor", is_valid: is_hex_color },
    Row { name: "rgbcolor", is_valid: is_rgb_color },
    Row { name: "byte", is_valid: is_base64 },
    Row { name: "password", is_valid: |_| true },
    Row { name: "date", is_valid: is_date },
    Row { name: "duration", is_valid: is_duration },
    Row { name: "datetime", is_valid: is_date_time },
    Row { name: "k8sshortname", is_valid: |text| names::dns1123_label(text).is_empty() },
    Row { name: "k8slongname", is_valid: |text| names::dns1123_subdomain(text).is_empty() },
];

impl Format {
    /// The format of that name, when it is one that is checked.
    pub fn named(name: &str) -> Option<Self> {
        let plain = name.replace('-', "");
        FORMATS.iter().position(|row| row.name == plain).map(Self)
    }

    /// Its name, without hyphens.
    pub fn name(self) -> &'static str {
        FORMATS[self.0].name
    }

    /// Whether a text has it.
    pub fn is_valid(self, text: &str) -> bool {
        (FORMATS[self.0].is_valid)(text)
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `net/url.ParseRequestURI`: absolute, or a path from the root.
fn is_request_uri(text: &str) -> bool {
    let controls = text.bytes().any(|b| b < b' ' || b == 0x7f);
    if text.is_empty() || controls {
        return false;
    }
    if text == "*" || text.starts_with('/') {
        return has_good_escapes(text);
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(letters) {
        return false;
    }
    match rest.strip_prefix("//") {
        Some(rest) => {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            is_authority(authority) && has_good_escapes(rest.split('?').next().unwrap_or_default())
        }
        // Opaque parts are taken as they are.
        None => true,
    }
}

fn is_authority(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = if host.starts_with('[') {
        let Some((_, after)) = host.split_once(']') else { return false };
        after.strip_prefix(':').or(after.is_empty().then_some(""))
    } else {
        Some(host.split_once(':').map_or("", |(_, port)| port))
    };
    let good = |b: u8| !b"\"<>\\^`{|} ".contains(&b);
    port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit())) && host.bytes().all(good)
}

fn has_good_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| after.get(..2).is_some_and(is_hexadecimal))
}

/// `net/mail.ParseAddress`, of plain addresses with or without a name before: `Bob <bob@example.com>`.
fn is_email(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let address = match text.strip_suffix('>') {
        Some(text) => match text.rsplit_once('<') {
            Some((name, address)) if is_phrase(name.trim()) => address,
            _ => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |text: &str| !text.is_empty() && text.chars().all(is_atom_letter);
    let quoted =
        local.len() > 2 && local.starts_with('"') && local.ends_with('"') && !local[1..local.len() - 1].contains('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (quoted || local.split('.').all(atom)) && (literal || domain.split('.').all(atom))
}

fn is_phrase(name: &str) -> bool {
    let quoted = name.len() >= 2 && name.starts_with('"') && name.ends_with('"');
    quoted || name.split_whitespace().all(|word| word.chars().all(|c| is_atom_letter(c) || c == '.'))
}

fn is_atom_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(letter)
        || !letter.is_ascii() && !letter.is_control()
}

/// Labels of letters, digits, symbols and inner hyphens, the last one of letters only (two at least). A name without dots may have
/// one hyphen, behind its first letter: so does upstream's pattern.
fn is_hostname(text: &str) -> bool {
    if text.len() > 255 || text.split('.').any(|label| label.len() > 63) {
        return false;
    }
    let Some((labels, top)) = text.rsplit_once('.') else {
        let mut characters = text.chars();
        let first = characters.next().is_some_and(is_host_character);
        let rest = characters.as_str();
        return first && rest.strip_prefix('-').unwrap_or(rest).chars().all(is_host_character);
    };
    let is_label = |label: &str| {
        let ends = label.starts_with(is_host_character) && label.ends_with(is_host_character);
        ends && label.chars().all(|c| c == '-' || is_host_character(c))
    };
    let is_top = top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
    is_top && labels.split('.').all(is_label)
}

/// An ASCII letter or digit, or any other script's letter or symbol.
fn is_host_character(c: char) -> bool {
    static OTHERS: LazyLock<Option<Regex>> = LazyLock::new(|| go_regex::compile(r"^[\p{L}\p{S}]$").ok());
    let is_other = || OTHERS.as_ref().is_some_and(|r| r.is_match(c.encode_utf8(&mut [0; 4])));
    c.is_ascii_alphanumeric() || !c.is_ascii() && is_other()
}

/// Leading zeros are let pass, as upstream's sloppy parser does.
fn is_ipv4(text: &str) -> bool {
    is_dotted_quad(text) || text.contains('.') && text.parse::<Ipv6Addr>().is_ok()
}

fn is_dotted_quad(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let part = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && decimal(part) < 256;
    parts.len() == 4 && parts.iter().all(part)
}

/// A number of digits; too large a one when it does not fit.
fn decimal(text: &str) -> u64 {
    text.trim_start_matches('0').parse().unwrap_or(if text.trim_start_matches('0').is_empty() { 0 } else { u64::MAX })
}

fn is_ipv6(text: &str) -> bool {
    text.contains(':') && text.parse::<Ipv6Addr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let is_number = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let bits = match address.contains(':') {
        true if address.parse::<Ipv6Addr>().is_ok() => 128,
        false if is_dotted_quad(address) || address.parse::<Ipv4Addr>().is_ok() => 32,
        _ => return false,
    };
    is_number && decimal(length) <= bits
}

/// `net.ParseMAC`: 6, 8 or 20 bytes in groups of two (`:` or `-`) or four (`.`) digits.
fn is_mac(text: &str) -> bool {
    let groups = |mark: char, digits: usize| {
        let parts: Vec<&str> = text.split(mark).collect();
        let good = parts.iter().all(|part| part.len() == digits && is_hexadecimal(part));
        good && [6, 8, 20].contains(&(parts.len() * digits / 2))
    };
    groups(':', 2) || groups('-', 2) || groups('.', 4)
}

/// Hyphens may be left out. Version 4 and 5 tell their variant.
fn is_uuid(text: &str, version: Option<char>) -> bool {
    let mut rest = text;
    let mut digits = String::with_capacity(32);
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(length) else { return false };
        digits.push_str(group);
        rest = after;
    }
    let at = |index: usize| digits.as_bytes().get(index).copied().map(|b| char::from(b.to_ascii_lowercase()));
    let variant = version.is_none_or(|version| version == '3' || at(16).is_some_and(|c| "89ab".contains(c)));
    rest.is_empty() && is_hexadecimal(&digits) && version.is_none_or(|version| at(12) == Some(version)) && variant
}

/// Digits of a number that is written with hyphens and blanks in it.
fn compact(text: &str) -> Vec<u8> {
    text.bytes().filter(|b| !b"- \t\n\r".contains(b)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let letters = compact(text);
    let Some((last, digits)) = letters.split_last().filter(|_| letters.len() == 10) else { return false };
    if !digits.iter().all(u8::is_ascii_digit) || !(last.is_ascii_digit() || *last == b'X') {
        return false;
    }
    let sum: usize = digits.iter().enumerate().map(|(i, b)| (i + 1) * usize::from(b - b'0')).sum();
    let last = if *last == b'X' { 100 } else { 10 * usize::from(last - b'0') };
    (sum + last).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = compact(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: usize =
        digits.iter().enumerate().map(|(i, b)| usize::from(b - b'0') * if i % 2 == 0 { 1 } else { 3 }).sum();
    sum.is_multiple_of(10)
}

/// Who issues cards: the first four digits, and how many there are.
const ISSUERS: [(RangeInclusive<u32>, usize); 16] = [
    (1800..=1800, 15),
    (2131..=2131, 15),
    (2221..=2720, 16),
    (3000..=3059, 14),
    (3400..=3499, 15),
    (3500..=3599, 16),
    (3600..=3699, 14),
    (3700..=3799, 15),
    (3800..=3899, 14),
    (4000..=4999, 13),
    (4000..=4999, 16),
    (5100..=5599, 16),
    (6011..=6011, 16),
    (6200..=6299, 16),
    (6500..=6599, 16),
    (6700..=6799, 16),
];

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let digit = |(i, c): (usize, char)| {
        let digit = c.to_digit(10).unwrap_or_default();
        if i % 2 == 1 { doubled(digit) } else { digit }
    };
    let sum: u32 = digits.chars().rev().enumerate().map(digit).sum();
    let issuer = digits.get(..4).and_then(|first| first.parse::<u32>().ok());
    let is_issued =
        |issuer: u32| ISSUERS.iter().any(|(known, count)| known.contains(&issuer) && *count == digits.len());
    issuer.is_some_and(is_issued) && sum.is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let mut rest = text;
    for (index, length) in [3, 2, 4].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
        }
        match rest.split_at_checked(length) {
            Some((digits, after)) if digits.bytes().all(|b| b.is_ascii_digit()) => rest = after,
            _ => return false,
        }
    }
    rest.is_empty() && text.len() == 11
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && is_hexadecimal(digits)
}

fn is_rgb_color(text: &str) -> bool {
    let inner = text.strip_prefix("rgb(").and_then(|text| text.strip_suffix(')'));
    let part = |part: &str| {
        let part = part.trim();
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
            && decimal(part) < 256
    };
    inner.is_some_and(|inner| inner.split(',').count() == 3 && inner.split(',').all(part))
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let letters = body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b));
    !text.is_empty() && text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && letters
}

fn is_date(text: &str) -> bool {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    shape && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    is_date(date) && is_time_of_day(time).unwrap_or(false)
}

/// Hours, minutes and seconds, a fraction behind any one character, and a zone, in small letters.
fn is_time_of_day(text: &str) -> Option<bool> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let two = |text: &str, most: u64| text.len() == 2 && is_number(text) && decimal(text) <= most;
    let (clock, rest) = text.split_at_checked(8)?;
    let clock: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = clock.as_slice() else { return None };
    let fraction = match rest.strip_suffix('z') {
        Some(fraction) => fraction,
        None => {
            let (fraction, zone) = rest.split_at_checked(rest.len().checked_sub(6)?)?;
            let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
            (two(hours, 99) && two(minutes, 99)).then_some(fraction)?
        }
    };
    let mut characters = fraction.chars();
    let is_fraction = characters.next().is_none_or(|_| is_number(characters.as_str()));
    Some(two(hour, 23) && two(minute, 59) && two(second, 59) && is_fraction)
}

/// Go's own durations, and numbers with units as Scala writes them: `3 days`.
fn is_duration(text: &str) -> bool {
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    if crate::duration::parse_go(text).is_ok() {
        return true;
    }
    let is_unit = |unit: &str| {
        let known = |names: &&[&str]| names.contains(&unit) || names.last().is_some_and(|last| unit.starts_with(last));
        UNITS.iter().any(known)
    };
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let end = rest.find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ')).unwrap_or(rest.len());
        found |= end > 0 && is_unit(&rest[..end].to_lowercase());
        rest = &rest[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_hold_what_upstreams_hold() {
        let cases: [(&str, &[&str], &[&str]); 24] = [
            ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["507f", "zz7f1f77bcf86cd799439011"]),
            (
                "uri",
                &["https://a.example/b?c=d", "/path", "mailto:a@b", "http://[::1]:80/"],
                &["a.example", "", "http://a b/", "/%zz"],
            ),
            ("email", &["a@b.example", "Bob <bob@b.example>"], &["a", "@b", "a b@c", "a..b@c"]),
            (
                "hostname",
                &["a.example", "host", "1a.example", "a-b", "a.b-c.example", "ä.example"],
                &["-a", "a..example", "a_b", "", "a.b", "a-.example", "a.example.1a"],
            ),
            ("ipv4", &["1.2.3.4", "01.2.3.4"], &["1.2.3", "1.2.3.256", "::1"]),
            ("ipv6", &["::1", "fe80::1"], &["1.2.3.4", ":::"]),
            ("cidr", &["10.0.0.0/8", "fd00::/64"], &["10.0.0.0", "10.0.0.0/33", "fd00::/129"]),
            ("mac", &["01:23:45:67:89:ab", "0123.4567.89ab"], &["01:23:45", "01-23:45-67:89-ab"]),
            ("uuid", &["123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000"], &["123e4567"]),
            ("uuid3", &["6fa459ea-ee8a-3ca4-894e-db77e160355e"], &["6fa459ea-ee8a-4ca4-894e-db77e160355e"]),
            ("uuid4", &["6fa459ea-ee8a-4ca4-894e-db77e160355e"], &["6fa459ea-ee8a-4ca4-194e-db77e160355e"]),
            ("uuid5", &["6fa459ea-ee8a-5ca4-894e-db77e160355e"], &["6fa459ea-ee8a-4ca4-894e-db77e160355e"]),
            ("isbn", &["0321751043", "978-0321751041"], &["0321751042"]),
            (
                "creditcard",
                &["4111-1111-1111-1111", "378282246310005", "30569309025904", "5555555555554444", "6011111111111117"],
                &["4111-1111-1111-1112", "9111111111111111", "411", ""],
            ),
            ("ssn", &["111-22-3333"], &["111-22-333"]),
            ("hexcolor", &["#FFF", "00ff00"], &["#ffff", "red"]),
            ("rgbcolor", &["rgb(255, 0,1)"], &["rgb(256,0,0)", "rgb(1,2)"]),
            ("byte", &["aGk="], &["aGk", "a-k=", ""]),
            ("password", &["", "x"], &[]),
            ("date", &["2024-02-29"], &["2023-02-29", "2024-2-9"]),
            ("duration", &["1h3m", "3 days", "2 weeks"], &["1", "x", "1 xyz"]),
            (
                "date-time",
                &["2024-01-02T03:04:05Z", "2024-01-02t03:04:05.123+02:00", "2024-01-02T23:59:59-00:30"],
                &[
                    "2024-01-02",
                    "2024-01-02T25:00:00Z",
                    "2024-01-02T03:04:05",
                    "2024-01-02T03:04:05.Z",
                    "2024-01-02T03:04:05+2:00",
                ],
            ),
            ("k8s-short-name", &["a-b"], &["A", "a.b"]),
            ("k8s-long-name", &["a-b.c"], &["A", "a_b"]),
        ];
        for (name, good, bad) in cases {
            let format = Format::named(name).expect(name);
            good.iter().for_each(|text| assert!(format.is_valid(text), "{name} {text}"));
            bad.iter().for_each(|text| assert!(!format.is_valid(text), "{name} {text}"));
        }
        assert!(Format::named("int32").is_none() && Format::named("float").is_none());
    }
}
