//! Headers, dates, addresses, encoded words, trace fields, MIME fields, subjects: no panic; fields tile the header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::proto::imap::{dates, url};
use ringpost::proto::message::{address, casemap, date, header, mime, references, subject, trace, words};
use ringpost::proto::proxy;

fuzz_target!(|text: &[u8]| {
    let length = header::length(text);
    assert!(length <= text.len());
    for field in header::fields(&text[..length]) {
        let value = header::unfold(field.value);
        let _ = date::day(&value);
        let _ = words::decode(&value);
        let items = address::items(&value).count();
        assert!(items <= value.len() + 2, "more addresses than octets");
        let _ = subject::base_of(&words::decode(&value));
    }
    let _ = (date::sent_at(text), date::sent_date(text), date::day(text));
    let _ = address::items(text).count();
    let _ = (trace::hops(text), references::links(text));
    let fields = mime::MimeFields::of(text);
    let _ = (
        fields.content_type(),
        fields.disposition(),
        fields.encoding(),
        fields.languages(),
    );
    let _ = (
        dates::parse_date(text),
        url::MessageUrl::parse(text, None),
        proxy::parse(text),
    );
    if let Some(at) = dates::parse_date_time(text) {
        let mut out = Vec::new();
        dates::push_date_time(at, &mut out);
    }
    let decoded = words::decode(text);
    let _ = casemap::folded(&decoded);
});
