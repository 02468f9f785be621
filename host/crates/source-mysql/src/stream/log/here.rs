//! Where the log is read.

use crate::position::Place;

/// A place in the log's files.
#[derive(Debug, Clone, Default)]
pub(super) struct Here {
    pub file: String,
    pub pos: u64,
    /// See [`Place::begun`].
    pub begun: u32,
}

impl Here {
    pub fn of(place: &Place) -> Self {
        Self { file: place.file.clone(), pos: place.pos, begun: place.begun }
    }

    /// Goes to the end of an event, of which its header has the low 32 bits. Events follow each other, so what is above those
    /// is known; behind a gap, which servers leave where everything was read before, they are taken to be the same.
    pub fn advance(&mut self, next_pos: u32, size: u32) {
        let follows = next_pos.wrapping_sub(size) == self.pos as u32;
        self.pos = match follows {
            true => self.pos + u64::from(size),
            false => self.pos & !u64::from(u32::MAX) | u64::from(next_pos),
        };
    }

    pub fn write(&self, place: &mut Place) {
        place.file.clone_from(&self.file);
        (place.pos, place.begun) = (self.pos, self.begun);
    }
}

#[cfg(test)]
mod tests {
    use super::Here;

    #[test]
    fn a_place_beyond_4_gib_is_followed() {
        let mut here = Here { pos: (1 << 32) - 100, ..Here::default() };
        for (next_pos, size, pos) in [
            (u32::MAX - 9, 90, (1u64 << 32) - 10),
            (30, 40, (1 << 32) + 30),
            (130, 100, (1 << 32) + 130),
            // A gap.
            (5_000, 100, (1 << 32) + 5_000),
        ] {
            here.advance(next_pos, size);
            assert_eq!(here.pos, pos);
        }
    }
}
