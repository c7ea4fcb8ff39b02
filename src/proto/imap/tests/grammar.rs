//! The parser alone: values that print and read back, forms clients send, and text that is refused.

use super::printer::print;
use crate::model::{Flag, Flags, Keyword, MailboxName, ModSeq, SpecialUse};
use crate::proto::imap::parse::{self, Fault};
use crate::proto::imap::types::*;
use proptest::prelude::*;
use smallvec::SmallVec;
use std::num::NonZeroU32;

fn tag() -> impl Strategy<Value = Tag> {
    "[A-Za-z0-9.]{1,8}".prop_map(|text| Tag::from_slice(text.as_bytes()))
}

fn mailbox() -> impl Strategy<Value = MailboxName> {
    "[ -~é台😀&]{1,12}".prop_filter_map("not a name", |text| MailboxName::new(&text).ok())
}

/// What SEARCH and LOGIN carry: any octets but NUL. Quoted or literal is the printer's choice.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1_u8.., 0..12)
}

fn sequence_set() -> impl Strategy<Value = SequenceSet> {
    let number = || {
        prop_oneof![
            4 => (1_u32..).prop_map(|n| SequenceNumber::Number(NonZeroU32::new(n).expect("not zero"))),
            1 => Just(SequenceNumber::Largest)
        ]
    };
    let range = (number(), number()).prop_map(|(first, last)| SequenceRange { first, last });
    prop_oneof![
        6 => prop::collection::vec(range, 1..6).prop_map(|ranges| SequenceSet::Ranges(ranges.into())),
        1 => Just(SequenceSet::Saved)
    ]
}

fn keyword() -> impl Strategy<Value = Keyword> {
    "[$A-Za-z0-9_-]{1,10}".prop_map(|text| Keyword::new(&text).expect("an atom"))
}

fn flag() -> impl Strategy<Value = Flag> {
    prop_oneof![
        prop::sample::select(&Flags::NAMES[..]).prop_map(|(bits, _)| Flag::System(bits)),
        keyword().prop_map(Flag::Keyword),
        Just(Flag::Ignored)
    ]
}

fn mod_seq() -> impl Strategy<Value = ModSeq> {
    (0..=i64::MAX as u64).prop_map(ModSeq)
}

fn status_items() -> impl Strategy<Value = SmallVec<[StatusItem; 6]>> {
    use StatusItem::*;
    let all = vec![
        Messages,
        Recent,
        UidNext,
        UidValidity,
        Unseen,
        Deleted,
        Size,
        HighestModSeq,
        MailboxId,
    ];
    prop::sample::subsequence(all, 1..=9).prop_map(SmallVec::from_vec)
}

fn part() -> impl Strategy<Value = SmallVec<[u32; 4]>> {
    prop::collection::vec(1_u32.., 0..6).prop_map(SmallVec::from_vec)
}

fn section() -> impl Strategy<Value = Section> {
    let names = || prop::collection::vec("[A-Za-z-]{1,10}|[ -~]{1,6}".prop_map(String::into_bytes), 1..4);
    let text = prop_oneof![
        Just(None),
        Just(Some(SectionText::Header)),
        Just(Some(SectionText::Text)),
        names().prop_map(|names| Some(SectionText::HeaderFields(names))),
        names().prop_map(|names| Some(SectionText::HeaderFieldsNot(names))),
        Just(Some(SectionText::Mime)),
    ];
    (part(), text).prop_map(|(part, text)| Section {
        text: text.filter(|text| *text != SectionText::Mime || !part.is_empty()),
        part,
    })
}

/// Of a number64 (RFC 9051 §9).
const MOST: u64 = i64::MAX as u64;

fn fetch_item() -> impl Strategy<Value = FetchItem> {
    use FetchItem::*;
    let plain = vec![
        Uid,
        Flags,
        InternalDate,
        Rfc822Size,
        Envelope,
        BodyStructure,
        Body,
        ModSeq,
        EmailId,
        ThreadId,
        SaveDate,
        Rfc822,
        Rfc822Header,
        Rfc822Text,
    ];
    let partial =
        || prop::option::of((0..=MOST, 1..=MOST).prop_map(|(offset, length)| Partial { offset, length }));
    prop_oneof![
        prop::sample::select(plain),
        (section(), partial(), any::<bool>()).prop_map(|(section, partial, peek)| BodySection {
            section,
            partial,
            peek
        }),
        (part(), partial(), any::<bool>()).prop_map(|(part, partial, peek)| Binary { part, partial, peek }),
        part().prop_map(|part| BinarySize { part }),
    ]
}

