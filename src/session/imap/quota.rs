//! GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208 §4.1).
//!
//! An account is one quota root, named "". Its limits of octets and messages are the directory's; that of mailboxes is the
//! store's, the same for all. SETQUOTA changes what the directory has, for an account that is an admin of the site or of its
//! domain: for anybody else a quota is what others have set.
//! Failure: `NO [NOPERM]` without that right, `NO [CANNOT]` for limits that cannot be had here, and where another directory has
//! the accounts; nothing has changed then.

use super::state::{Answered, Session, Stop, no};
use super::{QuotaRefusal, Services};
use crate::model::{MailboxName, Quota};
use crate::proto::imap::encode::mailbox::{Resource, push_quota_line, push_quota_root_line};
use crate::proto::imap::{Code, Completion};
use crate::store::MAILBOXES_MAX;
use smallvec::SmallVec;
use std::sync::Arc;

/// The name of an account's only quota root.
const QUOTA_ROOT: &str = "";

/// Largest limit that the directory keeps, octets or messages: what a signed integer of SQL holds.
const LIMIT_MAX: u64 = i64::MAX as u64;

impl<S: Services> Session<S> {
    fn push_quota(&self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let (bytes, messages, mailboxes) =
            self.with_account(|account| (account.bytes_used, account.messages(), account.names.len()))?;
        let storage = self
            .owner
            .account
            .quota_bytes
            .map(|limit| Resource::storage(bytes, limit));
        let messages = self.owner.account.quota_messages.map(|limit| Resource {
            name: "MESSAGE",
            used: messages,
            limit,
        });
        let mailboxes = Resource {
            name: "MAILBOX",
            used: mailboxes as u64,
            limit: MAILBOXES_MAX as u64,
        };
        let resources: SmallVec<[Resource; 3]> =
            storage.into_iter().chain(messages).chain([mailboxes]).collect();
        push_quota_line(QUOTA_ROOT, &resources, out);
        Ok(())
    }

    pub fn quota(&self, root: &str, out: &mut Vec<u8>) -> Answered {
        known_root(root)?;
        self.push_quota(out)?;
        Ok(Completion::ok("GETQUOTA completed"))
    }

    pub fn quota_root(&self, given: &MailboxName, out: &mut Vec<u8>) -> Answered {
        // RFC 9208 §4.1.2: of a mailbox that is still to be made, too.
        let name = self.called(given)?;
        self.tell_name(given, &name, out)?;
        push_quota_root_line(self.name_in_response(given, &name), QUOTA_ROOT, self.names, out);
        self.push_quota(out)?;
        Ok(Completion::ok("GETQUOTAROOT completed"))
    }

    /// Limits that are not named are lifted (RFC 9208 §4.1.3), but for that of mailboxes.
    pub async fn set_quota(&mut self, root: &str, limits: &[(String, u64)], out: &mut Vec<u8>) -> Answered {
        known_root(root)?;
        let quota = quota_of(limits).map_err(|text| no(Code::Cannot, text))?;
        let services = self.services.clone();
        let set = services.set_quota(&self.owner.account, quota).await;
        set.map_err(|refusal| match refusal {
            QuotaRefusal::NoPermission => no(Code::NoPerm, "Only admins set quotas"),
            QuotaRefusal::Elsewhere => no(
                Code::Cannot,
                "Quotas are kept in a directory that is looked after elsewhere",
            ),
            QuotaRefusal::Unavailable => no(
                Code::Unavailable,
                "The directory does not answer, try again later",
            ),
        })?;
        let account = Arc::make_mut(&mut self.owner.account);
        account.quota_bytes = quota.bytes;
        account.quota_messages = quota.messages;
        self.push_quota(out)?;
        Ok(Completion::ok("SETQUOTA completed"))
    }
}

fn known_root(root: &str) -> Result<(), Stop> {
    if root == QUOTA_ROOT {
        return Ok(());
    }
    Err(no(Code::NonExistent, "No such quota root").into())
}

/// The limits that SETQUOTA asks for, in octets and messages.
fn quota_of(limits: &[(String, u64)]) -> Result<Quota, &'static str> {
    let mut quota = Quota::NONE;
    for (resource, limit) in limits {
        match resource.as_str() {
            // RFC 9208 §5.1: in KiB.
            "STORAGE" => quota.bytes = Some(kept_limit(limit.checked_mul(1024))?),
            "MESSAGE" => quota.messages = Some(kept_limit(Some(*limit))?),
            // Whoever sends back what was shown changes nothing.
            "MAILBOX" if *limit == MAILBOXES_MAX as u64 => {}
            "MAILBOX" => return Err("The limit of mailboxes is the same for all accounts"),
            _ => return Err("No such resource here"),
        }
    }
    Ok(quota)
}

/// The directory writes 0 for no limit at all.
fn kept_limit(limit: Option<u64>) -> Result<u64, &'static str> {
    limit
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or("A limit is at least 1 and below 2^63 octets or messages")
}
