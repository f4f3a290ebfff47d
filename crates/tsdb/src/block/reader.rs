//! Reads a block file.
