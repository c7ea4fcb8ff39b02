//! Response text, and sequence sets against a naive model.

use crate::model::{Flags, Keyword, MailboxId, MailboxName, ModSeq, SeqNum, Uid, UidValidity};
use crate::proto::imap::encode::code::*;
use crate::proto::imap::encode::mailbox::*;
use crate::proto::imap::encode::message::*;
use crate::proto::imap::encode::*;
use crate::proto::imap::types::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("ASCII in these tests")
}

fn uids(numbers: &[u32]) -> Vec<Uid> {
    numbers.iter().map(|n| Uid::new(*n).expect("not zero")).collect()
}

#[test]
fn strings_are_quoted_if_that_is_safe_and_literals_else() {
    assert_eq!(written(|out| push_string(b"a \"b\" \\", out)), r#""a \"b\" \\""#);
    assert_eq!(written(|out| push_string(b"a\r\nb", out)), "{4}\r\na\r\nb");
    assert_eq!(written(|out| push_string("ü".as_bytes(), out)), "{2}\r\nü");
    assert_eq!(written(|out| push_nstring(None, out)), "NIL");
    assert_eq!(written(|out| push_nstring(Some(b""), out)), "\"\"");
    assert_eq!(written(|out| push_astring(b"nil", out)), "\"nil\"");
    assert_eq!(written(|out| push_astring(b"Subject", out)), "Subject");
    let name = MailboxName::new("Entwürfe & mehr").expect("a name");
    assert_eq!(
        written(|out| push_mailbox(&name, NameForm::ModifiedUtf7, out)),
        "\"Entw&APw-rfe &- mehr\""
    );
    assert_eq!(written(|out| push_text("a\r\n* BYE ü", out)), "a??* BYE ?");
}

#[test]
fn sets_are_compact_and_keep_their_order() {
    assert_eq!(
        written(|out| push_number_set([1, 2, 3, 5, 7, 8], out)),
        "1:3,5,7:8"
    );
    assert_eq!(
        written(|out| push_number_set([9, 1, 2, u32::MAX], out)),
        "9,1:2,4294967295"
    );
    assert_eq!(written(|out| push_number_set([], out)), "");
}

#[test]
fn codes_are_written_as_the_rfcs_have_them() {
    let code = |code: Code| written(|out| push_code(&code, out));
    assert_eq!(
        code(Code::CopyUid {
            uid_validity: UidValidity(38505),
            source: uids(&[304, 319, 320]),
            copies: uids(&[3956, 3957, 3958]),
        }),
        "[COPYUID 38505 304,319:320 3956:3958]"
    );
    assert_eq!(code(Code::Modified(vec![7, 9])), "[MODIFIED 7,9]");
    assert_eq!(
        code(Code::HighestModSeq(ModSeq(715_194_045_007))),
        "[HIGHESTMODSEQ 715194045007]"
    );
    assert_eq!(code(Code::MailboxId(MailboxId(12))), "[MAILBOXID (M12)]");
    assert_eq!(
        code(Code::BadCharset(&["UTF-8", "US-ASCII"])),
        "[BADCHARSET (UTF-8 US-ASCII)]"
    );
    assert_eq!(
        code(Code::PermanentFlags {
            flags: Flags::SEEN,
            keywords: vec![Keyword::new("$x").expect("an atom")],
            may_create: true,
        }),
        "[PERMANENTFLAGS (\\Seen $x \\*)]"
    );
    assert_eq!(code(Code::Other(b"X]\r\n".to_vec())), "[X???]");
    assert_eq!(code(Code::UidNext(4392)), "[UIDNEXT 4392]");
}

#[test]
fn untagged_responses_are_whole_lines() {
    let name = MailboxName::new("Sent").expect("a name");
    assert_eq!(
        written(|out| push_count_line(23, "EXISTS", out)),
        "* 23 EXISTS\r\n"
    );
    assert_eq!(
        written(|out| push_list(
            "LIST",
            &["\\HasNoChildren", "\\Sent"],
            &name,
            NameForm::default(),
            out
        )),
        "* LIST (\\HasNoChildren \\Sent) \"/\" Sent"
    );
    assert_eq!(
        written(|out| push_list_delimiter_line("LIST", out)),
        "* LIST (\\Noselect) \"/\" \"\"\r\n"
    );
    let items = [
        (StatusItem::Messages, StatusValue::Number(3)),
        (StatusItem::MailboxId, StatusValue::Id(MailboxId(1))),
    ];
    assert_eq!(
        written(|out| push_status_data_line(&name, &items, NameForm::default(), out)),
        "* STATUS Sent (MESSAGES 3 MAILBOXID (M1))\r\n"
    );
    let result = ExtendedSearch {
        tag: b"A282",
        by_uid: true,
        min: Some(2),
        count: Some(3),
        all: Some(&[2, 10, 11]),
        ..ExtendedSearch::default()
    };
    assert_eq!(
        written(|out| push_extended_search_line(&result, out)),
        "* ESEARCH (TAG \"A282\") UID MIN 2 COUNT 3 ALL 2,10:11\r\n"
    );
    assert_eq!(
        written(|out| push_quota_line("", &[Resource::storage(1025, 4096)], out)),
        "* QUOTA \"\" (STORAGE 2 4)\r\n"
    );
}

#[test]
fn fetch_items_have_their_heads() {
    let section = Section {
        part: [1, 2].into_iter().collect(),
        text: Some(SectionText::HeaderFields(vec![b"From".to_vec(), b"a b".to_vec()])),
    };
    assert_eq!(
        written(|out| {
            push_fetch_head(SeqNum::from_index(0), out);
            push_body_section_head(&section, Some(5), out);
            push_literal_head(3, out);
            out.extend_from_slice(b"abc ");
            push_mod_seq(ModSeq(4), out);
            push_fetch_end(out);
        }),
        "* 1 FETCH (BODY[1.2.HEADER.FIELDS (From \"a b\")]<5> {3}\r\nabc MODSEQ (4))\r\n"
    );
    assert_eq!(written(|out| push_binary_size(&[1], 7, out)), "BINARY.SIZE[1] 7");
    assert_eq!(written(|out| push_thread_id(None, out)), "THREADID NIL");
    assert_eq!(written(|out| push_email_id("M5", out)), "EMAILID (M5)");
}

#[test]
fn star_and_missing_messages() {
    let view = uids(&[3, 5, 9]);
    let resolve = |text: &str, by_uid: bool, view: &[Uid]| {
        let word = if by_uid { "UID FETCH" } else { "FETCH" };
        let command = crate::proto::imap::parse::command(format!("a {word} {text} UID").as_bytes());
        let CommandBody::Fetch(fetch) = command.expect("valid").body else {
            unreachable!("FETCH was written")
        };
        let resolved = fetch
            .set
            .resolve(&view.iter().copied().collect(), &uids(&[4, 5]), by_uid);
        (resolved.indices().collect::<Vec<_>>(), resolved.first_invalid)
    };
    assert_eq!(resolve("2:*", false, &view), (vec![1, 2], None));
    assert_eq!(resolve("7:*", false, &view), (vec![2], None));
    let number = |n| SequenceNumber::Number(NonZeroU32::new(n).expect("not zero"));
    assert_eq!(resolve("2,4", false, &view), (vec![1], Some(number(4))));
    assert_eq!(resolve("3:2,2", false, &view), (vec![1, 2], None));
    // What is there of a range that goes beyond is found, and that it does is told.
    assert_eq!(resolve("2:99", false, &view), (vec![1, 2], Some(number(99))));
    assert_eq!(
        resolve("98:2,1:4294967295", false, &view),
        (vec![0, 1, 2], Some(number(98)))
    );
    assert_eq!(resolve("4:5", false, &view), (vec![], Some(number(4))));
    assert_eq!(resolve("1:*", false, &[]), (vec![], None));
    assert_eq!(resolve("1:5", false, &[]), (vec![], Some(number(1))));
    assert_eq!(resolve("4:4", false, &view), (vec![], Some(number(4))));
    assert_eq!(resolve("*", false, &[]), (vec![], Some(SequenceNumber::Largest)));
    assert_eq!(resolve("1", false, &[]), (vec![], Some(number(1))));
    assert_eq!(resolve("10:*", true, &view), (vec![2], None));
    assert_eq!(resolve("1:4294967295", true, &view), (vec![0, 1, 2], None));
    assert_eq!(resolve("4,6:8", true, &view), (vec![], None));
    assert_eq!(resolve("1:*", true, &[]), (vec![], None));
    assert_eq!(resolve("$", true, &view), (vec![1], None));
}

fn end(largest: u32) -> impl Strategy<Value = SequenceNumber> {
    prop_oneof![
        5 => (1..largest).prop_map(|n| SequenceNumber::Number(NonZeroU32::new(n).expect("not zero"))),
        1 => Just(SequenceNumber::Largest)
    ]
}

proptest! {
    #[test]
    fn resolving_equals_trying_every_message(
        view in prop::collection::btree_set(1_u32..40, 0..20),
        ranges in prop::collection::vec((end(45), end(45)), 1..6),
        by_uid in any::<bool>(),
    ) {
        let numbers: Vec<u32> = view.iter().copied().collect();
        let count = numbers.len() as u32;
        let largest = if by_uid { numbers.last().copied().unwrap_or(0) } else { count };
        let value = |end: &SequenceNumber| match end {
            SequenceNumber::Number(n) => n.get(),
            SequenceNumber::Largest => largest,
        };
        let mut expected = BTreeSet::new();
        let mut is_invalid = false;
        for (first, last) in &ranges {
            let (low, high) = (value(first).min(value(last)), value(first).max(value(last)));
            let has_star = [first, last].contains(&&SequenceNumber::Largest);
            is_invalid |= !by_uid && (!has_star && high > count || first == last && count == 0);
            for (index, uid) in numbers.iter().enumerate() {
                let number = if by_uid { *uid } else { index as u32 + 1 };
                if (low..=high).contains(&number) {
                    expected.insert(index);
                }
            }
        }
        let set = SequenceSet::Ranges(ranges.iter().map(|(first, last)| SequenceRange { first: *first, last: *last }).collect());
        let resolved = set.resolve(&numbers.iter().map(|n| Uid::new(*n).expect("not zero")).collect(), &[], by_uid);
        prop_assert_eq!(resolved.indices().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(resolved.first_invalid.is_some(), is_invalid);
        prop_assert!(resolved.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
    }
}
