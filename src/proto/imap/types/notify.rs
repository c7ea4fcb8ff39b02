//! What NOTIFY asks to be told of (RFC 5465).

use super::FetchItem;
use crate::model::MailboxName;
use std::borrow::Cow;

/// NOTIFY (RFC 5465 §3.1).
#[derive(Clone, Debug, PartialEq)]
pub enum Notify {
    None,
    Set(NotifySet),
}

/// NOTIFY SET.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifySet {
    /// STATUS responses of the mailboxes first.
    pub gives_status: bool,
    /// One at least; of the selected mailbox one at most.
    pub groups: Vec<EventGroup>,
}

/// Events of some mailboxes (RFC 5465 §8).
#[derive(Clone, Debug, PartialEq)]
pub struct EventGroup {
    pub filter: MailboxFilter,
    pub events: Events,
}

/// RFC 5465 §6.
#[derive(Clone, Debug, PartialEq)]
pub enum MailboxFilter {
    Selected,
    SelectedDelayed,
    Inboxes,
    Personal,
    Subscribed,
    Subtree(Vec<MailboxName>),
    /// The mailboxes and their direct children (RFC 7377 §2.2).
    SubtreeOne(Vec<MailboxName>),
    Mailboxes(Vec<MailboxName>),
}

impl MailboxFilter {
    /// Brings the names in it into NFC, as [`Self::takes`] compares them.
    pub fn normalize(&mut self) {
        if let Self::Subtree(names) | Self::SubtreeOne(names) | Self::Mailboxes(names) = self {
            let all = std::mem::take(names).into_iter();
            *names = all.map(MailboxName::into_normalized).collect();
        }
    }

    /// True for a mailbox of this name; never for SELECTED and SELECTED-DELAYED, which name none.
    #[must_use]
    pub fn takes(&self, name: &MailboxName, is_subscribed: bool) -> bool {
        match name.normalized() {
            Cow::Borrowed(_) => self.takes_normalized(name, is_subscribed),
            Cow::Owned(_) => self.takes_normalized(&name.clone().into_normalized(), is_subscribed),
        }
    }

    fn takes_normalized(&self, name: &MailboxName, is_subscribed: bool) -> bool {
        match self {
            Self::Selected | Self::SelectedDelayed => false,
            // Mail may be delivered to any mailbox (RFC 5465 §6.3).
            Self::Inboxes | Self::Personal => true,
            Self::Subscribed => is_subscribed,
            Self::Subtree(roots) => roots.iter().any(|root| name == root || name.is_below(root)),
            Self::SubtreeOne(roots) => {
                let parent = name.parent();
                roots
                    .iter()
                    .any(|root| name == root || parent.as_ref() == Some(root))
            }
            Self::Mailboxes(names) => names.contains(name),
        }
    }

    /// SELECTED and SELECTED-DELAYED.
    #[must_use]
    pub fn is_of_selected(&self) -> bool {
        matches!(self, Self::Selected | Self::SelectedDelayed)
    }
}

/// RFC 5465 §5. None of them is NONE.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Events {
    pub message_new: bool,
    /// Sent of new messages; of the selected mailbox only, and nothing that sets `\Seen`.
    pub fetch: Vec<FetchItem>,
    pub message_expunge: bool,
    pub flag_change: bool,
    pub mailbox_name: bool,
    pub subscription_change: bool,
    pub mailbox_metadata_change: bool,
    pub server_metadata_change: bool,
    /// An event that is not known here was named too.
    pub is_unsupported: bool,
}
