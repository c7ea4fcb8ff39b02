//! What a column means, for everybody who reads rows.
//!
//! Failure: a value that this program cannot have written (somebody edited the file) is an error, never a guess.

use crate::model::{AddrSpec, Protocols};
use rusqlite::types::Type;
use rusqlite::{Result, Row};

/// A row cannot mean anything.
pub fn broken(column: usize, why: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.to_string().into())
}

/// An address in a column.
pub fn address_in(row: &Row<'_>, column: usize) -> Result<AddrSpec> {
    AddrSpec::parse(row.get_ref(column)?.as_str()?).map_err(|e| broken(column, e))
}

/// Protocols in a column.
pub fn protocols_in(row: &Row<'_>, column: usize) -> Result<Protocols> {
    Protocols::parse(row.get_ref(column)?.as_str()?).map_err(|e| broken(column, e))
}

/// SQLite's integers have a sign; ids and quotas have none and are written as they are.
pub fn unsigned(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value
        .map(|value| u64::try_from(value).map_err(|e| broken(column, e)))
        .transpose()
}
