//! Value columns.
