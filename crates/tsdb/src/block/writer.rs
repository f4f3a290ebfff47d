//! Writes a block file.
