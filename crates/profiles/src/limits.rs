//! Bounds on what a profile file, or a device, can bring.

/// Bytes of one profile file.
pub const FILE_BYTES_MAX: usize = 512 << 10;
/// Files in one set.
pub const FILES_MAX: usize = 1_000;
/// Profiles that one profile may be made of, itself included.
pub const PARTS_MAX: usize = 32;
/// Tables and groups of scalars of a profile.
pub const TABLES_MAX: usize = 128;
/// Columns of a table.
pub const COLUMNS_MAX: usize = 128;
/// Metrics of a table, states of a state set included.
pub const METRICS_MAX: usize = 512;
/// Joins, index parts, derived texts, encodings and labels of a table, each.
pub const NAMES_MAX: usize = 64;
/// Cases of an encoding.
pub const CASES_MAX: usize = 16;
/// Conditions in one list, and lists in one `any`.
pub const CONDITIONS_MAX: usize = 32;
/// Null markers of a column.
pub const NULLS_MAX: usize = 32;
/// Bytes of a regular expression.
pub const PATTERN_BYTES_MAX: usize = 512;
/// Bytes that a compiled regular expression may take.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 256 << 10;
/// Names in one enumeration.
pub const ENUM_NAMES_MAX: usize = 1_024;
/// Steps that a chain of joins and derived texts may take.
pub const CHAIN_MAX: u8 = 16;
/// Rows of a table, whatever its budget says.
pub const ROWS_MAX: u32 = 100_000;
/// Bytes kept of a text; the rest is cut.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Bytes of names, help texts and titles.
pub const NAME_BYTES_MAX: usize = 256;
/// Lines of a recording.
pub const RECORDING_LINES_MAX: usize = 500_000;
/// Trials in one file.
pub const TRIALS_MAX: usize = 64;
