//! The mail transaction under way: its recipients, and its body as it comes.
//!
//! Limits: [`HOPS_MAX`], [`ACCOUNTS_MAX`], what one commit takes; the memory of the peer's network (`node::connections`).
//! Failure: what kept the body from being stored is remembered, and answered at the end of data.

use super::head::Head;
use crate::directory::{Targets, Verdict};
use crate::model::{Account, AddrSpec, ForwardPath};
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
    /// How many accounts these are.
    accounts: usize,
    /// What is kept for them besides the message, at most.
    octets: usize,
    pub(super) body: Option<BodyWriter<NodeEnvironment>>,
    pub(super) head: Head,
    /// Taken while the body comes, and kept until the commit is over.
    pub(super) memory: Option<MessageMemory>,
    pub(super) failure: Option<CommitRefusal>,
}

/// Accounts that one mail transaction may reach by all its aliases. More is a list for a list server.
pub const ACCOUNTS_MAX: usize = 10_000;

/// The accounts of an accepted forward-path, at least one; or why none of them gets the message.
pub(super) type Target = Result<Targets, CommitRefusal>;

impl Transaction {
    pub(super) fn new() -> Self {
        Self {
            targets: SmallVec::new(),
            accounts: 0,
            octets: 0,
            body: None,
            head: Head::default(),
            memory: None,
            failure: None,
        }
    }

    /// Accepts a forward-path that leads to these accounts, for each of which up to `octets` are kept besides the message.
    /// `is_one_record` says whether so many accounts with so many octets can be committed at once.
    pub(super) fn add(
        &mut self,
        targets: Targets,
        octets: usize,
        is_one_record: impl Fn(usize, usize) -> bool,
    ) -> RecipientVerdict {
        let accounts = self.accounts + targets.len();
        let octets = self.octets + targets.len() * octets;
        if accounts > ACCOUNTS_MAX || !is_one_record(accounts, octets) {
            return Err(RecipientRefusal::Full);
        }
        (self.accounts, self.octets) = (accounts, octets);
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

/// Where a forward-path that was accepted for `accounts` leads at the end of data.
pub(super) fn renewed(accounts: Targets, now: Verdict) -> Target {
    match now {
        Verdict::Local(targets) => Ok(targets),
        Verdict::UnknownUser | Verdict::NotLocal => Err(CommitRefusal::UnknownUser),
        // There is somebody, who was promised the message: it waits for the day that they are let in again.
        Verdict::Disabled | Verdict::Temporary => Ok(accounts),
    }
}

/// Those of `accounts` to whom the message does not say that it was delivered before.
pub(super) fn without_delivered(mut accounts: Targets, path: &ForwardPath, hops: &Hops) -> Target {
    accounts.retain(|account| !hops.was_delivered_to(delivered_to(path, account)));
    if accounts.is_empty() {
        return Err(CommitRefusal::DeliveredBefore);
    }
    Ok(accounts)
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
        StoreError::BeyondQuota => CommitRefusal::BeyondQuota,
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
        let mut add = |count| transaction.add(targets(count), 7, |_, _| true);
        assert_eq!(add(ACCOUNTS_MAX - 1), Ok(()));
        assert_eq!(add(2), Err(RecipientRefusal::Full));
        assert_eq!(add(1), Ok(()));
        assert_eq!(transaction.targets.len(), 2);
    }

    #[test]
    fn what_is_too_long_for_one_record_is_refused_while_recipients_come() {
        let mut transaction = Transaction::new();
        let mut add = |count, octets| {
            let targets = std::iter::repeat_n(account(1, "a@x.test"), count).collect();
            transaction.add(targets, octets, |accounts, octets| accounts * 10 + octets <= 100)
        };
        assert_eq!(add(2, 20), Ok(()));
        assert_eq!(add(2, 11), Err(RecipientRefusal::Full));
        assert_eq!(add(2, 10), Ok(()));
        assert_eq!(add(1, 0), Err(RecipientRefusal::Full));
    }

    fn account(id: u64, address: &str) -> Arc<Account> {
        let address = AddrSpec::parse(address).expect("an address");
        Arc::new(Account::new(AccountId(id), address))
    }

    fn one(id: u64) -> Targets {
        smallvec::smallvec![account(id, "a@x.test")]
    }

    #[test]
    fn who_has_gone_since_rcpt_gets_nothing_and_who_is_only_not_found_out_does() {
        let gone = Err(CommitRefusal::UnknownUser);
        assert_eq!(renewed(one(1), Verdict::UnknownUser), gone);
        assert_eq!(renewed(one(1), Verdict::NotLocal), gone);
        assert_eq!(renewed(one(1), Verdict::Local(one(2))), Ok(one(2)));
        assert_eq!(renewed(one(1), Verdict::Temporary), Ok(one(1)));
        assert_eq!(renewed(one(1), Verdict::Disabled), Ok(one(1)));
    }

    #[test]
    fn a_recipient_to_whom_it_was_delivered_before_is_told_apart_from_others() {
        let hops = trace::hops(b"Delivered-To: carol@x.test\r\nSubject: x\r\n\r\n");
        let path = |text| ForwardPath::Address(AddrSpec::parse(text).expect("an address"));
        let looping = without_delivered(one(1), &path("carol@x.test"), &hops);
        assert_eq!(looping, Err(CommitRefusal::DeliveredBefore));
        assert_eq!(without_delivered(one(1), &path("bob@x.test"), &hops), Ok(one(1)));
        // A bare <postmaster> is somebody's by their own address.
        let both = smallvec::smallvec![account(1, "carol@x.test"), account(2, "bob@x.test")];
        let left = without_delivered(both, &ForwardPath::Postmaster, &hops).expect("bob is left");
        assert_eq!(left[..], [account(2, "bob@x.test")]);
    }
}
