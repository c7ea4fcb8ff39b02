//! Commands back to their text, for round trips. Not product code: a server sends no commands.

use crate::model::{Flag, MailboxName};
use crate::proto::imap::encode::mailbox::status_item_name;
use crate::proto::imap::encode::message::{push_binary_head, push_binary_size, push_body_section_head};
use crate::proto::imap::encode::{push_astring, push_mailbox, push_number, push_ranges, push_string};
use crate::proto::imap::types::*;
use crate::proto::imap::{dates, utf7};

pub fn print(command: &Command) -> Vec<u8> {
    let mut out = command.tag.to_vec();
    out.push(b' ');
    body(&command.body, &mut out);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn body(body: &CommandBody, out: &mut Vec<u8>) {
    match body {
        CommandBody::Create { mailbox, special_use } => {
            named("CREATE ", mailbox, out);
            if !special_use.is_empty() {
                let uses: Vec<_> = special_use.iter().map(|role| role.attribute()).collect();
                text(out, &format!(" (USE ({}))", uses.join(" ")));
            }
        }
        CommandBody::Select { mailbox, parameters } => {
            named("SELECT ", mailbox, out);
            select_parameters(parameters, out);
        }
        CommandBody::Rename { from, to } => {
            named("RENAME ", from, out);
            named(" ", to, out);
        }
        CommandBody::List(list) => print_list(list, out),
        CommandBody::Status { mailbox, items } => {
            named("STATUS ", mailbox, out);
            status(items, out);
        }
        CommandBody::Copy { set, mailbox, by_uid } => {
            text(out, if *by_uid { "UID COPY " } else { "COPY " });
            push_sequence_set(set, out);
            named(" ", mailbox, out);
        }
        CommandBody::Store(store) => print_store(store, out),
        CommandBody::Fetch(fetch) => print_fetch(fetch, out),
        CommandBody::Search(search) => print_search(search, out),
        CommandBody::Login { login, password } => {
            text(out, "LOGIN ");
            push_astring(login, out);
            out.push(b' ');
            push_string(&password.0, out);
        }
        other => panic!("no generator makes {other:?}"),
    }
}

fn named(word: &str, mailbox: &MailboxName, out: &mut Vec<u8>) {
    text(out, word);
    push_mailbox(mailbox, NameForm::default(), out);
}

fn status(items: &[StatusItem], out: &mut Vec<u8>) {
    let names: Vec<_> = items.iter().map(|item| status_item_name(*item)).collect();
    text(out, &format!(" ({})", names.join(" ")));
}

fn print_list(list: &List, out: &mut Vec<u8>) {
    let chosen = |options: &[(bool, &'static str)]| -> Vec<&str> {
        options
            .iter()
            .filter(|(is_chosen, _)| *is_chosen)
            .map(|(_, name)| *name)
            .collect()
    };
    text(out, "LIST ");
    let selection = chosen(&[
        (list.select_subscribed, "SUBSCRIBED"),
        (list.select_special_use, "SPECIAL-USE"),
        (list.recursive_match, "RECURSIVEMATCH"),
    ]);
    if list.is_extended {
        text(out, &format!("({}) ", selection.join(" ")));
    }
    let quoted = |name: &str, out: &mut Vec<u8>| {
        let mut wire = Vec::new();
        utf7::encode(name, &mut wire);
        push_string(&wire, out);
    };
    quoted(&list.reference, out);
    text(out, if list.is_extended { " (" } else { " " });
    for (place, pattern) in list.patterns.iter().enumerate() {
        text(out, if place > 0 { " " } else { "" });
        quoted(pattern, out);
    }
    if list.is_extended {
        let options = chosen(&[
            (list.return_subscribed, "SUBSCRIBED"),
            (list.return_children, "CHILDREN"),
            (list.return_special_use, "SPECIAL-USE"),
        ]);
        text(out, &format!(") RETURN ({}", options.join(" ")));
        if !list.return_status.is_empty() {
            text(out, if options.is_empty() { "STATUS" } else { " STATUS" });
            status(&list.return_status, out);
        }
        out.push(b')');
    }
}

fn print_store(store: &Store, out: &mut Vec<u8>) {
    text(out, if store.by_uid { "UID STORE " } else { "STORE " });
    push_sequence_set(&store.set, out);
    if let Some(since) = store.unchanged_since {
        text(out, &format!(" (UNCHANGEDSINCE {since})"));
    }
    text(
        out,
        match store.operation {
            StoreOperation::Replace => " FLAGS",
            StoreOperation::Add => " +FLAGS",
            StoreOperation::Remove => " -FLAGS",
        },
    );
    text(out, if store.silent { ".SILENT (" } else { " (" });
    for (place, flag) in store.flags.iter().enumerate() {
        text(out, if place > 0 { " " } else { "" });
        match flag {
            Flag::System(bits) => {
                let name = crate::model::Flags::NAMES.iter().find(|(known, _)| known == bits);
                text(out, name.expect("one flag").1);
            }
            Flag::Keyword(keyword) => text(out, keyword.as_str()),
            Flag::Ignored => text(out, "\\Recent"),
        }
    }
    out.push(b')');
}

fn print_fetch(fetch: &Fetch, out: &mut Vec<u8>) {
    text(out, if fetch.by_uid { "UID FETCH " } else { "FETCH " });
    push_sequence_set(&fetch.set, out);
    text(out, " (");
    for (place, item) in fetch.items.iter().enumerate() {
        text(out, if place > 0 { " " } else { "" });
        fetch_item(item, out);
    }
    out.push(b')');
    let mut modifiers: Vec<String> = Vec::new();
    modifiers.extend(fetch.partial.map(partial_range));
    modifiers.extend(fetch.changed_since.map(|since| format!("CHANGEDSINCE {since}")));
    modifiers.extend(fetch.vanished.then(|| "VANISHED".to_owned()));
    if !modifiers.is_empty() {
        text(out, &format!(" ({})", modifiers.join(" ")));
    }
}

fn select_parameters(parameters: &SelectParameters, out: &mut Vec<u8>) {
    let mut printed = Vec::new();
    if parameters.condstore {
        printed.push("CONDSTORE".to_owned());
    }
    if let Some(known) = &parameters.qresync {
        let set = |ranges: &[std::ops::RangeInclusive<u32>]| {
            let mut out = Vec::new();
            push_ranges(ranges.iter().cloned(), &mut out);
            String::from_utf8(out).unwrap()
        };
        let uids = known.known.iter().map(|ranges| format!(" {}", set(ranges)));
        let sample = known
            .sample
            .iter()
            .map(|s| format!(" ({} {})", set(&s.numbers), set(&s.uids)));
        let more: String = uids.chain(sample).collect();
        printed.push(format!(
            "QRESYNC ({} {}{more})",
            known.uid_validity.0, known.mod_seq
        ));
    }
    if !printed.is_empty() {
        text(out, &format!(" ({})", printed.join(" ")));
    }
}

fn fetch_item(item: &FetchItem, out: &mut Vec<u8>) {
    let peeked = |name: &str, peek: bool, printed: Vec<u8>, partial: &Option<Partial>, out: &mut Vec<u8>| {
        text(out, name);
        text(out, if peek { ".PEEK" } else { "" });
        // The heads of responses differ from requests in the name, in `<origin>` and by the space behind them.
        out.extend_from_slice(&printed[name.len()..printed.len() - 1]);
        if let Some(partial) = partial {
            text(out, &format!("<{}.{}>", partial.offset, partial.length));
        }
    };
    let mut head = Vec::new();
    match item {
        FetchItem::BodySection {
            section,
            partial,
            peek,
        } => {
            push_body_section_head(section, None, &mut head);
            peeked("BODY", *peek, head, partial, out);
        }
        FetchItem::Binary { part, partial, peek } => {
            push_binary_head(part, None, &mut head);
            peeked("BINARY", *peek, head, partial, out);
        }
        FetchItem::BinarySize { part } => {
            push_binary_size(part, 0, &mut head);
            out.extend_from_slice(&head[..head.len() - 2]);
        }
        FetchItem::Uid => text(out, "UID"),
        FetchItem::Flags => text(out, "FLAGS"),
        FetchItem::InternalDate => text(out, "INTERNALDATE"),
        FetchItem::Rfc822Size => text(out, "RFC822.SIZE"),
        FetchItem::Envelope => text(out, "ENVELOPE"),
        FetchItem::BodyStructure => text(out, "BODYSTRUCTURE"),
        FetchItem::Body => text(out, "BODY"),
        FetchItem::ModSeq => text(out, "MODSEQ"),
        FetchItem::EmailId => text(out, "EMAILID"),
        FetchItem::ThreadId => text(out, "THREADID"),
        FetchItem::SaveDate => text(out, "SAVEDATE"),
        FetchItem::Preview { is_lazy } => text(out, if *is_lazy { "PREVIEW (LAZY)" } else { "PREVIEW" }),
        FetchItem::Rfc822 => text(out, "RFC822"),
        FetchItem::Rfc822Header => text(out, "RFC822.HEADER"),
        FetchItem::Rfc822Text => text(out, "RFC822.TEXT"),
    }
}

fn partial_range(range: PartialRange) -> String {
    let sign = if range.is_from_end { "-" } else { "" };
    format!("PARTIAL {sign}{}:{sign}{}", range.first, range.last)
}

fn update(items: &[FetchItem]) -> String {
    let mut printed = Vec::new();
    for item in items {
        printed.push(b' ');
        fetch_item(item, &mut printed);
    }
    match String::from_utf8_lossy(&printed).trim_start() {
        "" => "UPDATE".to_owned(),
        items => format!("UPDATE ({items})"),
    }
}

fn print_search(search: &Search, out: &mut Vec<u8>) {
    text(out, if search.by_uid { "UID SEARCH" } else { "SEARCH" });
    if let Some(options) = search.return_options {
        let names = [
            (options.min, "MIN"),
            (options.max, "MAX"),
            (options.all, "ALL"),
            (options.count, "COUNT"),
            (options.save, "SAVE"),
            (options.relevancy, "RELEVANCY"),
            (options.context, "CONTEXT"),
        ];
        let chosen = names.iter().filter(|(is_chosen, _)| *is_chosen);
        let mut names: Vec<String> = chosen.map(|(_, name)| (*name).to_owned()).collect();
        names.extend(options.partial.map(partial_range));
        names.extend(options.update.then(|| update(&search.fetched)));
        text(out, &format!(" RETURN ({})", names.join(" ")));
    }
    if let Some(charset) = &search.charset {
        text(out, &format!(" CHARSET {charset}"));
    }
    for key in &search.keys {
        out.push(b' ');
        search_key(key, out);
    }
}

fn date(days: i32) -> String {
    let (year, month, day) = dates::civil_from_days(days);
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    format!("{day}-{}-{year:04}", months[month as usize - 1])
}

fn search_key(key: &SearchKey, out: &mut Vec<u8>) {
    let word_and_text = |word: &str, value: &[u8], out: &mut Vec<u8>| {
        text(out, word);
        push_string(value, out);
    };
    match key {
        SearchKey::All => text(out, "ALL"),
        SearchKey::Flag(crate::model::Flags::SEEN) => text(out, "SEEN"),
        SearchKey::NotFlag(crate::model::Flags::SEEN) => text(out, "UNSEEN"),
        SearchKey::Since(days) => text(out, &format!("SINCE {}", date(*days))),
        SearchKey::SentBefore(days) => text(out, &format!("SENTBEFORE \"{}\"", date(*days))),
        SearchKey::Larger(bytes) => text(out, &format!("LARGER {bytes}")),
        SearchKey::UidAfter(uid) => text(out, &format!("UIDAFTER {uid}")),
        SearchKey::UidBefore(uid) => text(out, &format!("UIDBEFORE {uid}")),
        SearchKey::Younger(seconds) => text(out, &format!("YOUNGER {seconds}")),
        SearchKey::ModSeq(value) => text(out, &format!("MODSEQ \"/flags/\\\\Seen\" all {value}")),
        SearchKey::Keyword(keyword) => text(out, &format!("KEYWORD {}", keyword.as_str())),
        SearchKey::Header { field, text: value } => {
            word_and_text("HEADER ", field, out);
            word_and_text(" ", value, out);
        }
        SearchKey::Subject(value) => word_and_text("SUBJECT ", value, out),
        SearchKey::Sequence(set) => push_sequence_set(set, out),
        SearchKey::Uid(set) => {
            text(out, "UID ");
            push_sequence_set(set, out);
        }
        SearchKey::Fuzzy(key) => {
            text(out, "FUZZY ");
            search_key(key, out);
        }
        SearchKey::Not(key) => {
            text(out, "NOT ");
            search_key(key, out);
        }
        SearchKey::Or(left, right) => {
            text(out, "OR ");
            search_key(left, out);
            out.push(b' ');
            search_key(right, out);
        }
        SearchKey::And(keys) => {
            for (place, key) in keys.iter().enumerate() {
                text(out, if place > 0 { " " } else { "(" });
                search_key(key, out);
            }
            out.push(b')');
        }
        other => panic!("no generator makes {other:?}"),
    }
}

fn push_sequence_set(set: &SequenceSet, out: &mut Vec<u8>) {
    let SequenceSet::Ranges(ranges) = set else {
        out.push(b'$');
        return;
    };
    let push = |number, out: &mut Vec<u8>| match number {
        SequenceNumber::Number(number) => push_number(u64::from(number.get()), out),
        SequenceNumber::Largest => out.push(b'*'),
    };
    for (place, range) in ranges.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push(range.first, out);
        if range.last != range.first {
            out.push(b':');
            push(range.last, out);
        }
    }
}
