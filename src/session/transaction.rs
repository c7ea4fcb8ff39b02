//! The mail transaction under way: its recipients, and its body as it comes.
//!
//! Limits: [`HOPS_MAX`], [`ACCOUNTS_MAX`]; the memory of the peer's network (`node::connections`).
//! Failure: what kept the body from being stored is remembered, and answered at the end of data.

use super::head::Head;
use crate::directory::Targets;
use crate::model::{Account, AddrSpec, Envelope, ForwardPath};
use crate::node::NodeEnvironment;
use crate::node::connections::{MessageMemory, Share};
use crate::proto::message::trace::{self, Hops};
use crate::proto::smtp::reply::{BeginRefusal, CommitRefusal, RecipientRefusal};
use crate::proto::smtp::{RecipientVerdict, Role};
use crate::store::{BODY_IN_MEMORY_BYTES_MAX, BodyWriter, StoreError};
use bytes::Bytes;
use smallvec::SmallVec;
use std::rc::Rc;

/// Received fields a message may bring along. RFC 5321 §6.3 asks for at least 100.
pub const HOPS_MAX: usize = 100;

/// The recipients and the body of the mail transaction under way.
pub(super) struct Transaction {
    /// Who gets it: one entry for each accepted forward-path, in order.
    pub(super) targets: SmallVec<[Targets; 1]>,
    pub(super) body: Option<BodyWriter<NodeEnvironment>>,
    pub(super) head: Head,
    /// Taken while the body comes, and kept until the commit is over.
    pub(super) memory: Option<MessageMemory>,
    pub(super) failure: Option<CommitRefusal>,
}

/// Accounts that one mail transaction may reach by all its aliases. More is a list for a list server.
pub const ACCOUNTS_MAX: usize = 10_000;

/// The accounts of an accepted forward-path; `None` when the message says that it was delivered there before.
pub(super) type Target = Option<Targets>;

impl Transaction {
    pub(super) fn new() -> Self {
        Self {
            targets: SmallVec::new(),
            body: None,
            head: Head::default(),
            memory: None,
            failure: None,
        }
    }

    /// Accepts a forward-path that leads to these accounts.
    pub(super) fn add(&mut self, targets: Targets) -> RecipientVerdict {
        let before: usize = self.targets.iter().map(|targets| targets.len()).sum();
        if before + targets.len() > ACCOUNTS_MAX {
            return Err(RecipientRefusal::Full);
        }
        self.targets.push(targets);
        Ok(())
    }

    /// The way the message has gone, or what is wrong with it whoever it is for.
    pub(super) fn check(&self, role: Role) -> Result<Hops, CommitRefusal> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        // Behind what is looked at there may be another From, which readers would show.
        if role == Role::Submission && self.head.is_cut() {
            return Err(CommitRefusal::Rejected {
                status: (6, 0),
                text: "The header is too long".into(),
            });
        }
        let hops = trace::hops(self.head.bytes());
        if hops.received > HOPS_MAX {
            return Err(CommitRefusal::Loop);
        }
        // This site's own MTAs have taken the message from somebody already: it is too late to refuse it.
        if hops.from > 1 && role != Role::Lmtp {
            return Err(CommitRefusal::ManyFrom);
        }
        Ok(hops)
    }

    pub(super) fn drop_body(&mut self) {
        self.body = None;
        self.head = Head::default();
        self.memory = None;
    }

    pub(super) fn fail(&mut self, failure: CommitRefusal) {
        self.drop_body();
        self.failure.get_or_insert(failure);
    }

    /// Whether there is memory for `bytes` more. A long message is written while it comes and needs no more than the
    /// longest that is kept whole.
    pub(super) fn has_memory(&mut self, bytes: usize, share: Option<&Rc<Share>>) -> bool {
        let Some(share) = share.filter(|_| self.failure.is_none()) else {
            return true;
        };
        let before = self.body.as_ref().map_or(0, BodyWriter::len);
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        let all = before.saturating_add(bytes).min(BODY_IN_MEMORY_BYTES_MAX);
        self.memory
            .get_or_insert_with(|| share.message_memory())
            .grow_to(all)
    }

    pub(super) async fn push(&mut self, piece: Bytes, begin: impl FnOnce() -> BodyWriter<NodeEnvironment>) {
        if self.failure.is_some() {
            return;
        }
        self.head.push(&piece);
        if let Err(failure) = self.body.get_or_insert_with(begin).push(piece).await {
            self.fail(commit_refusal(&failure));
        }
    }
}

pub(super) fn targets(
    envelope: &Envelope,
    targets: SmallVec<[Targets; 1]>,
    hops: &Hops,
) -> SmallVec<[Target; 1]> {
    let target = |(mut accounts, path): (Targets, &ForwardPath)| {
        accounts.retain(|account| !hops.was_delivered_to(delivered_to(path, account)));
        (!accounts.is_empty()).then_some(accounts)
    };
    let paths = envelope.forward_paths.iter();
    targets.into_iter().zip(paths).map(target).collect()
}

/// What Delivered-To says: the address the peer used, or the account's own for a bare `<postmaster>`.
pub(super) fn delivered_to<'a>(path: &'a ForwardPath, account: &'a Account) -> &'a AddrSpec {
    match path {
        ForwardPath::Address(address) => address,
        ForwardPath::Postmaster => &account.address,
    }
}

pub(super) fn begin_refusal(error: StoreError) -> BeginRefusal {
    match error {
        StoreError::NoSpace(_) => BeginRefusal::NoSpace,
        _ => BeginRefusal::Failed,
    }
}

pub(super) fn commit_refusal(error: &StoreError) -> CommitRefusal {
    match error {
        StoreError::NoSpace(_) => CommitRefusal::NoSpace,
        StoreError::OverQuota => CommitRefusal::OverQuota,
        _ => CommitRefusal::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccountId;
    use std::sync::Arc;

    #[test]
    fn beyond_its_accounts_a_transaction_is_full_and_takes_what_still_fits() {
        let address = AddrSpec::parse("a@x.test").expect("an address");
        let account = Arc::new(Account::new(AccountId(1), address));
        let targets = |count| -> Targets { std::iter::repeat_n(account.clone(), count).collect() };
        let mut transaction = Transaction::new();
        assert_eq!(transaction.add(targets(ACCOUNTS_MAX - 1)), Ok(()));
        assert_eq!(transaction.add(targets(2)), Err(RecipientRefusal::Full));
        assert_eq!(transaction.add(targets(1)), Ok(()));
        assert_eq!(transaction.targets.len(), 2);
    }
}
