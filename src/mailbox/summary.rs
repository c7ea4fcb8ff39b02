//! The header fields in a summary: those that clients ask for, and which others a message has.
//!
//! Invariants: what is answered from the part is octet for octet what the header itself answers, whichever names are asked
//! for; who looks for one of [`KEPT_FIELDS`] finds in [`header_of`] what the header has. Linear in the header.
//! Limits: [`PART_BYTES_MAX`]; a header that needs more, or has more than `DIGESTED_FIELDS_MAX` fields, has no such part.
//! Not here: where summaries lie (`store`), FETCH (`session::imap::fetch_summary`), SEARCH (`searching`).
//!
//! The part: a count of two bytes, as many hashes of two bytes, ascending, of the names of fields that are not
//! kept; then the kept fields as they stand in the header. A name that is neither kept nor among the hashes is not in the
//! header. What is in the part for a header is fixed by the version of the store's files of summaries.

use super::reader::MessageReader;
use super::search::{TextKey, thread_id_text};
use super::searching::SearchError;
use crate::model::AccountId;
use crate::proto::message::header::{self, DIGESTED_FIELDS_MAX};
use crate::proto::message::section;
use crate::store::{Environment, MessageRow, PART_BYTES_MAX, Part, PartSet, Store, StoreError, Summary};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

/// Fields kept: what ENVELOPE, SORT, THREAD and THREADID look at, and what mail programs ask for beside these (Thunderbird, Apple
/// Mail, Outlook, K-9, Roundcube, mutt, Delta Chat), as far as it is short. In lower case.
pub const KEPT_FIELDS: [&str; 29] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "date",
    "subject",
    "message-id",
    "in-reply-to",
    "references",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "content-description",
    "content-language",
    "mime-version",
    "importance",
    "priority",
    "x-priority",
    "disposition-notification-to",
    "list-id",
    "list-post",
    "list-unsubscribe",
    "auto-submitted",
    "newsgroups",
    "x-label",
    "x-spam-flag",
    "chat-version",
];

/// Bytes of the count and of each hash.
const HASH_BYTES: usize = 2;

fn is_kept(name: &[u8]) -> bool {
    KEPT_FIELDS
        .iter()
        .any(|kept| name.eq_ignore_ascii_case(kept.as_bytes()))
}

fn hash(name: &[u8]) -> u16 {
    let lower: SmallVec<[u8; 64]> = name.iter().map(u8::to_ascii_lowercase).collect();
    (xxh3_64(&lower) & 0xFFFF) as u16
}

/// The part for a header. `None`: it would be too long.
#[must_use]
pub fn fields_of(header: &[u8]) -> Option<Vec<u8>> {
    let mut kept: SmallVec<[&[u8]; 32]> = SmallVec::new();
    let mut others: SmallVec<[u16; 64]> = SmallVec::new();
    let mut kept_bytes = 0;
    for (number, field) in header::fields(header).enumerate() {
        if number == DIGESTED_FIELDS_MAX {
            return None;
        }
        if is_kept(field.name) {
            kept_bytes += field.whole.len();
            kept.push(field.whole);
        } else {
            others.push(hash(field.name));
        }
        if kept_bytes > PART_BYTES_MAX {
            return None;
        }
    }
    others.sort_unstable();
    others.dedup();
    let bytes = HASH_BYTES * (1 + others.len()) + kept_bytes;
    if bytes > PART_BYTES_MAX {
        return None;
    }
    let mut part = Vec::with_capacity(bytes);
    let count = u16::try_from(others.len()).expect("the part is short");
    part.extend_from_slice(&count.to_le_bytes());
    part.extend(others.iter().flat_map(|hash| hash.to_le_bytes()));
    kept.iter().for_each(|field| part.extend_from_slice(field));
    Some(part)
}

/// Hashes and kept fields of a part.
fn split(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = part.split_first_chunk::<HASH_BYTES>()?;
    rest.split_at_checked(HASH_BYTES * usize::from(u16::from_le_bytes(*count)))
}

/// The kept fields of a header, which is one as well. Empty if the part is none.
#[must_use]
pub fn header_of(part: &[u8]) -> &[u8] {
    split(part).map_or(&[], |(_, kept)| kept)
}

/// Is all there is of fields with this name among those kept, be it nothing?
fn is_known(hashes: &[u8], name: &[u8]) -> bool {
    let has = || {
        let hash = hash(name).to_le_bytes();
        hashes.chunks_exact(HASH_BYTES).any(|other| other == hash)
    };
    is_kept(name) || !has()
}