fn search_key() -> impl Strategy<Value = SearchKey> {
    let days = || -719_000_i32..2_900_000;
    let leaf = prop_oneof![
        Just(SearchKey::All),
        Just(SearchKey::Flag(Flags::SEEN)),
        Just(SearchKey::NotFlag(Flags::SEEN)),
        days().prop_map(SearchKey::Since),
        days().prop_map(SearchKey::SentBefore),
        (0..=i64::MAX as u64).prop_map(SearchKey::Larger),
        any::<std::num::NonZeroU32>().prop_map(SearchKey::UidAfter),
        any::<std::num::NonZeroU32>().prop_map(SearchKey::UidBefore),
        (1_u32..).prop_map(SearchKey::Younger),
        mod_seq().prop_map(SearchKey::ModSeq),
        keyword().prop_map(SearchKey::Keyword),
        (octets(), octets()).prop_map(|(field, text)| SearchKey::Header { field, text }),
        octets().prop_map(SearchKey::Subject),
        sequence_set().prop_map(SearchKey::Sequence),
        sequence_set().prop_map(SearchKey::Uid),
    ];
    leaf.prop_recursive(6, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| SearchKey::Not(Box::new(key))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| SearchKey::Or(Box::new(a), Box::new(b))),
            prop::collection::vec(inner, 1..4).prop_map(SearchKey::And),
        ]
    })
}

fn list() -> impl Strategy<Value = List> {
    let pattern = || "[ -~é]{0,8}".prop_map(String::from);
    let basic = (pattern(), pattern()).prop_map(|(reference, pattern)| List {
        reference,
        patterns: [pattern].into_iter().collect(),
        ..List::default()
    });
    let extended = (
        basic.clone(),
        prop::collection::vec(pattern(), 1..4),
        any::<[bool; 6]>(),
        prop::option::of(status_items()),
    )
        .prop_map(|(list, patterns, options, status)| List {
            patterns: patterns.into(),
            is_extended: true,
            select_subscribed: options[0],
            select_special_use: options[1],
            recursive_match: options[2] && (options[0] || options[1]),
            return_subscribed: options[3],
            return_children: options[4],
            return_special_use: options[5],
            return_status: status.unwrap_or_default(),
            ..list
        });
    prop_oneof![basic, extended]
}

fn qresync() -> impl Strategy<Value = QResync> {
    let ranges = || {
        prop::collection::vec(
            (1..1_000_u32, 0..1_000_u32).prop_map(|(a, more)| a..=a + more),
            1..4,
        )
    };
    let sample = prop::collection::btree_set(1..1_000_u32, 1..5).prop_map(|numbers| {
        let numbers: Vec<_> = numbers.into_iter().map(|n| n..=n).collect();
        let uids = numbers.iter().map(|n| n.start() * 3..=n.end() * 3).collect();
        UidSample { numbers, uids }
    });
    let validity = (1..u32::MAX).prop_map(crate::model::UidValidity);
    (
        validity,
        mod_seq(),
        prop::option::of(ranges()),
        prop::option::of(sample),
    )
        .prop_map(|(uid_validity, mod_seq, known, sample)| QResync {
            uid_validity,
            mod_seq,
            known,
            sample,
        })
}

fn partial_range() -> impl Strategy<Value = Option<PartialRange>> {
    let range = any::<(NonZeroU32, NonZeroU32, bool)>().prop_map(|(a, b, is_from_end)| PartialRange {
        first: a.min(b),
        last: a.max(b),
        is_from_end,
    });
    proptest::option::of(range)
}

