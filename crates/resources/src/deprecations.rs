//! Which versions of which resources are on their way out: what upstream's release of the same number says of them.

use crate::row::Resource;

struct Deprecation {
    group: &'static str,
    version: &'static str,
    /// Empty for all kinds of the version.
    kind: &'static str,
    /// Releases.
    since: &'static str,
    removed: Option<&'static str>,
    /// What to use instead.
    instead: Option<&'static str>,
}

const fn of(group: &'static str, version: &'static str, since: &'static str, removed: &'static str) -> Deprecation {
    Deprecation { group, version, kind: "", since, removed: Some(removed), instead: None }
}

const DEPRECATIONS: [Deprecation; 11] = [
    Deprecation { kind: "ComponentStatus", removed: None, ..of("", "v1", "1.19", "") },
    Deprecation {
        kind: "Endpoints",
        removed: None,
        instead: Some("discovery.k8s.io/v1 EndpointSlice"),
        ..of("", "v1", "1.33", "")
    },
    of("admissionregistration.k8s.io", "v1alpha1", "1.35", "1.38"),
    of("certificates.k8s.io", "v1alpha1", "1.34", "1.37"),
    of("coordination.k8s.io", "v1alpha2", "1.35", "1.38"),
    of("coordination.k8s.io", "v1beta1", "1.36", "1.39"),
    of("networking.k8s.io", "v1beta1", "1.34", "1.37"),
    of("resource.k8s.io", "v1beta1", "1.35", "1.38"),
    Deprecation { kind: "DeviceTaintRule", ..of("resource.k8s.io", "v1alpha3", "1.36", "1.39") },
    Deprecation {
        instead: Some("storage.k8s.io/v1 VolumeAttributesClass"),
        ..of("storage.k8s.io", "v1beta1", "1.34", "1.37")
    },
    of("resource.k8s.io", "v1beta2", "1.36", "1.39"),
];
/// Kinds that are newer than the rest of their version.
const NOT_YET: [(&str, &str); 1] = [("v1beta2", "DeviceTaintRule")];

impl Resource {
    /// Of a deprecated version: the release that has it no more, empty when there is none yet.
    pub fn removed_release(&self) -> Option<&'static str> {
        match &self.schema {
            Some(_) => self.deprecated.as_ref().map(|_| ""),
            None => self.found().map(|found| found.removed.unwrap_or_default()),
        }
    }

    fn found(&self) -> Option<&'static Deprecation> {
        let found = DEPRECATIONS.iter().find(|known| {
            known.version == self.version
                && known.group == self.group
                && (known.kind.is_empty() || known.kind == self.kind)
        });
        found.filter(|_| !NOT_YET.contains(&(self.version.as_str(), self.kind.as_str())))
    }

    /// What clients of a deprecated version are warned of.
    pub fn deprecation(&self) -> Option<String> {
        if self.schema.is_some() {
            return self.deprecated.clone();
        }
        let found = self.found()?;
        let mut text = format!("{} {} is deprecated in v{}+", self.group_version(), self.kind, found.since);
        if let Some(removed) = found.removed {
            text.push_str(&format!(", unavailable in v{removed}+"));
        }
        if let Some(instead) = found.instead {
            text.push_str(&format!("; use {instead}"));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn warnings_are_upstreams() {
        let told: Vec<String> = crate::table().iter().filter_map(|row| row.deprecation()).collect();
        for wanted in [
            "v1 ComponentStatus is deprecated in v1.19+",
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
            "networking.k8s.io/v1beta1 IPAddress is deprecated in v1.34+, unavailable in v1.37+",
            "storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; \
             use storage.k8s.io/v1 VolumeAttributesClass",
        ] {
            assert!(told.iter().any(|text| text == wanted), "{wanted} is not among {told:#?}");
        }
        assert!(!told.iter().any(|text| text.split(' ').next().is_some_and(|version| version.ends_with("/v1"))));
    }
}
