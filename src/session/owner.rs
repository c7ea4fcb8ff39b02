//! Who has logged in, and for how long that holds: an operator who disables, deletes or restricts an account means the
//! sessions that are open too.
//!
//! A session keeps, beside the account as the directory had it at the login, the directory's generation of that moment. Before it
//! goes on with what a client has sent it compares the two numbers, one atomic load; only where they differ, or where the
//! answer is older than the directory's answers are believed (one look at the clock), the login is looked up anew, in
//! the core's cache first. It is looked up by the name it was given, and the account's id must be the same: an address that
//! was given to another account opens nothing for whoever had it before.
//! What the look finds (quotas, what POP3 deletes) is what the session goes on with.
//! Invariants: whoever is not found, is disabled or may not use the protocol any more is told so and the connection ends, a
//! submitter's and a POP3 client's with their next octets, an IMAP client's with its next command or, while it only listens
//! (IDLE, NOTIFY), within [`IDLE_LOOK`]; what was begun before (a message that is coming) is finished.
//! Failure: a directory that does not answer ends nobody's session; it is asked again after [`RETRY_AFTER`].
//! LIMITATION: a changed password or a revoked app password ends no session: which one opened it is not kept. `account disable`
//! does.
//! Not here: what the client is told (each protocol).

use crate::auth::Authenticated;
use crate::directory::cache::RETRY_AFTER;
use crate::directory::{Directory, Unavailable};
use crate::model::{Account, ClientProtocol};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks of a session that only listens. Each has its own time, so that not all of them look at once.
pub const IDLE_LOOK: Duration = Duration::from_secs(60);

/// The owner of an account, on the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// As the directory had it at the last look.
    pub account: Arc<Account>,
    /// The name that was logged in by.
    login: Box<str>,
    protocol: ClientProtocol,
    /// The directory's at the last look.
    generation: u64,
    /// When the last look is too old.
    believed_until: Instant,
}

impl Owner {
    /// Whoever has proven to be it, while the directory was of `generation`.
    #[must_use]
    pub fn of(
        proof: &Authenticated,
        protocol: ClientProtocol,
        directory: &Directory,
        generation: u64,
    ) -> Self {
        Self {
            account: proof.account().clone(),
            login: proof.login().into(),
            protocol,
            generation,
            believed_until: Instant::now() + directory.believed_for(),
        }
    }

    /// An owner whom no directory has proven, for tests of sessions.
    #[cfg(test)]
    pub fn assumed(account: Account, protocol: ClientProtocol) -> Self {
        Self {
            login: account.address.to_string().into(),
            account: Arc::new(account),
            protocol,
            generation: 0,
            believed_until: Instant::now() + IDLE_LOOK,
        }
    }

    /// Whether a directory of `generation` may say something else at `now`.
    #[must_use]
    pub fn is_outdated(&self, generation: u64, now: Instant) -> bool {
        self.generation != generation || now >= self.believed_until
    }

    /// Looks the login up anew, if it may have changed. False: the session is over.
    pub async fn renew(&mut self, directory: &Directory) -> bool {
        let generation = directory.generation();
        let now = Instant::now();
        if !self.is_outdated(generation, now) {
            return true;
        }
        let found = directory.login(&self.login).await;
        let found = found.map(|record| record.map(|record| record.account.clone()));
        let believed_for = if found.is_ok() {
            directory.believed_for()
        } else {
            RETRY_AFTER
        };
        self.take(found, generation, now + believed_for)
    }

    /// Goes on with what was found. False: the session is over.
    pub fn take(
        &mut self,
        found: Result<Option<Arc<Account>>, Unavailable>,
        generation: u64,
        believed_until: Instant,
    ) -> bool {
        self.generation = generation;
        self.believed_until = believed_until;
        match found {
            Ok(Some(account)) if self.is_still(&account) => self.account = account,
            Ok(_) => return false,
            Err(Unavailable) => {}
        }
        true
    }

    fn is_still(&self, account: &Account) -> bool {
        account.id == self.account.id && account.is_enabled && account.protocols.allows(self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, AddrSpec, Protocols};

    fn account() -> Account {
        let address = AddrSpec::parse("bob@example.org").expect("an address");
        Account::new(AccountId(7), address)
    }

    fn owner() -> Owner {
        Owner::assumed(account(), ClientProtocol::Submission)
    }

    #[test]
    fn what_the_directory_says_now_decides() {
        let later = Instant::now() + IDLE_LOOK;
        let goes_on = |change: fn(&mut Account)| {
            let mut found = account();
            change(&mut found);
            owner().take(Ok(Some(Arc::new(found))), 1, later)
        };
        assert!(goes_on(|_| {}));
        assert!(goes_on(|account| account.quota_bytes = Some(1)));
        assert!(!goes_on(|account| account.is_enabled = false));
        assert!(!goes_on(
            |account| account.protocols = Protocols::NONE.with(ClientProtocol::Imap)
        ));
        assert!(
            !goes_on(|account| account.id = AccountId(8)),
            "the name of somebody else"
        );
        assert!(!owner().take(Ok(None), 1, later));
    }

    #[test]
    fn a_look_brings_what_has_changed_and_holds_for_its_time() {
        let (mut owner, now) = (owner(), Instant::now());
        assert!(!owner.is_outdated(0, now) && owner.is_outdated(1, now));
        let changed = Account {
            quota_messages: Some(3),
            ..account()
        };
        assert!(owner.take(Ok(Some(Arc::new(changed))), 1, now + IDLE_LOOK));
        assert_eq!(owner.account.quota_messages, Some(3));
        assert!(!owner.is_outdated(1, now) && owner.is_outdated(1, now + IDLE_LOOK));
    }

    #[test]
    fn a_directory_that_does_not_answer_ends_nobodys_session() {
        let (mut owner, now) = (owner(), Instant::now());
        assert!(owner.take(Err(Unavailable), 1, now + RETRY_AFTER));
        assert_eq!(*owner.account, account());
        assert!(!owner.is_outdated(1, now) && owner.is_outdated(1, now + RETRY_AFTER));
    }
}
