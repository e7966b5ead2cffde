//! The text form of Prometheus (exposition format 0.0.4).

use std::fmt::Write;

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
            let pairs: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
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
    use super::*;

    #[test]
    fn families_have_a_head_and_quoted_labels() {
        let mut text = Text::default();
        text.family("none", "gauge", "Nothing.", []);
        text.family("a_total", "counter", "All.", [(vec![("x", "a\"b\\c\n".to_owned())], 1.5), (Vec::new(), 2.0)]);
        let wanted = "# HELP a_total All.\n# TYPE a_total counter\na_total{x=\"a\\\"b\\\\c\\n\"} 1.5\na_total 2\n";
        assert_eq!(text.finish(), wanted);
    }
}
