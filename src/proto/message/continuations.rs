//! Parameters that came in pieces or with a charset, made one and UTF-8 (RFC 2231 §3, §4), as BODYSTRUCTURE shows them (RFC 9051
//! §7.5.2): `foo*0=a; foo*1=b` is `foo` with `ab`; `foo*=utf-8'de'%C3%A4` and `foo*0*=utf-8'de'%C3%A4; foo*1=b` are `foo*` in UTF-8.
//!
//! Invariants: pieces count in the order of their numbers, from 0 up to the first gap; a parameter stands where its first piece
//! stood. Pieces that belong to nothing (no 0, behind a gap, a number twice) stay as they are written, so that nothing is lost.
//! Limits: those of `mime` on how many parameters there are and how long each is hold for what comes in and what goes out; names
//! longer than [`BASE_BYTES_MAX`] are not joined. So time is linear in the field: each piece is compared with a bounded number of
//! others.
//! Failure: a value whose charset is not known or not named, and is no UTF-8, is joined and keeps its charset and its `%`.
//!
//! Not here: reading parameters (`mime`).

use super::nstring;
use super::parameter::{PARAMETER_BYTES_MAX, Parameter};
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode_char;

/// Octets of a name that pieces are joined under. MIME's have fewer than twenty.
pub const BASE_BYTES_MAX: usize = 64;

/// What a name with `*` in it says.
struct Piece {
    /// Octets of the name before the first `*`.
    base_length: usize,
    /// `None`: the value is whole.
    number: Option<usize>,
    /// Its `%` are to be decoded.
    is_encoded: bool,
}

impl Piece {
    fn of(name: &[u8]) -> Option<Self> {
        let base_length = memchr::memchr(b'*', name).filter(|at| (1..=BASE_BYTES_MAX).contains(at))?;
        let behind = &name[base_length + 1..];
        let digits = behind.strip_suffix(b"*").unwrap_or(behind);
        let number = match digits {
            b"" if behind.is_empty() => None,
            digits => Some(number(digits)?),
        };
        Some(Self {
            base_length,
            number,
            is_encoded: name.ends_with(b"*"),
        })
    }
}

/// RFC 2231 §3: decimal, without leading zeros.
fn number(digits: &[u8]) -> Option<usize> {
    let is_number = digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || !digits.starts_with(b"0"));
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// The same parameters, joined and decoded.
#[must_use]
pub fn join(parameters: Vec<Parameter>) -> Vec<Parameter> {
    if !parameters.iter().any(|p| p.name.contains(&b'*')) {
        return parameters;
    }
    let pieces: Vec<Option<Piece>> = parameters.iter().map(|p| Piece::of(&p.name)).collect();
    let mut is_used = vec![false; parameters.len()];
    let mut joined = Vec::with_capacity(parameters.len());
    for at in 0..parameters.len() {
        if is_used[at] {
            continue;
        }
        let run = run_of(&parameters, &pieces, at);
        // A run stands where the first of its pieces does, which need not be number 0.
        if run.is_empty() {
            joined.push(parameters[at].clone());
            continue;
        }
        for index in &run {
            is_used[*index] = true;
        }
        let of_run = run.iter().filter_map(|index| {
            let piece = pieces[*index].as_ref()?;
            Some((parameters[*index].value.as_slice(), piece.is_encoded))
        });
        let base_length = pieces[at].as_ref().map_or(0, |piece| piece.base_length);
        joined.push(whole(
            &parameters[at].name[..base_length],
            &of_run.collect::<Vec<_>>(),
        ));
    }
    joined
}

/// The pieces that make one parameter with the one at `at`, in their order; none if it makes none.
fn run_of(parameters: &[Parameter], pieces: &[Option<Piece>], at: usize) -> Vec<usize> {
    let Some(piece) = &pieces[at] else {
        return Vec::new();
    };
    if piece.number.is_none() {
        return vec![at];
    }
    let base = &parameters[at].name[..piece.base_length];
    // By number; the first of a number counts.
    let mut numbered: Vec<Option<usize>> = vec![None; parameters.len()];
    for (index, other) in pieces.iter().enumerate() {
        let Some(other) = other else { continue };
        let is_same = parameters[index].name[..other.base_length].eq_ignore_ascii_case(base);
        if let Some(slot) = other.number.and_then(|number| numbered.get_mut(number))
            && is_same
        {
            slot.get_or_insert(index);
        }
    }
    let run: Vec<usize> = numbered.into_iter().map_while(|index| index).collect();
    if run.contains(&at) { run } else { Vec::new() }
}

