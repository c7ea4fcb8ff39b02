//! What a full mailbox means for a message: who is refused, and who gets a copy beyond the quota.
//!
//! The rule: a quota refuses mail where the refusal is about that account alone: a recipient at RCPT (asked with what is known
//! of the size, see `session::smtp::admit`), the end of data of a mail transaction that reaches one account in all, and over
//! LMTP the reply of a forward-path that leads to one account. Everywhere else, that is among the accounts of one reply, a copy is
//! taken although its account has no room, because nothing else is right: to refuse all of them keeps the message from the
//! others for as long as its sender tries; to refuse after some have a copy gives them one more at each try; to leave one out
//! loses mail that was acknowledged. Only if none of them has room is it refused. What no empty mailbox of theirs would hold
//! is refused for good.
//! Invariants: within a reply all accounts get the message or none does; what an account can be refused for alone is exact
//! however much comes at once, because the store checks it again. Every copy beyond a quota is counted and said in the log by
//! the store, and its owner is warned as with any other (`warnings`).
//! LIMITATION: a mailbox can so come to hold more than its quota, by mail that reaches several accounts. With delivery status
//! notifications of our own (RFC 3464), which nothing here writes yet, the message could be taken for all, and be sent back
//! for those who are full.

use super::accept::{AcceptedMessage, copy_bytes};
use super::router::Router;
use crate::store::{CommitReceipt, Environment, StoreError};
use smallvec::SmallVec;

/// The accounts that one reply is about: indexes of the message's recipients. A recipient may be in several.
pub type Concerned = SmallVec<[usize; 1]>;

type Outcome = Result<CommitReceipt, StoreError>;

impl<E: Environment> Router<E> {
    /// Commits a message to all its recipients, for whom there is one reply. Durable on return; an error means that nobody got
    /// it.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] and [`StoreError::BeyondQuota`] as the rule above has it; others of the store; a core that has
    /// gone counts as a failed log.
    pub async fn accept_for_one_reply(&self, mut message: AcceptedMessage) -> Outcome {
        if message.recipients.len() > 1 {
            let all: Concerned = (0..message.recipients.len()).collect();
            self.check_any_room(&message, &all).await?;
            for recipient in &mut message.recipients {
                recipient.may_exceed_quota = true;
            }
        }
        self.accept(message).await
    }

    /// Commits a message for each of `replies` that takes it, and has one outcome for each, in order. Durable on return for
    /// those with a receipt; with an error the accounts of that reply got nothing, unless they are in another's too.
    pub async fn accept_for_replies(
        &self,
        mut message: AcceptedMessage,
        replies: &[Concerned],
    ) -> Vec<Outcome> {
        let refusals = self.refusals(&message, replies).await;
        let mut is_wanted = vec![false; message.recipients.len()];
        let taken = replies
            .iter()
            .zip(&refusals)
            .filter(|(_, refusal)| refusal.is_none());
        for (reply, _) in taken {
            for at in reply {
                is_wanted[*at] = true;
                message.recipients[*at].may_exceed_quota |= reply.len() > 1;
            }
        }
        let mut wanted = is_wanted.iter();
        message.recipients.retain(|_| wanted.next().is_some_and(|is| *is));
        let mut outcomes = self.accept_each(message).await.into_iter();
        let of_recipients: Vec<Option<Outcome>> = is_wanted
            .into_iter()
            .map(|is_wanted| is_wanted.then(|| outcomes.next()).flatten())
            .collect();
        let outcome_of = |(reply, refusal): (&Concerned, Option<StoreError>)| match refusal {
            Some(refusal) => Err(refusal),
            None => outcome_of_all(reply.iter().map(|at| of_recipients[*at].as_ref())),
        };
        replies.iter().zip(refusals).map(outcome_of).collect()
    }

    /// Why a reply can be no receipt whatever the others are. One account alone is left to the commit, which is exact.
    async fn refusals(&self, message: &AcceptedMessage, replies: &[Concerned]) -> Vec<Option<StoreError>> {
        let mut refusals = Vec::with_capacity(replies.len());
        for reply in replies {
            refusals.push(match reply.len() {
                1 => None,
                _ => self.check_any_room(message, reply).await.err(),
            });
        }
        refusals
    }

    /// Whether any of these recipients has room.
    async fn check_any_room(
        &self,
        message: &AcceptedMessage,
        concerned: &Concerned,
    ) -> Result<(), StoreError> {
        let mut refusal = StoreError::BeyondQuota;
        for at in concerned {
            let recipient = &message.recipients[*at];
            let bytes = copy_bytes(message, recipient);
            match self.check_room(&recipient.account, bytes).await {
                Ok(()) => return Ok(()),
                // There is room for it once somebody has tidied up.
                Err(StoreError::OverQuota) => refusal = StoreError::OverQuota,
                Err(StoreError::BeyondQuota) => {}
                Err(error) => return Err(error),
            }
        }
        Err(refusal)
    }
}

/// A receipt when all have one. It is the last one's: they are the same but for a message that had to be committed in parts.
fn outcome_of_all<'a>(outcomes: impl Iterator<Item = Option<&'a Outcome>>) -> Outcome {
    let nobody = || Err(StoreError::Failed("a recipient without an outcome".into()));
    let mut all = nobody();
    for outcome in outcomes {
        all = outcome.cloned().unwrap_or_else(nobody);
        if all.is_err() {
            break;
        }
    }
    all
}
