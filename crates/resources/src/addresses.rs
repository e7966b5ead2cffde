//! IP addresses in fields.

use std::net::IpAddr;

use machinery::field::FieldError;

use crate::place::{Place, Report};

/// Protocols of ports.
pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// An IP address: no leading zeroes, no IPv4-mapped IPv6.
pub(crate) fn validate_ip(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(problem) = ip_problem(text) {
        errors.invalid(at, text, problem);
    }
}

fn ip_problem(text: &str) -> Option<&'static str> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => Some("must not be an IPv4-mapped IPv6 address"),
        Ok(_) => None,
        Err(_) if is_ip(text) => Some("must not have leading 0s"),
        Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    }
}

/// What is wrong with an address that has to be written canonically.
pub(crate) fn canonical_ip(text: &str) -> Vec<String> {
    match (ip_problem(text), text.parse::<IpAddr>()) {
        (Some(problem), _) => vec![problem.to_owned()],
        (None, Ok(ip)) if ip.to_string() != text => vec![format!("must be in canonical form ({:?})", ip.to_string())],
        _ => Vec::new(),
    }
}

/// Whether a text is an IP address, also one in a form that is not allowed any more.
pub(crate) fn is_ip(text: &str) -> bool {
    parse_ip(text).is_some()
}

/// Reads an address, also one with leading zeroes.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().or_else(|_| without_leading_zeroes(text).parse()).ok()
}

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy)]
pub(crate) struct Cidr {
    ip: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// Reads a network, also one in a form that is not allowed any more: with leading zeroes, with bits beyond the prefix.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (ip, prefix) = text.split_once('/')?;
        let ip = parse_ip(ip)?;
        let prefix = prefix.bytes().all(|b| b.is_ascii_digit()).then(|| prefix.parse::<u32>().ok()).flatten()?;
        (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some(Self { ip, prefix })
    }

    /// Whether it is of IPv6.
    pub(crate) fn is_ipv6(self) -> bool {
        self.ip.is_ipv6()
    }

    /// The address and the length of the prefix, as everybody writes them.
    pub(crate) fn canonical(self) -> String {
        format!("{}/{}", self.ip, self.prefix)
    }

    /// The network's first address.
    fn first(self) -> IpAddr {
        match self.ip {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0)).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0)).into()),
        }
    }

    /// Whether a network is a part of this one, and smaller.
    pub(crate) fn contains_strictly(self, part: Self) -> bool {
        let head = Self { prefix: self.prefix, ..part };
        part.is_ipv6() == self.is_ipv6() && part.prefix > self.prefix && head.first() == self.first()
    }
}

/// A network in CIDR form, with no bits set beyond the prefix; what upstream asks of fields that are older than its
/// stricter rules.
pub(crate) fn validate_cidr(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(cidr) = Cidr::parse(text) else {
        errors.invalid(at, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return;
    };
    let (ip, prefix) = text.split_once('/').unwrap_or_default();
    if ip.parse::<IpAddr>().is_err() || (prefix.len() > 1 && prefix.starts_with('0')) {
        errors.invalid(at, text, "must not have leading 0s in IP or prefix length");
    } else if matches!(cidr.ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        errors.invalid(at, text, "must not have an IPv4-mapped IPv6 address");
    } else if cidr.first() != cidr.ip {
        errors.invalid(at, text, "must not have bits set beyond the prefix length");
    }
}

/// The same, written as everybody writes it.
pub(crate) fn validate_canonical_cidr(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    validate_cidr(text, at, errors);
    if errors.len() > before {
        return;
    }
    if let Some(canonical) = Cidr::parse(text).map(|cidr| format!("{}/{}", cidr.first(), cidr.prefix))
        && canonical != text
    {
        errors.invalid(at, text, &format!("must be in canonical form ({canonical:?})"));
    }
}

fn without_leading_zeroes(text: &str) -> String {
    let octet = |octet: &str| match octet.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    };
    text.split('.').map(octet).collect::<Vec<_>>().join(".")
}

/// `10.0.0.1:80`, `[::1]:80`
pub(crate) fn join_host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
