//! IP addresses in fields.

use std::net::IpAddr;

use machinery::field::FieldError;

use crate::place::{Place, Report};

/// Protocols of ports.
pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// An IP address: no leading zeroes, no IPv4-mapped IPv6.
pub(crate) fn validate_ip(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            errors.invalid(at, text, "must not be an IPv4-mapped IPv6 address");
        }
        Ok(_) => {}
        Err(_) if without_leading_zeroes(text).parse::<IpAddr>().is_ok() => {
            errors.invalid(at, text, "must not have leading 0s");
        }
        Err(_) => errors.invalid(at, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    }
}

/// What is wrong with an address that has to be written canonically.
pub(crate) fn canonical_ip(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.to_string() == text => Vec::new(),
        Ok(ip) => vec![format!("must be in canonical form ({:?})", ip.to_string())],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// A network in CIDR form, with no bits set beyond the prefix.
pub(crate) fn validate_cidr(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let parsed =
        text.split_once('/').and_then(|(ip, bits)| Some((ip.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?)));
    let Some((ip, bits)) = parsed else {
        errors.invalid(at, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return;
    };
    let (value, width) = match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    if bits > width {
        errors.invalid(at, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    } else if bits < width && value & ((1 << (width - bits)) - 1) != 0 {
        errors.invalid(at, text, "must not have bits set beyond the prefix length");
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
