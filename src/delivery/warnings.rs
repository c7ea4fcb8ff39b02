//! Mail to owners whose mailboxes get full.
//!
//! Invariants: a warning is never refused for the quota it is about; it has the null reverse-path and says that a program
//! wrote it, so that nobody answers it (RFC 3834).
//! Failure: one that cannot be stored is said in the log and dropped: the mail that filled the mailbox is there.
//! Not here: when a mark is crossed (`store::quota`).

use crate::base::clock::{Clock, UnixMillis};
use crate::model::{AddrSpec, MailboxName, Quota, ReversePath};
use crate::proto::imap::types::InternalDate;
use crate::proto::message::{date, trace};
use crate::store::{Body, Delivery, Environment, LocalRecipient, QuotaCrossing, Store};
use bytes::Bytes;
use smallvec::smallvec;

/// Writes warnings of this core's accounts, for ever. `postmaster` is who they are from, `hostname` who made them.
pub async fn serve<E: Environment>(
    store: Store<E>,
    postmaster: AddrSpec,
    hostname: String,
    clock: impl Clock,
) {
    loop {
        for crossing in store.quota_crossings().await {
            let now = clock.now();
            let body = message(&crossing, &postmaster, &hostname, now);
            let mut prefix = Vec::new();
            trace::write_return_path(&ReversePath(None), &mut prefix);
            let delivery = Delivery {
                recipients: vec![LocalRecipient {
                    account: crossing.account,
                    mailbox: MailboxName::inbox(),
                    prefix,
                    asked: Bytes::new(),
                    quota: Quota::NONE,
                    may_exceed_quota: true,
                }],
                body: Body::from_memory(smallvec![Bytes::from(body)]),
                internal_date: InternalDate {
                    at: now,
                    zone_minutes: 0,
                },
                key: None,
            };
            match store.deliver(delivery).await {
                Ok(_) => {
                    tracing::info!(account = %crossing.account, percent = crossing.percent, "quota warning")
                }
                Err(error) => tracing::warn!(account = %crossing.account, %error, "no quota warning"),
            }
        }
    }
}

/// The account's address is not known here, only its number: whoever reads this knows whose mailbox it is in.
fn message(crossing: &QuotaCrossing, postmaster: &AddrSpec, hostname: &str, now: UnixMillis) -> Vec<u8> {
    let QuotaCrossing { account, percent, .. } = crossing;
    let at = date::format(now);
    let amounts = amounts(crossing);
    format!(
        "From: Mail server <{postmaster}>\r\n\
         To: The owner of this mailbox:;\r\n\
         Subject: Your mailbox is {percent} % full\r\n\
         Date: {at}\r\n\
         Message-ID: <quota.{account}.{percent}.{}@{hostname}>\r\n\
         Auto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\
         \r\n\
         {percent} % or more of your mailbox are in use:\r\n\
         {amounts}\
         \r\n\
         When it is full, new mail is refused, and its senders are told so. Delete what you\r\n\
         do not need any more, and empty the trash; or ask your administrator for more room.\r\n",
        now.0
    )
    .into_bytes()
}

/// A line for each limit.
fn amounts(crossing: &QuotaCrossing) -> String {
    let QuotaCrossing { usage, quota, .. } = crossing;
    let bytes = quota.bytes.map(|most| {
        format!(
            "{} of the {} that it may hold.\r\n",
            amount(usage.bytes),
            amount(most)
        )
    });
    let messages = quota
        .messages
        .map(|most| format!("{} of the {most} messages that it may hold.\r\n", usage.messages));
    bytes.into_iter().chain(messages).collect()
}

/// A small mailbox would have 0.0 MiB.
fn amount(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if bytes < MIB {
        return format!("{:.1} KiB", bytes as f64 / 1024.0);
    }
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Usage};

    #[test]
    fn a_warning_is_a_message_that_nobody_answers() {
        let crossing = QuotaCrossing {
            account: AccountId(7),
            percent: 80,
            usage: Usage {
                bytes: 84 << 20,
                messages: 12,
            },
            quota: Quota {
                bytes: Some(100 << 20),
                messages: Some(1_000),
            },
        };
        let postmaster = AddrSpec::parse("postmaster@example.org").expect("an address");
        let text = message(&crossing, &postmaster, "mail.example.org", UnixMillis(0));
        let parsed = mail_parser::MessageParser::default()
            .parse(&text)
            .expect("a message");
        assert_eq!(parsed.subject(), Some("Your mailbox is 80 % full"));
        assert!(parsed.header("Auto-Submitted").is_some() && parsed.date().is_some());
        let body = parsed.body_text(0).expect("a text");
        assert!(body.contains("84.0 MiB of the 100.0 MiB"), "{body}");
        assert!(body.contains("12 of the 1000 messages"), "{body}");
        assert!(text.split(|octet| *octet == b'\n').all(|line| line.len() < 100));
    }

    #[test]
    fn small_amounts_are_told_in_a_unit_that_shows_them() {
        assert_eq!(
            [0, 20_000, (1 << 20) - 1, 1 << 20].map(amount),
            ["0.0 KiB", "19.5 KiB", "1024.0 KiB", "1.0 MiB"]
        );
    }
}
