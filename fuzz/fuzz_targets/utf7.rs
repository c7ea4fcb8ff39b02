//! Modified UTF-7: what is decoded encodes to what it came from, if that was ASCII; every text survives the way there
//! and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::proto::imap::utf7;

fuzz_target!(|wire: &[u8]| {
    if let Ok(name) = utf7::decode(wire) {
        let mut again = Vec::new();
        utf7::encode(&name, &mut again);
        assert!(!wire.is_ascii() || again == wire);
    }
    if let Ok(text) = std::str::from_utf8(wire)
        && !text.chars().any(char::is_control)
    {
        let mut encoded = Vec::new();
        utf7::encode(text, &mut encoded);
        assert_eq!(utf7::decode(&encoded).as_deref(), Ok(text));
    }
});
