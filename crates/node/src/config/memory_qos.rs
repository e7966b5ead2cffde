//! Memory that is kept for containers, and from where on they are slowed down (KEP-2570, cgroup v2 only).

use runtime::Resources;

use super::resources::{ALL_PODS, Qos, memory_of, pod_request, qos};
use crate::quantity;
use crate::wanted::{Member, Wanted};

/// Limits are multiples of it.
const PAGE: i64 = 4096;

/// How memory is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryQos {
    /// How far from request to limit containers get before they are slowed down, in thousandths.
    pub throttling: u16,
}

impl std::str::FromStr for MemoryQos {
    type Err = String;

    /// `0.9`, kubelet's memoryThrottlingFactor.
    fn from_str(text: &str) -> Result<Self, String> {
        let factor: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
        match factor > 0.0 && factor <= 1.0 {
            true => Ok(Self { throttling: (factor * 1000.0).round() as u16 }),
            false => Err(format!("memoryThrottlingFactor {text} must be greater than 0 and less than or equal to 1.0")),
        }
    }
}

impl MemoryQos {
    /// A container has what it requests for itself, and is slowed down on its way to its limit, or to all that pods may have.
    pub fn container(self, member: &Member, allocatable: i64, resources: &mut Resources) {
        let (request, limit) = memory_of(member);
        resources.memory_request = Some(request);
        if request == limit {
            return;
        }
        let most = if limit > 0 { limit } else { allocatable };
        let way = i128::from(most.saturating_sub(request)) * i128::from(self.throttling) / 1000;
        let high = (i128::from(request) + way) / i128::from(PAGE) * i128::from(PAGE);
        resources.memory_high = i64::try_from(high).ok().filter(|high| *high > request);
    }

    /// A pod has what its containers have.
    pub fn pod(self, wanted: &Wanted, resources: &mut Resources) {
        resources.memory_request = Some(pod_request(wanted, "memory", quantity::value));
    }

    /// What the groups of all pods, and of the burstable ones, have: the kernel keeps no more for a group than for those
    /// above it.
    pub fn classes<'a>(self, pods: impl Iterator<Item = &'a Wanted>) -> [(&'static str, i64); 2] {
        let (mut all, mut burstable) = (0i64, 0i64);
        for pod in pods {
            let request = pod_request(pod, "memory", quantity::value);
            all = all.saturating_add(request);
            if qos(pod) == Qos::Burstable {
                burstable = burstable.saturating_add(request);
            }
        }
        [(ALL_PODS, all), ("/kubepods/burstable", burstable)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::pod;

    #[test]
    fn memory_is_kept_by_upstreams_formula() {
        let own: MemoryQos = "0.9".parse().unwrap();
        let mi = 1 << 20;
        for (resources, request, high) in [
            (r#"{"requests":{"memory":"100Mi"},"limits":{"memory":"200Mi"}}"#, 100 * mi, Some(190 * mi)),
            // No limit: on the way to all that pods may have (1000 MiB).
            (r#"{"requests":{"memory":"100Mi"}}"#, 100 * mi, Some(910 * mi)),
            (r#"{"limits":{"memory":"64Mi"}}"#, 64 * mi, None),
            ("{}", 0, None),
            // Whole pages.
            (r#"{"requests":{"memory":"1"},"limits":{"memory":"10000"}}"#, 1, Some(8192)),
        ] {
            let wanted = pod("p", &format!(r#"{{"containers":[{{"name":"a","resources":{resources}}}]}}"#));
            let mut made = Resources::default();
            own.container(&wanted.members[0], 1000 * mi, &mut made);
            assert_eq!((made.memory_request, made.memory_high), (Some(request), high), "{resources}");
            own.pod(&wanted, &mut made);
            assert_eq!(made.memory_request, Some(request));
        }
        let asking = pod("a", r#"{"containers":[{"name":"a","resources":{"requests":{"memory":"1Mi"}}}]}"#);
        let sure = pod("b", r#"{"containers":[{"name":"a","resources":{"limits":{"cpu":"1","memory":"2Mi"}}}]}"#);
        let all = own.classes([&asking, &sure].into_iter().map(AsRef::as_ref));
        assert_eq!(all, [("/kubepods", 3 * mi), ("/kubepods/burstable", mi)]);
        for bad in ["0", "1.1", "x", "-1"] {
            assert!(bad.parse::<MemoryQos>().is_err(), "{bad}");
        }
    }
}
