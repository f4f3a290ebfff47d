//! Request ids: slot, generation and try within 31 bits, so that a reply finds who waits for it without a search, and tells which
//! try it answers.
//!
//! ```text
//!  30           17 16            3 2   0
//! +---------------+---------------+-----+
//! | generation 14 | slot 14       | try |
//! +---------------+---------------+-----+
//! ```

/// A request id, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    /// Which use of the slot; 1 to [`Id::GENERATION_MAX`], so that ids are never small.
    pub(crate) generation: u16,
    pub(crate) slot: u32,
    /// From 0.
    pub(crate) attempt: u8,
}

impl Id {
    pub(crate) const SLOTS_MAX: usize = 1 << 14;
    pub(crate) const GENERATION_MAX: u16 = 0x3fff;
    pub(crate) const TRIES_MAX: u8 = 8;

    pub(crate) const fn number(self) -> i32 {
        (self.generation as i32) << 17 | (self.slot as i32) << 3 | self.attempt as i32
    }

    /// None for what was never given out.
    pub(crate) const fn read(number: i32) -> Option<Self> {
        if number < 1 << 17 {
            return None;
        }
        let generation = (number >> 17) as u16;
        Some(Self { generation, slot: (number as u32 >> 3) & 0x3fff, attempt: (number & 7) as u8 })
    }

    /// The generation after this one.
    pub(crate) const fn after(generation: u16) -> u16 {
        generation % Self::GENERATION_MAX + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_generation_comes_back_after_16383() {
        let mut generation = 1;
        for _ in 0..Id::GENERATION_MAX - 1 {
            generation = Id::after(generation);
            assert!(generation > 1);
        }
        assert_eq!(Id::after(generation), 1);
        assert_eq!((Id::read(-1), Id::read(0x1ffff)), (None, None));
    }

    proptest! {
        #[test]
        fn ids_return_as_they_were_made(generation in 1..=Id::GENERATION_MAX, slot in 0..1u32 << 14, attempt in 0..Id::TRIES_MAX) {
            let id = Id { generation, slot, attempt };
            prop_assert!(id.number() > 0x1ffff);
            prop_assert_eq!(Id::read(id.number()), Some(id));
        }
    }
}