fn body() -> impl Strategy<Value = CommandBody> {
    let operation = prop::sample::select(vec![
        StoreOperation::Replace,
        StoreOperation::Add,
        StoreOperation::Remove,
    ]);
    let roles: Vec<SpecialUse> = SpecialUse::STANDARD.iter().map(|(role, _)| *role).collect();
    let return_options = (any::<[bool; 8]>(), partial_range()).prop_map(
        |([min, max, all, count, save, relevancy, update, context], partial)| ReturnOptions {
            min,
            max,
            all,
            count,
            save,
            relevancy,
            update,
            context,
            partial: partial.filter(|_| !all),
        },
    );
    prop_oneof![
        (mailbox(), prop::sample::subsequence(roles, 0..=2))
            .prop_map(|(mailbox, special_use)| CommandBody::Create { mailbox, special_use }),
        (mailbox(), any::<bool>(), prop::option::of(qresync())).prop_map(|(mailbox, condstore, qresync)| {
            let qresync = qresync.map(Box::new);
            CommandBody::Select {
                mailbox,
                parameters: SelectParameters { condstore, qresync },
            }
        }),
        (mailbox(), mailbox()).prop_map(|(from, to)| CommandBody::Rename { from, to }),
        list().prop_map(CommandBody::List),
        (mailbox(), status_items()).prop_map(|(mailbox, items)| CommandBody::Status { mailbox, items }),
        (sequence_set(), mailbox(), any::<bool>()).prop_map(|(set, mailbox, by_uid)| CommandBody::Copy {
            set,
            mailbox,
            by_uid
        }),
        (
            sequence_set(),
            any::<[bool; 2]>(),
            operation,
            prop::collection::vec(flag(), 0..4),
            prop::option::of(mod_seq())
        )
            .prop_map(|(set, [by_uid, silent], operation, flags, unchanged_since)| {
                CommandBody::Store(Store {
                    set,
                    by_uid,
                    operation,
                    flags,
                    silent,
                    unchanged_since,
                })
            }),
        (
            sequence_set(),
            any::<bool>(),
            prop::collection::vec(fetch_item(), 1..6),
            prop::option::of(mod_seq()),
            any::<bool>(),
            partial_range()
        )
            .prop_map(|(set, by_uid, items, changed_since, vanished, partial)| {
                CommandBody::Fetch(Fetch {
                    set,
                    by_uid,
                    items: items.into(),
                    changed_since,
                    vanished: vanished && by_uid && changed_since.is_some(),
                    partial,
                })
            }),
        (
            any::<bool>(),
            prop::option::of(return_options),
            prop::sample::subsequence(vec![FetchItem::Uid, FetchItem::Flags, FetchItem::Envelope], 0..3),
            prop::option::of(Just("UTF-8".to_owned())),
            prop::collection::vec(search_key(), 1..4)
        )
            .prop_map(|(by_uid, return_options, fetched, charset, keys)| {
                CommandBody::Search(Search {
                    by_uid,
                    sort: Default::default(),
                    fetched: return_options
                        .filter(|options| options.update)
                        .map_or(Vec::new(), |_| fetched),
                    return_options,
                    charset,
                    keys,
                })
            }),
        (octets(), octets()).prop_map(|(login, password)| CommandBody::Login {
            login,
            password: Secret(password)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same_value(tag in tag(), body in body()) {
        let command = Command { tag, body };
        let text = print(&command);
        prop_assert_eq!(parse::command(&text), Ok(command), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse::command(&text);
        let _ = parse::append_head(&text, NameForm::default());
    }

    #[test]
    fn no_damage_to_a_command_panics(tag in tag(), body in body(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = print(&Command { tag, body });
        let at = at.index(text.len());
        text[at] = byte;
        let _ = parse::command(&text);
        let _ = parse::command(&text[..at]);
    }
}

fn read(text: &str) -> CommandBody {
    parse::command(format!("a {text}").as_bytes())
        .unwrap_or_else(|error| panic!("{text}: {error:?}"))
        .body
}

#[test]
fn forms_that_clients_send_are_read() {
    for text in [
        "LIST \"\" \"*\"",
        "LIST \"\" %",
        "list (SUBSCRIBED RECURSIVEMATCH) \"\" \"*\" return (children special-use status (messages unseen))",
        "LIST \"\" (\"INBOX\" \"Drafts\" Sent/%)",
        "LIST \"\" \"*\" RETURN (SPECIAL-USE)",
        "LSUB \"\" \"*\"",
        "NAMESPACE",
        "STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN RECENT HIGHESTMODSEQ SIZE MAILBOXID)",
        "SELECT inbox (CONDSTORE)",
        "SELECT inbox (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
        "EXAMINE x (QRESYNC (1 0 (5000,7500,9990:9991 15000,22500,29970,29973)) CONDSTORE)",
        "UID FETCH 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
        "EXAMINE \"Sent Items\"",
        "CREATE Archive/2024/",
        "UID FETCH 1:* (UID FLAGS MODSEQ) (CHANGEDSINCE 12345)",
        "FETCH 1,3:5,* FULL",
        "FETCH 1 BODY[]",
        "FETCH 1 (BODY[1.2.MIME] BODY.PEEK[2.HEADER.FIELDS.NOT (Date {2+}\r\nTo)]<0.1024> RFC822.HEADER)",
        "FETCH 1 (BINARY.PEEK[1]<0.5> BINARY.SIZE[1.2] BINARY[])",
        "STORE 1 FLAGS \\Seen \\Deleted",
        "UID STORE 1:5 (UNCHANGEDSINCE 0) -FLAGS.SILENT (\\Flagged $Junk Non[Junk)",
        "UID SEARCH RETURN () 1:* UNDELETED",
        "SEARCH RETURN (SAVE COUNT) CHARSET UTF-8 TEXT {3}\r\naä",
        "SEARCH CHARSET us-ascii FROM x",
        "UID SEARCH UID 5:* NOT (SEEN OR OLD RECENT) $",
        "SEARCH MODSEQ 7 EMAILID M1 THREADID T2 SAVEDSINCE 1-Jan-2020 OLDER 5",
        "UID MOVE $ Trash",
        "UID EXPUNGE 4,6",
        "ENABLE CONDSTORE UTF8=ACCEPT",
        "ID (\"name\" \"x\" \"version\" NIL)",
        "ID ()",
        "NOTIFY NONE",
        "notify set status (selected (MessageNew (uid body[header.fields (from)]) MessageExpunge)) (subtree Lists NONE)",
        "NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange)) (mailboxes (a \"b c\" {1+}\r\nd) (MailboxName))",
        "NOTIFY SET (inboxes (X-New)) (personal (SubscriptionChange)) (subscribed (MailboxName))",
        "GETQUOTAROOT INBOX",
        "GETQUOTA \"\"",
        "SETQUOTA \"\" ()",
        "setquota {1}\r\nx (storage 512 X-OTHER 9223372036854775807)",
        "AUTHENTICATE PLAIN =",
    ] {
        let _ = read(text);
    }
}

/// RFC 6855 §3, RFC 9051 §9.
#[test]
fn quoted_strings_are_utf8_where_they_may_be_more_than_ascii() {
    for text in [
        &b"a SEARCH SUBJECT \"\xff\""[..],
        b"a SEARCH SUBJECT \"\xed\xa0\x80\"",
        b"a SEARCH SUBJECT \"\\\"\xc3\"",
        b"a SETMETADATA x (/private/comment \"\xe4\")",
    ] {
        let error = parse::command_with(text, NameForm::Utf8).expect_err("no UTF-8");
        assert_eq!(
            error.fault,
            Fault::Expected("UTF-8 in a quoted string"),
            "{}",
            text.escape_ascii()
        );
        assert!(parse::command(text).is_ok(), "{}", text.escape_ascii());
    }
    let literal = b"a SEARCH SUBJECT {1}\r\n\xff";
    assert!(parse::command_with(literal, NameForm::Utf8).is_ok());
    assert!(parse::command_with("a SEARCH SUBJECT \"\u{e4}\"".as_bytes(), NameForm::Utf8).is_ok());
}

#[test]
fn a_fault_keeps_the_tag_and_says_what_was_expected() {
    let fault = |text: &str| {
        let error = parse::command(text.as_bytes()).expect_err(text);
        (error.tag.map(|tag| tag.to_vec()), error.fault)
    };
    let tagged = |text: &str| {
        let (tag, fault) = fault(text);
        assert_eq!(tag.as_deref(), Some(&b"a"[..]), "{text}");
        fault
    };
    assert_eq!(fault("").0, None);
    assert_eq!(fault("*").0, None);
    assert_eq!(fault(&format!("{} NOOP", "t".repeat(129))).0, None);
    assert_eq!(tagged("a XYZZY"), Fault::UnknownCommand);
    assert_eq!(tagged("a UID NOOP"), Fault::UnknownCommand);
    assert_eq!(tagged("a NOOP "), Fault::Expected("the end of the command"));
    for text in [
        "a FETCH 0 FLAGS",
        "a FETCH 4294967296 FLAGS",
        "a FETCH 1:0 FLAGS",
        "a FETCH 1, FLAGS",
        "a FETCH 1 ()",
        "a FETCH 1 BODY[0]",
        "a FETCH 1 BODY[1.]",
        "a FETCH 1 BODY[MIME]",
        "a FETCH 1 BODY[]<0.0>",
        "a FETCH 1 BODY[]<0.9223372036854775808>",
        "a FETCH 1 (FLAGS FAST)",
        "a STORE 1 (UNCHANGEDSINCE 18446744073709551616) FLAGS ()",
        "a STORE 1 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()",
        "a STORE 1 FLAGS",
        "a SEARCH",
        "a SEARCH ()",
        "a SEARCH OR ALL",
        "a SEARCH SINCE 30-Feb-2020",
        "a SEARCH LARGER -1",
        "a LIST (RECURSIVEMATCH) \"\" *",
        "a LOGIN \"x",
        "a LOGIN \"\\x\" y",
        "a STATUS INBOX ()",
        "a NOTIFY",
        "a NOTIFY SET",
        "a NOTIFY SET STATUS",
        "a NOTIFY SET (selected (MessageNew))",
        "a NOTIFY SET (selected-delayed (MessageExpunge))",
        "a NOTIFY SET (selected (FlagChange))",
        "a NOTIFY SET (selected (MailboxName))",
        "a NOTIFY SET (personal (MessageNew (UID) MessageExpunge))",
        "a NOTIFY SET (selected (MessageNew (RFC822) MessageExpunge))",
        "a NOTIFY SET (selected NONE) (selected-delayed NONE)",
        "a NOTIFY SET (mailboxes NONE)",
        "a SELECT x (QRESYNC (0 1))",
        "a SELECT x (QRESYNC (1))",
        "a SELECT x (QRESYNC (1 1 1:*))",
        "a SELECT x (QRESYNC (1 1 $))",
        "a SELECT x (QRESYNC (1 1 1 (1:2 1)))",
        "a SELECT x (QRESYNC (1 1 1 (2,1 4,5)))",
        "a SELECT x (QRESYNC (1 1 1 2))",
        "a UID FETCH 1 FLAGS (VANISHED)",
        "a FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        "a ENABLE",
        "a APPEND INBOX",
    ] {
        assert!(
            matches!(tagged(text), Fault::Expected(_)),
            "{text}: {:?}",
            tagged(text)
        );
    }
    let many = format!("a FETCH 1{} FLAGS", ",1".repeat(10_000));
    assert!(matches!(tagged(&many), Fault::Limit(_)));
    let items = format!("a FETCH 1 (UID{})", " UID".repeat(200));
    assert!(matches!(tagged(&items), Fault::Limit(_)));
    let levels = format!("a FETCH 1 BODY[1{}]", ".1".repeat(200));
    assert!(matches!(tagged(&levels), Fault::Limit(_)));
}

#[test]
fn the_deepest_allowed_search_is_read() {
    let text = format!("a SEARCH {}ALL", "NOT ".repeat(63));
    assert!(parse::command(text.as_bytes()).is_ok());
    let text = format!("a SEARCH {}ALL", "NOT ".repeat(64));
    assert_eq!(
        parse::command(text.as_bytes()).map_err(|error| error.fault),
        Err(Fault::TooDeep)
    );
}
