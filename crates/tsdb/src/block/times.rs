//! Time columns.
