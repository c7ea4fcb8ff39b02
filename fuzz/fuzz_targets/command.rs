//! The IMAP command parser: no panic on any octets, in either form of names; what comes before a literal too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::proto::imap::parse;
use ringpost::proto::imap::types::NameForm;

fuzz_target!(|text: &[u8]| {
    for names in [NameForm::ModifiedUtf7, NameForm::Utf8] {
        let _ = parse::command_with(text, names);
        let _ = parse::append_head(text, names);
        let _ = parse::append_next(text, names);
    }
});
