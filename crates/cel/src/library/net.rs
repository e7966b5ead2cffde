//! Addresses and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::standard::{one, text};
use super::{Line, Special};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

pub(super) const LINES: &[Line] = &[
    ("ip", "(string)IP;CIDR.()IP", |machine, args| one(machine, args, ip)),
    ("isIP", "(string)bool", |machine, args| one(machine, args, |value| Ok(Val::Bool(parse_ip(text(value)?).is_ok())))),
    ("ip.isCanonical", "(string)bool", |machine, args| {
        one(machine, args, |value| {
            let written = text(value)?;
            Ok(Val::Bool(parse_ip(written)?.to_string() == **written))
        })
    }),
    ("family", "IP.()int", |machine, args| {
        one(machine, args, |value| Ok(Val::Int(if address(value)?.is_ipv4() { 4 } else { 6 })))
    }),
    ("isUnspecified", "IP.()bool", |machine, args| is(machine, args, |ip| ip.is_unspecified())),
    ("isLoopback", "IP.()bool", |machine, args| is(machine, args, |ip| ip.is_loopback())),
    ("isLinkLocalMulticast", "IP.()bool", |machine, args| is(machine, args, is_link_local_multicast)),
    ("isLinkLocalUnicast", "IP.()bool", |machine, args| is(machine, args, is_link_local)),
    ("isGlobalUnicast", "IP.()bool", |machine, args| {
        is(machine, args, |ip| {
            let broadcast = *ip == IpAddr::V4(Ipv4Addr::BROADCAST);
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip) || broadcast)
        })
    }),
    ("cidr", "(string)CIDR", |machine, args| {
        one(machine, args, |value| {
            let (ip, bits) = parse_cidr(text(value)?)?;
            Ok(Val::Special(Special::Cidr(ip, bits)))
        })
    }),
    ("isCIDR", "(string)bool", |machine, args| {
        one(machine, args, |value| Ok(Val::Bool(parse_cidr(text(value)?).is_ok())))
    }),
    ("containsIP", "CIDR.(IP)bool;CIDR.(string)bool", contains_ip),
    ("containsCIDR", "CIDR.(CIDR)bool;CIDR.(string)bool", contains_cidr),
    ("masked", "CIDR.()CIDR", |machine, args| {
        one(machine, args, |value| {
            let (ip, bits) = network(value)?;
            Ok(Val::Special(Special::Cidr(masked(ip, bits), bits)))
        })
    }),
    ("prefixLength", "CIDR.()int", |machine, args| one(machine, args, |value| Ok(Val::Int(network(value)?.1.into())))),
];

fn is<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], is: fn(&IpAddr) -> bool) -> Evaluated<'a> {
    one(machine, args, |value| Ok(Val::Bool(is(&address(value)?))))
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn address(value: &Val<'_>) -> Result<IpAddr, Fault> {
    if let Val::Special(Special::Ip(ip)) = value { Ok(*ip) } else { Err(Fault::NoOverload) }
}

fn network(value: &Val<'_>) -> Result<(IpAddr, u8), Fault> {
    if let Val::Special(Special::Cidr(ip, bits)) = value { Ok((*ip, *bits)) } else { Err(Fault::NoOverload) }
}

fn ip<'a>(value: &Val<'a>) -> Evaluated<'a> {
    let ip = match value {
        Val::String(text) => parse_ip(text)?,
        other => network(other)?.0,
    };
    Ok(Val::Special(Special::Ip(ip)))
}

fn parse_ip(text: &str) -> Result<IpAddr, Fault> {
    let wrong = |why: &str| Fault::new(format!("IP Address {text:?} parse error during conversion from string: {why}"));
    let unable = format!("ParseAddr({text:?}): unable to parse IP");
    if text.contains('%') {
        return Err(wrong(&format!("IP address {text:?} with zone value is not allowed")));
    }
    let ip: IpAddr = text.parse().map_err(|_| wrong(&unable))?;
    match ip {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(wrong(&format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), Fault> {
    let wrong = |why: &str| {
        let parse = format!("netip.ParsePrefix({text:?}): {why}");
        Fault::new(format!("network address parse error during conversion from string: {parse}"))
    };
    let (ip, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    let ip = parse_ip(ip).map_err(|_| wrong("unable to parse IP"))?;
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && !(bits.len() > 1 && bits.starts_with('0'));
    let length = bits.parse::<u8>().ok().filter(|_| plain);
    let length = length.ok_or_else(|| wrong(&format!("bad bits after slash: {bits:?}")))?;
    if length > if ip.is_ipv4() { 32 } else { 128 } {
        return Err(wrong("prefix length out of range"));
    }
    Ok((ip, length))
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

fn holds(network: (IpAddr, u8), ip: IpAddr) -> bool {
    network.0.is_ipv4() == ip.is_ipv4() && masked(network.0, network.1) == masked(ip, network.1)
}

fn contains_ip<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    let [whole, ip] = args else { return Err(Fault::NoOverload) };
    let ip = match ip {
        Val::String(text) => parse_ip(text)?,
        other => address(other)?,
    };
    Ok(Val::Bool(holds(network(whole)?, ip)))
}

fn contains_cidr<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    let [whole, part] = args else { return Err(Fault::NoOverload) };
    let whole = network(whole)?;
    let (ip, bits) = match part {
        Val::String(text) => parse_cidr(text)?,
        other => network(other)?,
    };
    Ok(Val::Bool(bits >= whole.1 && holds(whole, ip)))
}
