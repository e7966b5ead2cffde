//! The text form of Prometheus (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::meter::{Counted, Family, Labels};

/// What is written so far.
#[derive(Default)]
pub struct Text(String);

/// A sample: its labels in their order, and its value.
pub type Sample = (Vec<(&'static str, String)>, f64);

impl Text {
    /// One family with its samples; nothing at all when there are none.
    pub fn family(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            self.sample(name, "", &labels, value);
        }
    }

    /// What was counted of a family, as a counter or a histogram.
    pub fn counted(&mut self, family: &Family, all: &BTreeMap<Labels, Counted>) {
        if family.bounds.is_empty() {
            let samples = all.iter().map(|(labels, counted)| (labels.clone(), counted.count as f64));
            return self.family(family.name, "counter", family.help, samples);
        }
        if !all.is_empty() {
            let _ = writeln!(self.0, "# HELP {0} {1}\n# TYPE {0} histogram", family.name, family.help);
        }
        for (labels, counted) in all {
            let bounds = family.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(counted.within.iter().chain([&counted.count])) {
                let labels: Labels = labels.iter().cloned().chain([("le", bound)]).collect();
                self.sample(family.name, "_bucket", &labels, *count as f64);
            }
            self.sample(family.name, "_sum", labels, counted.sum);
            self.sample(family.name, "_count", labels, counted.count as f64);
        }
    }

    fn sample(&mut self, name: &str, part: &str, labels: &[(&'static str, String)], value: f64) {
        let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.0, "{name}{part}{labels} {value}");
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter::Meter;

    #[test]
    fn families_have_a_head_and_quoted_labels() {
        let mut text = Text::default();
        text.family("none", "gauge", "Nothing.", []);
        text.family("a_total", "counter", "All.", [(vec![("x", "a\"b\\c\n".to_owned())], 1.5), (Vec::new(), 2.0)]);
        let wanted = "# HELP a_total All.\n# TYPE a_total counter\na_total{x=\"a\\\"b\\\\c\\n\"} 1.5\na_total 2\n";
        assert_eq!(text.finish(), wanted);
    }

    #[test]
    fn durations_are_histograms() {
        let meter = Meter::default();
        let family = Family { name: "a_seconds", help: "Long.", bounds: &[0.5, 2.0] };
        for milliseconds in [500, 1000, 3000] {
            meter.took(&family, &[("x", "y")], Duration::from_millis(milliseconds));
        }
        let counted = meter.of(&family);
        let mut text = Text::default();
        text.counted(&family, &counted);
        text.counted(&Family { name: "none", ..family }, &BTreeMap::new());
        let wanted = "# HELP a_seconds Long.\n# TYPE a_seconds histogram\na_seconds_bucket{x=\"y\",le=\"0.5\"} 1\n\
                      a_seconds_bucket{x=\"y\",le=\"2\"} 2\na_seconds_bucket{x=\"y\",le=\"+Inf\"} 3\n\
                      a_seconds_sum{x=\"y\"} 4.5\na_seconds_count{x=\"y\"} 3\n";
        assert_eq!(text.finish(), wanted);
    }
}
