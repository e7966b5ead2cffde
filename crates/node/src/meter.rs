//! What the agent counts of its own work, under upstream's names: `/metrics` shows it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::lock;

/// A count, or a distribution of durations.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Upper bounds in seconds; none for a count.
    pub bounds: &'static [f64],
}

/// Pods whose sandbox was asked for.
pub const STARTED_PODS: Family =
    Family { name: "kubelet_started_pods_total", help: "Cumulative number of pods started.", bounds: &[] };
/// Those that got none.
pub const STARTED_PODS_ERRORS: Family = Family {
    name: "kubelet_started_pods_errors_total",
    help: "Cumulative number of errors when starting pods.",
    bounds: &[],
};
/// Containers that were to start, by kind.
pub const STARTED_CONTAINERS: Family =
    Family { name: "kubelet_started_containers_total", help: "Cumulative number of containers started.", bounds: &[] };
/// Those that did not, by kind and reason.
pub const STARTED_CONTAINERS_ERRORS: Family = Family {
    name: "kubelet_started_containers_errors_total",
    help: "Cumulative number of errors when starting containers.",
    bounds: &[],
};
/// From the first look at a pod until it runs.
pub const POD_START: Family = Family {
    name: "kubelet_pod_start_duration_seconds",
    help: "Seconds from seeing a pod for the first time to the pod starting to run.",
    bounds: &[
        0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0,
        600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
    ],
};
/// Pulls that succeeded, by size.
pub const IMAGE_PULL: Family = Family {
    name: "kubelet_image_pull_duration_seconds",
    help: "Seconds that pulling an image took.",
    bounds: &[1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 180.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0],
};
/// Images that containers asked for, by policy, whether they were there, and whether a pull was needed.
pub const ENSURED_IMAGES: Family = Family {
    name: "kubelet_image_manager_ensure_image_requests_total",
    help: "Number of images that were asked for.",
    bounds: &[],
};
/// Looks at who may use an image that is there, by result.
pub const IMAGE_CHECKS: Family = Family {
    name: "kubelet_imagemanager_image_mustpull_checks_total",
    help: "Number of checks whether an image that is present must be pulled.",
    bounds: &[],
};
/// Pods that were evicted, by what the node was short of.
pub const EVICTIONS: Family =
    Family { name: "kubelet_evictions", help: "Cumulative number of pod evictions by eviction signal.", bounds: &[] };

/// All of them, in the order in which they are shown.
pub const ALL: &[&Family] = &[
    &STARTED_PODS,
    &STARTED_PODS_ERRORS,
    &STARTED_CONTAINERS,
    &STARTED_CONTAINERS_ERRORS,
    &POD_START,
    &IMAGE_PULL,
    &ENSURED_IMAGES,
    &IMAGE_CHECKS,
    &EVICTIONS,
];

/// Names and values of labels, in their order.
pub type Labels = Vec<(&'static str, String)>;

/// What was counted under the same labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// How often.
    pub count: u64,
    /// All durations together, in seconds.
    pub sum: f64,
    /// How many were no longer than each bound.
    pub within: Vec<u64>,
}

/// All counts.
#[derive(Default)]
pub struct Meter(Mutex<BTreeMap<&'static str, BTreeMap<Labels, Counted>>>);

impl Meter {
    /// One more.
    pub fn count(&self, family: &Family, labels: &[(&'static str, &str)]) {
        self.change(family, labels, |counted| counted.count += 1);
    }

    /// One more that took so long.
    pub fn took(&self, family: &Family, labels: &[(&'static str, &str)], time: Duration) {
        let seconds = time.as_secs_f64();
        self.change(family, labels, |counted| {
            counted.count += 1;
            counted.sum += seconds;
            counted.within.resize(family.bounds.len(), 0);
            let fits = family.bounds.iter().map(|bound| seconds <= *bound);
            counted.within.iter_mut().zip(fits).for_each(|(count, fits)| *count += u64::from(fits));
        });
    }

    fn change(&self, family: &Family, labels: &[(&'static str, &str)], change: impl FnOnce(&mut Counted)) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        change(lock(&self.0).entry(family.name).or_default().entry(labels).or_default());
    }

    /// What was counted of a family.
    pub fn of(&self, family: &Family) -> BTreeMap<Labels, Counted> {
        lock(&self.0).get(family.name).cloned().unwrap_or_default()
    }
}
