//! One parameter of a MIME field, as it is kept: `mime` reads them, `continuations` joins them.

/// Octets kept of a parameter's name or value. File systems end at 255 characters, which RFC 2231 can write in 3,000.
pub const PARAMETER_BYTES_MAX: usize = 4_096;

/// A parameter, unquoted, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// As written; with a `*` behind it if the value had a charset (RFC 9051 §7.5.2).
    pub name: Vec<u8>,
    /// Without quotes and backslashes; UTF-8 if it had a charset.
    pub value: Vec<u8>,
}
