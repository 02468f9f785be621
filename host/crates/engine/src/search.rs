//! Which rows of a slice fail by themselves: it is run again whole, then by halves.

use std::ops::Range;
use std::time::{Duration, Instant};

/// After so many runs, and so much time, the search shows as something that the pipeline waits for. It goes on: no row
/// is given up for another one's fault.
const MANY_RUNS: u32 = 32;
const LONG: Duration = Duration::from_secs(2);

/// What of a slice is yet to be run, in the order of its rows.
pub(crate) struct Search {
    todo: Vec<Piece>,
    runs: u32,
    began: Instant,
}

/// Rows that are run together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Which.
    pub rows: Range<usize>,
    /// They failed before, alone or with others.
    pub again: bool,
    /// They are a part of the slice.
    pub is_part: bool,
}

impl Search {
    /// Begins with the whole slice.
    pub fn of(slice: Range<usize>) -> Self {
        let todo = vec![Piece { rows: slice, again: false, is_part: false }];
        Self { todo, runs: 0, began: Instant::now() }
    }

    /// What is run next. `None`: every row has gone well or was given up.
    pub fn next(&mut self) -> Option<Piece> {
        self.runs += 1;
        self.todo.pop()
    }

    /// The same, where all rows are expected to fail: of what has failed already, only the first row.
    pub fn next_row(&mut self) -> Option<Piece> {
        let piece = self.next()?;
        if piece.rows.len() == 1 || !piece.again {
            return Some(piece);
        }
        let Range { start, end } = piece.rows;
        self.todo.push(Piece { rows: start + 1..end, again: true, is_part: true });
        Some(Piece { rows: start..start + 1, again: true, is_part: true })
    }

    /// A piece has failed. `true`: it is one row, which fails by itself.
    pub fn failed(&mut self, piece: Piece) -> bool {
        let Piece { rows, again, is_part } = piece;
        if !again {
            self.todo.push(Piece { rows, again: true, is_part });
        } else if rows.len() > 1 {
            let middle = rows.start + rows.len() / 2;
            self.todo.push(Piece { rows: middle..rows.end, again, is_part: true });
            self.todo.push(Piece { rows: rows.start..middle, again, is_part: true });
        } else {
            return true;
        }
        false
    }

    /// Whether somebody should be told that it goes on for long.
    pub fn is_long(&self) -> bool {
        self.runs > MANY_RUNS && self.began.elapsed() > LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_fail_by_themselves_are_found() {
        for bad in [vec![], vec![0], vec![9], vec![3, 4], (0..10).collect()] {
            let mut search = Search::of(0..10);
            let (mut went_well, mut found, mut runs) = (Vec::new(), Vec::new(), 0);
            while let Some(piece) = search.next() {
                runs += 1;
                assert_eq!(piece.is_part, piece.rows.len() < 10);
                if !piece.rows.clone().any(|row| bad.contains(&row)) {
                    went_well.extend(piece.rows);
                } else if search.failed(piece.clone()) {
                    found.extend(piece.rows);
                }
            }
            assert_eq!(found, bad);
            assert!(went_well.is_sorted() && went_well.len() + bad.len() == 10, "{went_well:?}");
            assert!(runs <= 20, "{runs}");
        }
    }
    #[test]
    fn rows_are_run_by_themselves_where_all_are_expected_to_fail_and_together_again_after_one_that_does_not()
    {
        let bad = 2..60;
        let mut search = Search::of(0..500);
        let (mut went_well, mut found, mut runs, mut streak) = (0, Vec::new(), 0, 0);
        while let Some(piece) = if streak < 20 { search.next() } else { search.next_row() } {
            runs += 1;
            let rows = piece.rows.clone();
            if rows.clone().all(|row| !bad.contains(&row)) {
                assert!(rows.start == went_well + found.len(), "in order");
                (went_well, streak) = (went_well + rows.len(), 0);
            } else {
                streak += 1;
                if search.failed(piece) {
                    found.extend(rows);
                }
            }
        }
        assert!(found.into_iter().eq(bad) && went_well == 442);
        // By halves alone it takes two runs for each of these rows.
        assert!(runs < 100, "{runs}");
    }
}