/// HEADER.FIELDS with these names. `None`: the header may have one that is not kept.
#[must_use]
pub fn header_fields(part: &[u8], names: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (hashes, kept) = split(part)?;
    names
        .iter()
        .all(|name| is_known(hashes, name))
        .then(|| section::header_fields(kept, names, true))
}

/// What a key of SEARCH finds in the message with this part and email id. `None`: that is not known from here.
#[must_use]
pub fn decide(key: &TextKey, part: &[u8], email_id: u64) -> Option<bool> {
    let (hashes, kept) = split(part)?;
    match key {
        TextKey::EmailId(id) => Some(email_id == *id),
        TextKey::ThreadId(id) => Some(thread_id_text(kept, email_id).as_bytes() == id.as_slice()),
        TextKey::Header { field, .. } => is_known(hashes, field).then(|| key.is_in_header(kept)),
        TextKey::Address { .. } | TextKey::SentBefore(_) | TextKey::SentOn(_) | TextKey::SentSince(_) => {
            Some(key.is_in_header(kept))
        }
        TextKey::Body(_) | TextKey::Text(_) => None,
    }
}

/// Keeps what of an opened message's header is kept, if nothing is yet.
pub(super) fn keep_fields<E: Environment>(
    store: &Store<E>,
    account: AccountId,
    row: &MessageRow,
    (email_id, header): (u64, &[u8]),
) {
    if store.wants_summary(account, row, PartSet::NONE.with(Part::Fields))
        && let Some(part) = fields_of(header)
    {
        let mut summary = Summary::new(email_id);
        summary.put(Part::Fields, &part);
        store.keep_summary(account, row, &summary);
    }
}

/// What SORT and THREAD look at of the messages of these rows: their headers, or what of them is kept. Messages are opened of
/// which there is no summary; theirs are made.
///
/// # Errors
/// The store's; a damaged message has no header.
pub(super) async fn headers<E: Environment>(
    store: &Store<E>,
    account: AccountId,
    rows: &[MessageRow],
) -> Result<Vec<Vec<u8>>, SearchError> {
    let mut headers: Vec<Option<Vec<u8>>> = vec![None; rows.len()];
    let wanted = PartSet::NONE.with(Part::Fields);
    let tell = |number: usize, summary: &Summary<'_>| {
        headers[number] = summary.part(Part::Fields).map(|part| header_of(part).to_vec());
    };
    store.recall(account, rows, wanted, tell).await;
    let missing = rows.iter().zip(&headers).filter(|(_, header)| header.is_none());
    store.read_ahead(missing.map(|(row, _)| row)).await;
    let mut all = Vec::with_capacity(rows.len());
    for (row, header) in rows.iter().zip(headers) {
        all.push(match header {
            Some(header) => header,
            None => opened(store, account, row).await?,
        });
    }
    Ok(all)
}

