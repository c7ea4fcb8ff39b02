//! Paths between angle brackets (RFC 5321 §4.1.2): where they end, and what address is in them.
//!
//! Invariants: a quoted local part may hold `>` and spaces; a source route is checked, then dropped (§4.1.2, appendix C);
//! octets beyond ASCII only where SMTPUTF8 was agreed (RFC 6531 §3.3).
//! Not here: the address itself (`model::address`).

use crate::model::{AddrSpec, AddressError, Domain, ForwardPath, ReversePath};

/// What stands between `<` and `>`, uninterpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a>(&'a [u8]);

impl<'a> Path<'a> {
    /// Splits `<path> parameters`. `None`: no path, or something other than a space behind it.
    #[must_use]
    pub fn split(argument: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let inner = argument.strip_prefix(b"<")?;
        let end = end_of_path(inner)?;
        let rest = &inner[end + 1..];
        matches!(rest.first(), None | Some(b' ' | b'\t')).then_some((Self(&inner[..end]), rest))
    }

    /// Reads it as the argument of MAIL; `<>` is the null reverse-path.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn reverse(self, is_utf8: bool) -> Result<ReversePath, AddressError> {
        if self.0.is_empty() {
            return Ok(ReversePath(None));
        }
        self.address(is_utf8).map(|address| ReversePath(Some(address)))
    }

    /// Reads it as the argument of RCPT; `<postmaster>` needs no domain (RFC 5321 §4.5.1).
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn forward(self, is_utf8: bool) -> Result<ForwardPath, AddressError> {
        if self.0.eq_ignore_ascii_case(b"postmaster") {
            return Ok(ForwardPath::Postmaster);
        }
        self.address(is_utf8).map(ForwardPath::Address)
    }

    fn address(self, is_utf8: bool) -> Result<AddrSpec, AddressError> {
        if !is_utf8 && !self.0.is_ascii() {
            return Err(AddressError::NeedsUtf8);
        }
        let text = std::str::from_utf8(self.0).map_err(|_| AddressError::NeedsUtf8)?;
        AddrSpec::parse(without_route(text)?)
    }
}

/// Where the closing `>` stands, looking over quoted strings.
fn end_of_path(inner: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    let mut at = 0;
    while at < inner.len() {
        match inner[at] {
            b'"' => is_quoted = !is_quoted,
            b'\\' if is_quoted => at += 1,
            b'>' if !is_quoted => return Some(at),
            b'<' | b' ' if !is_quoted => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Drops `@a.example,@b.example:` from the front.
fn without_route(text: &str) -> Result<&str, AddressError> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let (route, rest) = text.split_once(':').ok_or(AddressError::Syntax)?;
    for hop in route.split(',') {
        Domain::new(hop.strip_prefix('@').ok_or(AddressError::Syntax)?)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(argument: &str) -> Option<Result<String, AddressError>> {
        let (path, _) = Path::split(argument.as_bytes())?;
        Some(path.forward(false).map(|path| match path {
            ForwardPath::Address(address) => address.to_string(),
            ForwardPath::Postmaster => "postmaster".to_owned(),
        }))
    }

    #[test]
    fn paths_end_at_their_bracket() {
        assert_eq!(forward("<a@x.test> FOO"), Some(Ok("a@x.test".into())));
        assert_eq!(forward(r#"<"a> b"@x.test>"#), Some(Ok(r#""a> b"@x.test"#.into())));
        assert_eq!(forward(r#"<"a\">"@x.test>"#), Some(Ok(r#""a\">"@x.test"#.into())));
        assert_eq!(forward("<a@x.test>x"), None);
        assert_eq!(forward("<a@x.test"), None);
        assert_eq!(forward("a@x.test"), None);
        assert_eq!(forward("<a b@x.test>"), None);
    }

    #[test]
    fn source_routes_are_dropped_and_postmaster_stands_alone() {
        assert_eq!(forward("<@a.test,@b.test:u@x.test>"), Some(Ok("u@x.test".into())));
        assert_eq!(
            forward("<@a.test,b.test:u@x.test>"),
            Some(Err(AddressError::Syntax))
        );
        assert_eq!(forward("<@a.test>"), Some(Err(AddressError::Syntax)));
        assert_eq!(forward("<PostMaster>"), Some(Ok("postmaster".into())));
        assert_eq!(forward("<>"), Some(Err(AddressError::Syntax)));
        assert_eq!(forward("<ü@x.test>"), Some(Err(AddressError::NeedsUtf8)));
    }

    #[test]
    fn utf8_needs_to_be_agreed_and_valid() {
        let (path, _) = Path::split("<ü@x.test>".as_bytes()).expect("a path");
        assert!(path.reverse(true).is_ok());
        assert_eq!(path.reverse(false), Err(AddressError::NeedsUtf8));
        let (path, _) = Path::split(b"<\xff@x.test>").expect("a path");
        assert_eq!(path.reverse(true), Err(AddressError::NeedsUtf8));
    }
}
