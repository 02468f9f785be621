//! What a formatter makes.

/// Message bodies, one a row, in order.
#[derive(Debug, Default)]
pub struct Bodies {
    data: Vec<u8>,
    /// End of each body in `data`, and whether there is one.
    ends: Vec<(usize, bool)>,
    rejects: Vec<(usize, String)>,
    /// Where the bodies start in `data`.
    start: usize,
}

impl Bodies {
    /// Appends bodies behind the bytes that are in `data` already.
    pub fn over(data: Vec<u8>) -> Self {
        let start = data.len();
        Self { data, start, ..Self::default() }
    }

    /// Appends the next row's body: `write` appends its bytes to the buffer it is given.
    #[inline]
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.data);
        self.ends.push((self.data.len(), true));
    }

    /// The next row has a message without a body (a tombstone).
    pub fn push_absent(&mut self) {
        self.ends.push((self.data.len(), false));
    }

    /// The next row cannot be written.
    pub fn reject(&mut self, reason: impl Into<String>) {
        self.rejects.push((self.ends.len(), reason.into()));
        self.push_absent();
    }

    /// How many rows have been answered.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none has been.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A row's body; `None`: it has none.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let start = if row == 0 { self.start } else { self.ends.get(row - 1)?.0 };
        let (end, present) = *self.ends.get(row)?;
        present.then(|| &self.data[start..end])
    }

    /// Rows that cannot be written, with the reason.
    pub fn rejects(&self) -> &[(usize, String)] {
        &self.rejects
    }

    /// Takes it apart.
    pub fn into_parts(self) -> BodyParts {
        BodyParts { data: self.data, ends: self.ends, rejects: self.rejects }
    }
}

/// What [`Bodies`] hold.
#[derive(Debug, Default)]
pub struct BodyParts {
    /// The buffer: what was there before, and the bodies behind it.
    pub data: Vec<u8>,
    /// The end of each body in `data`, and whether there is one.
    pub ends: Vec<(usize, bool)>,
    /// Rows that cannot be written, with the reason.
    pub rejects: Vec<(usize, String)>,
}
