//! Which of a tree's values an asker may see: runs of places, sorted and apart.

use std::ops::Range;

use snmp::Oid;

use crate::tree::Tree;

#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    runs: Vec<Range<usize>>,
}

impl View {
    /// Everything under any of these names; of no names, everything.
    pub(crate) fn of(tree: &Tree, under: &[Oid]) -> Self {
        if under.is_empty() {
            let whole = 0..tree.len();
            return Self { runs: vec![whole] };
        }
        let mut runs: Vec<_> = under.iter().map(|name| tree.under(name.view())).collect();
        runs.retain(|run| !run.is_empty());
        runs.sort_by_key(|run| (run.start, run.end));
        let mut apart: Vec<Range<usize>> = Vec::with_capacity(runs.len());
        for run in runs {
            match apart.last_mut() {
                Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                _ => apart.push(run),
            }
        }
        Self { runs: apart }
    }

    /// The same without the places for which `gone` is true.
    pub(crate) fn without(&self, gone: impl Fn(usize) -> bool) -> Self {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for at in self.runs.iter().cloned().flatten().filter(|&at| !gone(at)) {
            match runs.last_mut() {
                Some(last) if last.end == at => last.end += 1,
                _ => runs.push(at..at + 1),
            }
        }
        Self { runs }
    }

    /// The first visible place from this one on.
    pub(crate) fn from(&self, at: usize) -> Option<usize> {
        let run = match self.runs.as_slice() {
            [only] => only,
            runs => runs.get(runs.partition_point(|run| run.end <= at))?,
        };
        Some(at.max(run.start)).filter(|at| *at < run.end)
    }

    pub(crate) fn holds(&self, at: usize) -> bool {
        self.from(at) == Some(at)
    }

    /// The last visible place before this one.
    pub(crate) fn before(&self, at: usize) -> Option<usize> {
        let runs = &self.runs[..self.runs.partition_point(|run| run.start < at)];
        runs.last().map(|run| at.min(run.end) - 1)
    }
}

#[cfg(test)]
mod tests {
    use crate::recording::Recording;
    use snmp::Datum;

    use super::*;

    #[test]
    fn places_outside_the_view_are_passed_over() {
        let name = |arc| Oid::from_arcs(&[1, 3, arc, 1]).expect("good");
        let recording: Recording = (0..10).map(|arc| (name(arc), Datum::Null)).collect();
        let tree = Tree::still(&recording).expect("small");
        let under = |arcs: &[u32]| {
            let names: Vec<_> = arcs.iter().map(|&arc| Oid::from_arcs(&[1, 3, arc]).expect("good")).collect();
            View::of(&tree, &names)
        };
        let view = under(&[7, 3, 4, 20]);
        let seen: Vec<_> = (0..10).filter(|&at| view.holds(at)).collect();
        assert_eq!(seen, [3, 4, 7]);
        assert_eq!((view.from(0), view.from(5), view.from(8)), (Some(3), Some(7), None));
        assert_eq!((view.before(3), view.before(7), view.before(10)), (None, Some(4), Some(7)));
        assert_eq!(under(&[20]).from(0), None);
        let all = View::of(&tree, &[]).without(|at| at % 2 == 0);
        assert_eq!((all.from(0), all.from(2), all.from(9), all.from(10)), (Some(1), Some(3), Some(9), None));
    }
}
