//! What is known of every node, and which one is the best choice by that. Pure.

use super::Standing;

/// Where statements go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// To the node with this place in the list.
    Node(usize),
    /// There is none, but one may take over in a moment.
    Gap,
    /// There is none, and none was found in time.
    Out,
}

/// The standings of all nodes.
#[derive(Debug)]
pub(crate) struct Board {
    nodes: Vec<Known>,
    current: Option<usize>,
    /// The last one that was current.
    last: Option<usize>,
    newest_term: u32,
}

#[derive(Debug, Default)]
struct Known {
    standing: Option<Standing>,
    /// How often in a row it was found to take writes.
    good: u32,
}

/// A node that returns is preferred again when it was found to be good this often in a row.
const STEADY: u32 = 5;

impl Board {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes: (0..nodes).map(|_| Known::default()).collect(),
            current: None,
            last: None,
            newest_term: 0,
        }
    }

    pub(crate) fn standings(&self) -> impl Iterator<Item = Option<&Standing>> {
        self.nodes.iter().map(|known| known.standing.as_ref())
    }

    pub(crate) fn is_unfit(&self, index: usize) -> bool {
        let standing = self.nodes.get(index).and_then(|known| known.standing.as_ref());
        matches!(standing, Some(Standing::Unfit(_)))
    }

    /// The last node that was to be used.
    pub(crate) fn last(&self) -> Option<usize> {
        self.last
    }

    /// Takes note of a node, and says which one is to be used.
    pub(crate) fn note(&mut self, index: usize, standing: Standing) -> Option<usize> {
        let Some(known) = self.nodes.get_mut(index) else { return self.current };
        match &standing {
            Standing::Writable { term, .. } => {
                known.good = known.good.saturating_add(1);
                self.newest_term = self.newest_term.max(*term);
            }
            Standing::Standby | Standing::Unfit(_) => known.good = 0,
        }
        known.standing = Some(standing);
        self.current = self.best();
        self.last = self.current.or(self.last);
        self.current
    }

    /// The first of the list that takes writes and is not busy. The one in use stays in use until a better one is
    /// steady.
    fn best(&self) -> Option<usize> {
        let fit = |index: usize| match self.nodes.get(index)?.standing {
            Some(Standing::Writable { term, is_busy }) if term == self.newest_term => Some(is_busy),
            Some(Standing::Writable { .. } | Standing::Standby | Standing::Unfit(_)) | None => None,
        };
        let is_steady = |index: usize| self.nodes.get(index).is_some_and(|known| known.good >= STEADY);
        let candidates = (0..self.nodes.len()).filter_map(|index| Some((fit(index)?, index)));
        let (is_busy, first) = candidates.min()?;
        match self.current.and_then(|current| Some((fit(current)?, current))) {
            Some((current_is_busy, current)) if current_is_busy == is_busy && !is_steady(first) => {
                Some(current)
            }
            Some(_) | None => Some(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Standing = Standing::Writable { term: 1, is_busy: false };

    fn bad() -> Standing {
        Standing::Unfit("gone".to_owned())
    }

    #[test]
    fn the_first_that_takes_writes_is_used() {
        let mut board = Board::new(3);
        assert_eq!(board.note(0, bad()), None);
        assert_eq!(board.note(2, GOOD), Some(2));
        assert!(board.is_unfit(0) && !board.is_unfit(1) && !board.is_unfit(2));
        assert_eq!(board.note(2, bad()), None);
        assert_eq!(board.note(1, GOOD), Some(1));
    }

    #[test]
    fn a_node_that_returns_has_to_be_steady() {
        let mut board = Board::new(2);
        board.note(0, GOOD);
        board.note(1, GOOD);
        assert_eq!(board.note(0, bad()), Some(1));
        for _ in 1..STEADY {
            assert_eq!(board.note(0, GOOD), Some(1));
        }
        assert_eq!(board.note(0, GOOD), Some(0));
        // It need not be for a node that is gone.
        board.note(0, bad());
        board.note(0, GOOD);
        assert_eq!(board.note(1, bad()), Some(0));
    }

    #[test]
    fn a_primary_of_an_older_term_is_never_used_again() {
        let mut board = Board::new(2);
        assert_eq!(board.note(0, GOOD), Some(0));
        assert_eq!(board.note(1, Standing::Writable { term: 2, is_busy: false }), Some(1));
        for _ in 0..=STEADY {
            assert_eq!(board.note(0, GOOD), Some(1));
        }
        assert_eq!(board.note(1, bad()), None, "what it has would be lost");
        assert_eq!(board.note(0, Standing::Writable { term: 3, is_busy: false }), Some(0));
    }

    #[test]
    fn a_busy_node_is_the_last_resort() {
        let mut board = Board::new(2);
        let busy = Standing::Writable { term: 1, is_busy: true };
        assert_eq!(board.note(0, busy.clone()), Some(0));
        assert_eq!(board.note(1, GOOD), Some(1));
        assert_eq!(board.note(1, busy), Some(1), "nothing is gained by moving");
    }
}
