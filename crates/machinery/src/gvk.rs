//! The names by which kinds and resources are known.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// `apps/v1`, or `v1` for the core group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersion {
    /// Empty for the core group.
    pub group: Arc<str>,
    /// `v1`, `v1beta1` …
    pub version: Arc<str>,
}

/// A kind with its group and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: Arc<str>,
    /// `v1`, `v1beta1` …
    pub version: Arc<str>,
    /// `Deployment`
    pub kind: Arc<str>,
}

/// A resource with its group and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionResource {
    /// Empty for the core group.
    pub group: Arc<str>,
    /// `v1`, `v1beta1` …
    pub version: Arc<str>,
    /// The plural: `deployments`
    pub resource: Arc<str>,
}

/// A resource with its group: `deployments.apps`, `pods`. What error messages name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// Empty for the core group.
    pub group: Arc<str>,
    /// The plural.
    pub resource: Arc<str>,
}

impl GroupVersion {
    /// Makes one of its parts.
    pub fn new(group: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), version: version.into() }
    }

    /// Reads an `apiVersion`.
    pub fn parse(api_version: &str) -> Option<Self> {
        match api_version.split_once('/') {
            None if !api_version.is_empty() => Some(Self::new("", api_version)),
            Some((g, v)) if !g.is_empty() && !v.is_empty() && !v.contains('/') => Some(Self::new(g, v)),
            _ => None,
        }
    }
}

impl GroupVersionKind {
    /// Makes one of its parts.
    pub fn new(group: impl Into<Arc<str>>, version: impl Into<Arc<str>>, kind: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// `apps/v1` or `v1`.
    pub fn api_version(&self) -> String {
        GroupVersion::new(self.group.clone(), self.version.clone()).to_string()
    }
}

impl GroupVersionResource {
    /// Makes one of its parts.
    pub fn new(group: impl Into<Arc<str>>, version: impl Into<Arc<str>>, resource: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// Without the version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.version) } else { write!(f, "{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.resource) } else { write!(f, "{}.{}", self.resource, self.group) }
    }
}

/// The order in which versions of a group are preferred: general availability before beta before alpha, then the higher number;
/// others come last, by name (`version.CompareKubeAwareVersionStrings`).
pub fn version_order(a: &str, b: &str) -> Ordering {
    preference(b).cmp(&preference(a)).then_with(|| a.cmp(b))
}

fn preference(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let Ok(major) = rest[..digits].parse() else { return (0, 0, 0) };
    let (stage, minor) = match &rest[digits..] {
        "" => return (3, major, 0),
        stage if stage.starts_with("beta") => (2, &stage[4..]),
        stage if stage.starts_with("alpha") => (1, &stage[5..]),
        _ => return (0, 0, 0),
    };
    minor.parse().map_or((0, 0, 0), |minor| (stage, major, minor))
}

#[cfg(test)]
mod version_tests {
    use super::version_order;

    #[test]
    fn versions_are_ordered_as_upstream_orders_them() {
        let mut versions = ["v1alpha1", "v2beta2", "foo", "v1", "v10", "v2", "v1beta", "bar", "v1beta1"];
        versions.sort_by(|a, b| version_order(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta2", "v1beta1", "v1alpha1", "bar", "foo", "v1beta"]);
    }
}