/// One parameter of its pieces' values, each with whether it is encoded.
fn whole(base: &[u8], values: &[(&[u8], bool)]) -> Parameter {
    if !values.iter().any(|(_, is_encoded)| *is_encoded) {
        let value: Vec<u8> = values.iter().flat_map(|(value, _)| *value).copied().collect();
        return Parameter {
            name: base.to_vec(),
            value: clipped(&value),
        };
    }
    let (charset, language, first) = match values.first() {
        Some((value, true)) => split_charset(value),
        Some((value, false)) => (None, &b""[..], *value),
        None => (None, &b""[..], &b""[..]),
    };
    let first = (first, values.first().is_some_and(|(_, is_encoded)| *is_encoded));
    let rest = values.iter().skip(1).copied();
    let mut octets = Vec::new();
    for (value, is_encoded) in std::iter::once(first).chain(rest.clone()) {
        if is_encoded {
            push_decoded(value, &mut octets);
        } else {
            octets.extend_from_slice(value);
        }
    }
    let text = text_of(charset.unwrap_or_default(), &octets);
    let value = text.map_or_else(
        || still_encoded(charset, language, std::iter::once(first).chain(rest)),
        String::into_bytes,
    );
    Parameter {
        name: [base, b"*"].concat(),
        value: clipped(&value),
    }
}

fn clipped(value: &[u8]) -> Vec<u8> {
    nstring::clip(value, PARAMETER_BYTES_MAX).to_vec()
}

/// `charset'language'rest`; without two apostrophes all of it is the rest.
fn split_charset(value: &[u8]) -> (Option<&[u8]>, &[u8], &[u8]) {
    let mut parts = value.splitn(3, |b| *b == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(language), Some(rest)) => (Some(charset), language, rest),
        _ => (None, b"", value),
    }
}

/// A `%` that begins no octet stays.
fn push_decoded(value: &[u8], octets: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'%', rest) {
        octets.extend_from_slice(&rest[..at]);
        let decoded = match &rest[at..] {
            [_, high, low, ..] => quoted_printable_decode_char(*high, *low),
            _ => None,
        };
        octets.push(decoded.unwrap_or(b'%'));
        rest = &rest[at + if decoded.is_some() { 3 } else { 1 }..];
    }
    octets.extend_from_slice(rest);
}

/// What does not name its charset is UTF-8, if it can be.
fn text_of(charset: &[u8], octets: &[u8]) -> Option<String> {
    let is_unicode = [&b""[..], b"utf-8", b"us-ascii"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known));
    if is_unicode {
        return std::str::from_utf8(octets).ok().map(str::to_owned);
    }
    charset_decoder(charset).map(|decode| decode(octets))
}

