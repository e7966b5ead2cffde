//! Values that only libraries know.

use std::net::IpAddr;
use std::rc::Rc;

use machinery::quantity::Quantity;

use super::authz::{Check, Subject, Verdict};
use super::named_formats::NamedFormat;
use super::semver::Semver;
use super::url::Url;

/// Names in signatures, and in messages.
pub(super) const OPAQUE: [(&str, &str); 11] = [
    ("URL", "kubernetes.URL"),
    ("Quantity", "kubernetes.Quantity"),
    ("IP", "net.IP"),
    ("CIDR", "net.CIDR"),
    ("Semver", "kubernetes.Semver"),
    ("Format", "kubernetes.NamedFormat"),
    ("Authorizer", "kubernetes.authorization.Authorizer"),
    ("PathCheck", "kubernetes.authorization.PathCheck"),
    ("GroupCheck", "kubernetes.authorization.GroupCheck"),
    ("ResourceCheck", "kubernetes.authorization.ResourceCheck"),
    ("Decision", "kubernetes.authorization.Decision"),
];

/// A value of a library's own type.
#[derive(Debug, Clone)]
pub(crate) enum Special {
    Url(Rc<Url>),
    Quantity(Rc<Quantity>),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Semver(Rc<Semver>),
    Format(&'static NamedFormat),
    Authorizer(Rc<Subject>),
    Path(Rc<Check>),
    Group(Rc<Check>),
    Resource(Rc<Check>),
    Decision(Rc<Verdict>),
}

impl Special {
    pub fn authorizer() -> Self {
        Self::Authorizer(Rc::new(Subject::default()))
    }

    pub fn type_name(&self) -> &'static str {
        let short = match self {
            Self::Url(_) => "URL",
            Self::Quantity(_) => "Quantity",
            Self::Ip(_) => "IP",
            Self::Cidr(..) => "CIDR",
            Self::Semver(_) => "Semver",
            Self::Format(_) => "Format",
            Self::Authorizer(_) => "Authorizer",
            Self::Path(_) => "PathCheck",
            Self::Group(_) => "GroupCheck",
            Self::Resource(_) => "ResourceCheck",
            Self::Decision(_) => "Decision",
        };
        OPAQUE.iter().find(|(known, _)| *known == short).map_or(short, |(_, name)| name)
    }

    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(a), Self::Url(b)) => a.text() == b.text(),
            (Self::Quantity(a), Self::Quantity(b)) => a.cmp(b).is_eq(),
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, m), Self::Cidr(b, n)) => a == b && m == n,
            (Self::Semver(a), Self::Semver(b)) => a.order(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name() == b.name(),
            _ => false,
        }
    }

    /// As text, in results.
    pub fn text(&self) -> String {
        match self {
            Self::Url(url) => url.text().to_owned(),
            Self::Quantity(quantity) => quantity.to_string(),
            Self::Ip(ip) => ip.to_string(),
            Self::Cidr(ip, bits) => format!("{ip}/{bits}"),
            Self::Semver(version) => version.text(),
            Self::Format(format) => format.name().to_owned(),
            other => other.type_name().to_owned(),
        }
    }
}
