//! SASL exchanges of every mechanism, line by line: no panic, an end that stays one, and no proof without the password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::proto::sasl::scram::{Hash, Verifier};
use ringpost::proto::sasl::{Bindings, Exchange, Mechanism, Request, Step};
use std::num::NonZeroU32;

const MECHANISMS: [Mechanism; 9] = [
    Mechanism::Plain,
    Mechanism::Login,
    Mechanism::ScramSha1,
    Mechanism::ScramSha1Plus,
    Mechanism::ScramSha256,
    Mechanism::ScramSha256Plus,
    Mechanism::External,
    Mechanism::OauthBearer,
    Mechanism::Xoauth2,
];

/// No password fits it.
fn verifier(hash: Hash) -> Verifier {
    Verifier::of_nobody(hash, &[7; 32], NonZeroU32::MIN)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[choice], text)) = data.split_first_chunk::<1>() else {
        return;
    };
    let mechanism = MECHANISMS[usize::from(choice) % MECHANISMS.len()];
    let bindings = (choice & 0x40 != 0).then(|| Bindings {
        end_point: Some(Box::from(&b"the certificate's hash"[..])),
        exporter: None,
    });
    let mut lines = text.split(|octet| *octet == b'\n');
    let initial = if choice & 0x80 != 0 { lines.next() } else { None };
    let (mut exchange, mut step) = Exchange::begin(mechanism, initial, bindings.as_ref());
    for _ in 0..32 {
        step = match step {
            Step::Challenge(_) => match lines.next() {
                Some(line) => exchange.respond(line),
                None => return,
            },
            Step::Ask(Request::Verifier { hash, .. }) => exchange.verifier(verifier(hash), "nonce"),
            Step::Ask(Request::Scram(outcome)) => {
                assert!(!outcome.is_proven(), "a proof of what nobody knows");
                return;
            }
            _ => return,
        };
    }
});