/// All pieces as one encoded value, for whoever knows the charset.
fn still_encoded<'a>(
    charset: Option<&[u8]>,
    language: &[u8],
    values: impl Iterator<Item = (&'a [u8], bool)>,
) -> Vec<u8> {
    let mut value = Vec::new();
    if let Some(charset) = charset {
        value.extend_from_slice(&[charset, b"'", language, b"'"].concat());
    }
    for (piece, is_encoded) in values {
        for &octet in piece {
            // RFC 2231 §7, attribute-char.
            let stays = is_encoded || octet.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&octet);
            if stays {
                value.push(octet);
            } else {
                value.extend_from_slice(format!("%{octet:02X}").as_bytes());
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::mime::{MimeFields, PARAMETERS_MAX};
    use super::*;
    use proptest::prelude::*;

    /// `name=value` of what is shown of the parameters of a field.
    fn shown(parameters: &str) -> Vec<String> {
        let value = format!("attachment; {parameters}");
        let fields = MimeFields {
            disposition: Some(value.as_bytes()),
            ..MimeFields::default()
        };
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let shown = fields.disposition().expect("it has a kind").parameters;
        shown
            .iter()
            .map(|p| format!("{}={}", text(&p.name), text(&p.value)))
            .collect()
    }

    /// RFC 2231 §3, §4, §4.1; RFC 9051 §7.5.2.
    #[test]
    fn pieces_are_joined_and_decoded() {
        for (parameters, expected) in [
            (
                "filename*0=long; filename*1=name.png",
                &["filename=longname.png"][..],
            ),
            (
                "url*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"",
                &["url=ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"],
            ),
            (
                "title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
                &["title*=This is ***fun***"],
            ),
            (
                "title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
                &["title*=This is even more ***fun*** isn't it!"],
            ),
            // In any order, between others, a character in two pieces, another charset.
            (
                "n*1*=%A4; size=3; n*0*=utf-8''%C3; x=y",
                &["n*=\u{e4}", "size=3", "x=y"],
            ),
            ("n*=iso-8859-1''%E4.bin", &["n*=\u{e4}.bin"]),
            ("n*0*=utf-8''100%25; n*1=%25", &["n*=100%%25"]),
            // Both forms for readers old and new: both are shown.
            ("n=\"a.txt\"; n*=utf-8''%C3%A4.txt", &["n=a.txt", "n*=\u{e4}.txt"]),
            ("n*=%C3%A4", &["n*=\u{e4}"]),
            ("n*0=a; n*1*=%C3%A4", &["n*=a\u{e4}"]),
            ("n*0*=utf-8'de; n*1*=%41", &["n*=utf-8'deA"]),
        ] {
            assert_eq!(shown(parameters), expected, "{parameters}");
        }
    }

    #[test]
    fn what_cannot_be_joined_or_decoded_is_not_lost() {
        for (parameters, expected) in [
            ("n*1=b; n*2=c", &["n*1=b", "n*2=c"][..]),
            ("n*0=a; n*2=c; n*1x=d", &["n=a", "n*2=c", "n*1x=d"]),
            ("n*0=a; n*0=b; n*01=c; n*1=d", &["n=ad", "n*0=b", "n*01=c"]),
            (
                "n*0*=x-none'de'%FF; n*1=\"b c\"; n*2*=%41",
                &["n*=x-none'de'%FFb%20c%41"],
            ),
            ("n*=%FF", &["n*=%FF"]),
            ("n*=utf-8''%E4", &["n*=utf-8''%E4"]),
            (
                "*=a; *0=b; n**=c; n*-1=d; n*18446744073709551616=e",
                &["*=a", "*0=b", "n**=c", "n*-1=d", "n*18446744073709551616=e"],
            ),
        ] {
            assert_eq!(shown(parameters), expected, "{parameters}");
        }
    }

    /// THREATS: 100,000 parameters of RFC 2231.
    #[test]
    fn a_bomb_of_pieces_is_cut() {
        let pieces: Vec<String> = (0..100_000)
            .map(|n| format!("n*{n}=\"{}\"", "x".repeat(99)))
            .collect();
        let shown = shown(&pieces.join("; "));
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].len(), "n=".len() + PARAMETER_BYTES_MAX);
        let starred = shown_of_many(|n| format!("n{n}*1"));
        assert_eq!(starred, PARAMETERS_MAX);
    }

    fn shown_of_many(name: impl Fn(usize) -> String) -> usize {
        let all: Vec<String> = (0..10_000).map(|n| format!("{}=x", name(n))).collect();
        shown(&all.join("; ")).len()
    }

    proptest! {
        #[test]
        fn text_in_any_charset_and_pieces_comes_back(
            text in "[ -~\u{e0}-\u{ff}\u{4e00}]{0,60}",
            cuts in prop::collection::vec((0_usize..400, any::<bool>()), 0..8),
        ) {
            let encoded: Vec<String> = text.bytes().map(|b| format!("%{b:02x}")).collect();
            let mut at: Vec<usize> = cuts.iter().map(|(at, _)| (*at).min(encoded.len())).collect();
            at.extend([0, encoded.len()]);
            at.sort_unstable();
            let mut pieces: Vec<String> = at
                .windows(2)
                .enumerate()
                .map(|(n, ends)| {
                    let head = if n == 0 { "utf-8''" } else { "" };
                    format!("n*{n}*=\"{head}{}\"", encoded[ends[0]..ends[1]].concat())
                })
                .collect();
            if cuts.first().is_some_and(|(_, is_reversed)| *is_reversed) {
                pieces.reverse();
            }
            prop_assert_eq!(shown(&pieces.join(";")), [format!("n*={text}")]);
        }

        #[test]
        fn whatever_comes_nothing_grows(parameters in "([ab](\\*(0|1|2|10)?)?\\*?=[a%4']{0,9}; ?){0,30}") {
            let shown = shown(&parameters);
            prop_assert!(shown.iter().map(String::len).sum::<usize>() <= 3 * parameters.len() + 3);
        }
    }
}
