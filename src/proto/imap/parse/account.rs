//! Commands on the connection and the account: ID, ENABLE, AUTHENTICATE, LOGIN, GETQUOTA, GETQUOTAROOT, SETQUOTA.
//!
//! Limits: [`ID_PAIRS_MAX`], [`ENABLED_MAX`], [`QUOTA_RESOURCES_MAX`].
//! Standards: RFC 2971, 5161, 4959, 9208, RFC 9051 §6.1–6.2.

use super::cursor::{Cursor, Parsed};
use super::{Fault, mailbox};
use crate::proto::imap::types::{CommandBody, Secret};

/// Most field-value pairs of ID (RFC 2971 §3.3).
pub const ID_PAIRS_MAX: usize = 30;

/// Most capabilities of one ENABLE: more than there are to enable.
pub const ENABLED_MAX: usize = 64;

/// Most resources of one SETQUOTA: four have names (RFC 9208 §5).
pub const QUOTA_RESOURCES_MAX: usize = 16;

pub(super) fn command(verb: &[u8], cursor: &mut Cursor<'_>) -> Option<Parsed<CommandBody>> {
    Some(match verb {
        b"ID" => id(cursor),
        b"ENABLE" => enable(cursor),
        b"AUTHENTICATE" => authenticate(cursor),
        b"LOGIN" => login(cursor),
        b"GETQUOTA" => get_quota(cursor),
        b"COMPRESS" => compress(cursor),
        b"GETMETADATA" => super::metadata::get_metadata(cursor),
        b"SETMETADATA" => super::metadata::set_metadata(cursor),
        b"NOTIFY" => super::notify::notify(cursor),
        b"SETQUOTA" => set_quota(cursor),
        b"GETQUOTAROOT" => mailbox::one(cursor).map(CommandBody::GetQuotaRoot),
        _ => return None,
    })
}

fn id(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    if cursor.peek() != Some(b'(') {
        return match cursor.nstring()? {
            None => Ok(CommandBody::Id(None)),
            Some(_) => Err(Fault::Expected("NIL or '('")),
        };
    }
    let mut pairs = Vec::new();
    cursor.list(ID_PAIRS_MAX, true, |cursor| {
        let field = cursor.string()?.into_owned();
        cursor.space()?;
        let value = cursor.nstring()?.map(|value| value.into_owned());
        pairs.push((field, value));
        Ok(())
    })?;
    Ok(CommandBody::Id(Some(pairs)))
}

fn enable(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mut capabilities = Vec::new();
    while !cursor.is_at_end() || capabilities.is_empty() {
        if capabilities.len() == ENABLED_MAX {
            return Err(Fault::Limit("too many capabilities"));
        }
        cursor.space()?;
        let name = cursor.atom("a capability")?;
        capabilities.push(String::from_utf8_lossy(name).into_owned());
    }
    Ok(CommandBody::Enable(capabilities))
}

fn authenticate(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let mechanism = String::from_utf8_lossy(cursor.atom("a mechanism")?).to_ascii_uppercase();
    let initial_response = if cursor.eat(b' ') {
        // Checked when it is decoded, with the responses that come on lines of their own.
        let response = cursor.run(|b| b.is_ascii_graphic());
        if response.is_empty() {
            return Err(Fault::Expected("an initial response"));
        }
        Some(response.to_vec())
    } else {
        None
    };
    Ok(CommandBody::Authenticate {
        mechanism,
        initial_response,
    })
}

fn login(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let login = cursor.astring()?.into_owned();
    cursor.space()?;
    let password = Secret(cursor.astring()?.into_owned());
    Ok(CommandBody::Login { login, password })
}

fn compress(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    match cursor.word("DEFLATE")?.bytes() {
        b"DEFLATE" => Ok(CommandBody::Compress),
        _ => Err(Fault::Expected("DEFLATE")),
    }
}

fn get_quota(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    quota_root(cursor).map(CommandBody::GetQuota)
}

fn set_quota(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let root = quota_root(cursor)?;
    cursor.space()?;
    let mut limits: Vec<(String, u64)> = Vec::new();
    cursor.list(QUOTA_RESOURCES_MAX, true, |cursor| {
        let name = String::from_utf8_lossy(cursor.atom("a resource")?).to_ascii_uppercase();
        cursor.space()?;
        let limit = cursor.number64()?;
        if limits.iter().any(|(other, _)| *other == name) {
            return Err(Fault::Expected("each resource once"));
        }
        limits.push((name, limit));
        Ok(())
    })?;
    Ok(CommandBody::SetQuota { root, limits })
}

fn quota_root(cursor: &mut Cursor<'_>) -> Parsed<String> {
    cursor.space()?;
    let root = cursor.astring()?.into_owned();
    String::from_utf8(root).map_err(|_| Fault::Expected("a quota root in UTF-8"))
}
