//! What is below a path, by step: a sorted list, since most paths have few steps below them.

use super::set::FieldSet;
use crate::json::Str;

/// Sets by the step to them, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Steps(Vec<(Str, FieldSet)>);

impl Steps {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn position(&self, step: &str) -> Result<usize, usize> {
        // Sets are made and written in order.
        match self.0.last() {
            None => Err(0),
            Some((last, _)) if last.as_str() < step => Err(self.0.len()),
            Some(_) => self.0.binary_search_by(|(known, _)| known.as_str().cmp(step)),
        }
    }

    pub(super) fn get(&self, step: &str) -> Option<&FieldSet> {
        self.position(step).ok().map(|at| &self.0[at].1)
    }

    /// What is below a step, empty when there was nothing.
    pub(super) fn entry(&mut self, step: &Str) -> &mut FieldSet {
        let at = match self.position(step) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (step.clone(), FieldSet::default()));
                at
            }
        };
        &mut self.0[at].1
    }

    pub(super) fn set(&mut self, step: Str, set: FieldSet) {
        match self.position(&step) {
            Ok(at) => self.0[at].1 = set,
            Err(at) => self.0.insert(at, (step, set)),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &FieldSet> {
        self.0.iter().map(|(_, set)| set)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Str, &FieldSet)> {
        self.0.iter().map(|(step, set)| (step, set))
    }
}

impl<'s> IntoIterator for &'s Steps {
    type Item = (&'s Str, &'s FieldSet);
    type IntoIter = std::iter::Map<std::slice::Iter<'s, (Str, FieldSet)>, fn(&'s (Str, FieldSet)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(step, set)| (step, set))
    }
}

/// Of steps in their order.
impl FromIterator<(Str, FieldSet)> for Steps {
    fn from_iter<I: IntoIterator<Item = (Str, FieldSet)>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}