async fn opened<E: Environment>(
    store: &Store<E>,
    account: AccountId,
    row: &MessageRow,
) -> Result<Vec<u8>, SearchError> {
    let read = async {
        let mut reader = MessageReader::open(store, account, row).await?;
        let email_id = reader.email_id();
        let header = reader.header().await?;
        keep_fields(store, account, row, (email_id, header));
        Ok(header.to_vec())
    };
    match read.await {
        Err(StoreError::Damaged { .. }) => Ok(Vec::new()),
        read => read.map_err(SearchError::Store),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::search::Matcher;
    use crate::proto::message::{date, envelope, references};
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            4 => prop::sample::select(KEPT_FIELDS.to_vec()).prop_map(str::to_owned),
            2 => prop::sample::select(vec!["Received", "X-Mailer", "DKIM-Signature", "", " To", "SUBJECT", "Date "])
                .prop_map(str::to_owned),
            1 => "[a-zA-Z-]{0,3}",
        ];
        let value = prop_oneof![
            "[ -~]{0,30}",
            "<[a-d]@x> <[a-d]@x>",
            "Mon, 1 Jan 2024 10:00:00 \\+0000",
            "Ann <ann@example\\.org>, \"B, C\" <b@c>;",
            "a\r\n b\r\n\tc",
        ];
        let line = (
            name,
            prop::sample::select(vec![":", ": ", ""]),
            value,
            prop::sample::select(vec!["\r\n", "\n"]),
        )
            .prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}").into_bytes());
        let end = prop::sample::select(vec![&b"\r\n"[..], b"\n", b"", b"Subject: cut"]);
        (prop::collection::vec(line, 0..12), end)
            .prop_map(|(lines, end)| [lines.concat(), end.to_vec()].concat())
    }

    fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let name = prop_oneof![
            prop::sample::select(KEPT_FIELDS.to_vec()).prop_map(|name| name.to_uppercase().into_bytes()),
            prop::sample::select(vec![
                "received", "X-MAILER", "", "x-absent", "date ", " to", "a", "b"
            ])
            .prop_map(|name| name.as_bytes().to_vec()),
        ];
        prop::collection::vec(name, 0..6)
    }

    fn key() -> impl Strategy<Value = TextKey> {
        let text = prop::sample::select(vec!["", "a", "ann", "b@c", "<a@x>", "2024", "\u{c4}", "x y"])
            .prop_map(|text| Matcher::new(None, text.as_bytes()).expect("UTF-8"));
        let name = prop_oneof![
            3 => prop::sample::select(KEPT_FIELDS.to_vec()),
            1 => prop::sample::select(vec!["received", "X-MAILER", "", "x-absent", "date ", " to", "a", "b"]),
        ];
        let header = (name, text.clone()).prop_map(|(name, text)| TextKey::Header {
            field: name.as_bytes().to_vec(),
            text,
        });
        let field = prop::sample::select(vec![&b"From"[..], b"To", b"Cc", b"Bcc"]);
        let address = (field, text).prop_map(|(field, text)| TextKey::Address { field, text });
        let day = 19_720..19_730_i32;
        prop_oneof![
            4 => header,
            4 => address,
            1 => day.clone().prop_map(TextKey::SentBefore),
            1 => day.clone().prop_map(TextKey::SentOn),
            1 => day.prop_map(TextKey::SentSince),
        ]
    }

    proptest! {
        #[test]
        fn a_search_finds_in_what_is_kept_what_it_finds_in_the_header(header in header(), key in key()) {
            let part = fields_of(&header).expect("it is short");
            match decide(&key, &part, 7) {
                Some(found) => prop_assert_eq!(found, key.is_in_header(&header), "{:?}", key),
                None => {
                    let TextKey::Header { field, .. } = &key else {
                        panic!("only a field that is not kept is not known: {key:?}")
                    };
                    prop_assert!(!is_kept(field));
                }
            }
            let thread = thread_id_text(&header, 7).into_bytes();
            prop_assert_eq!(decide(&TextKey::ThreadId(thread), &part, 7), Some(true));
        }

        #[test]
        fn what_is_kept_answers_as_the_header_does(header in header(), names in names()) {
            let part = fields_of(&header).expect("it is short");
            if let Some(fields) = header_fields(&part, &names) {
                prop_assert_eq!(fields, section::header_fields(&header, &names, true));
            } else {
                prop_assert!(names.iter().any(|name| !is_kept(name)));
            }
            let kept: Vec<Vec<u8>> = KEPT_FIELDS.iter().map(|name| name.as_bytes().to_vec()).collect();
            prop_assert_eq!(
                header_fields(&part, &kept),
                Some(section::header_fields(&header, &kept, true))
            );
            prop_assert!(header_fields(&part, &[b"x-nobody-has-this".to_vec()]).is_some());
            let (mut of_part, mut of_header) = (Vec::new(), Vec::new());
            envelope::write(header_of(&part), &mut of_part);
            envelope::write(&header, &mut of_header);
            prop_assert_eq!(of_part, of_header);
            prop_assert_eq!(references::links(header_of(&part)), references::links(&header));
            prop_assert_eq!(references::root(header_of(&part)), references::root(&header));
            prop_assert_eq!(date::sent_at(header_of(&part)), date::sent_at(&header));
        }

        #[test]
        fn no_bytes_are_too_strange_for_a_part(part in prop::collection::vec(any::<u8>(), 0..60), names in names()) {
            let _ = (header_of(&part), header_fields(&part, &names));
        }
    }

    #[test]
    fn long_headers_have_no_part() {
        let long = format!("Subject: {}\r\n\r\n", "x".repeat(PART_BYTES_MAX));
        assert_eq!(fields_of(long.as_bytes()), None);
        let many = "X: y\r\n".repeat(DIGESTED_FIELDS_MAX + 1);
        assert_eq!(fields_of(many.as_bytes()), None);
        let names: String = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect();
        assert_eq!(fields_of(names.as_bytes()), None, "so many names");
        let part = fields_of(b"X: y\r\nX: z\r\nTo: a@b\r\n\r\n").expect("it is short");
        assert_eq!(header_of(&part), b"To: a@b\r\n");
        assert_eq!(header_fields(&part, &[b"x".to_vec()]), None);
    }
}
