//! MIME and all that is made of it: no panic, and every range of the structure inside the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::proto::message::search::{Matcher, text_contains};
use ringpost::proto::message::{bodystructure, envelope, header, preview, references, structure, subject};

fuzz_target!(|message: &[u8]| {
    let structure = structure::parse(message);
    for part in structure.parts() {
        assert!(part.header.end <= part.body.start && part.body.end <= message.len());
    }
    let header = &message[..header::length(message)];
    let mut out = Vec::new();
    bodystructure::write(&structure, message, true, &mut out);
    envelope::write(header, &mut out);
    let _ = references::links(header);
    let text = preview::of(&structure, message);
    assert!(text.chars().count() <= preview::PREVIEW_CHARACTERS_MAX);
    let _ = subject::base_of(&text);
    if let Ok(matcher) = Matcher::new(None, b"needle") {
        let _ = text_contains(&structure, message, &matcher);
    }
});
