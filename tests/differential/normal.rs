//! Answers in one form, so that two servers can be compared: what the RFCs leave free is taken away here.
//!
//! - Human text of OK, NO, BAD, BYE; quoted, literal or atom; upper or lower case of what has none.
//! - Numbers that a server chooses: UIDVALIDITY (`V`), mod-sequences (`M`), identifiers (`I`), save dates (`D`).
//! - INTERNALDATE as a moment: its zone is the server's choice. Where a message is new to a session (`\\Recent`, RECENT)
//!   is chance (RFC 3501 §2.3.2).
//! - The order of flags, of attributes in FETCH, STATUS, LIST, and of responses other than EXPUNGE (RFC 9051 §2.2.2,
//!   §7.5.1: EXPUNGE's order is its meaning).
//! - CAPABILITY, which is compared nowhere: each side announces what it has.

use crate::common::talk::Answer;

/// One command and its answer in normal form; the last line is the tagged one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub line: String,
    pub answer: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Nil,
    Word(String),
    List(Vec<Value>),
}

pub fn answer(answer: &Answer) -> Vec<String> {
    let (mut expunged, mut others) = (Vec::new(), Vec::new());
    for response in &answer.untagged {
        let text = untagged(response.strip_prefix("* ").unwrap_or(response));
        if text.ends_with(" RECENT") {
            continue;
        }
        let place = if text.ends_with(" EXPUNGE") {
            &mut expunged
        } else {
            &mut others
        };
        place.extend((!text.is_empty()).then_some(text));
    }
    others.sort();
    others.extend(expunged);
    others.push(status(&answer.outcome).unwrap_or_else(|| answer.outcome.clone()));
    others
}

/// `OK [CODE …]` without its text; `None` for anything else.
fn status(text: &str) -> Option<String> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&kind) {
        return None;
    }
    let Some(code) = rest.strip_prefix('[') else {
        return Some(kind.to_owned());
    };
    let mut values = Reader::new(code).list(b']');
    if matches!(values.first(), Some(Value::Word(name)) if name == "CAPABILITY") {
        return Some(kind.to_owned());
    }
    hide_in_code(&mut values);
    let code = join(&values);
    let code = match code.split_once("UIDVALIDITY=") {
        Some((head, rest)) => format!(
            "{head}UIDVALIDITY=V{}",
            rest.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        None => code,
    };
    Some(format!("{kind} [{code}]"))
}

fn hide_in_code(values: &mut [Value]) {
    let Some(Value::Word(name)) = values.first() else {
        return;
    };
    let stands_for = match name.to_ascii_uppercase().as_str() {
        "UIDVALIDITY" | "APPENDUID" | "COPYUID" => "V",
        "HIGHESTMODSEQ" => "M",
        "MAILBOXID" => "I",
        "PERMANENTFLAGS" => return sort_flags(&mut values[1..]),
        _ => return,
    };
    if let Some(value) = values.get_mut(1) {
        *value = Value::Word(stands_for.to_owned());
    }
}

fn untagged(text: &str) -> String {
    if let Some(status) = status(text) {
        // An untagged OK without a code is chatter (RFC 9051 §7.1.1).
        return if status == "OK" { String::new() } else { status };
    }
    let mut values = Reader::new(text).list(0);
    let words: Vec<String> = values.iter().take(2).map(show).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "FETCH"] => fetch(&mut values[2..]),
        ["FLAGS", ..] => sort_flags(&mut values[1..]),
        ["LIST" | "LSUB", ..] => sort_flags(&mut values[1..2]),
        ["STATUS", ..] => sort_pairs(&mut values[2..]),
        ["SEARCH" | "SORT", ..] => search(&mut values[1..]),
        ["ESEARCH", ..] => esearch(&mut values),
        ["CAPABILITY" | "ID", ..] => values.truncate(1),
        _ => {}
    }
    join(&values)
}

fn fetch(values: &mut [Value]) {
    let Some(Value::List(items)) = values.first_mut() else {
        return;
    };
    for pair in items.chunks_mut(2) {
        let [Value::Word(name), value] = pair else {
            continue;
        };
        name.make_ascii_uppercase();
        match name.as_str() {
            "FLAGS" => sort_flags(std::slice::from_mut(value)),
            "MODSEQ" => *value = Value::Word("M".to_owned()),
            "EMAILID" | "THREADID" => *value = Value::Word("I".to_owned()),
            "SAVEDATE" if *value != Value::Nil => *value = Value::Word("D".to_owned()),
            "BODY" | "BODYSTRUCTURE" => body(value),
            "INTERNALDATE" => *value = Value::Word(moment(&show(value))),
            _ => {}
        }
    }
    sort_pairs(values);
}

/// `" 1-Feb-2026 00:00:00 +0100"` as seconds of UTC since the first of its month's 31-day grid: equal for equal moments
/// of one month, which is all that is compared.
fn moment(text: &str) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = text.trim_matches('"').trim_start();
    let numbers: Vec<i64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    let month = text
        .get(..6)
        .and_then(|date| MONTHS.find(&date[date.find('-')? + 1..][..3]));
    let ([day, year, hour, minute, second, zone], Some(month)) = (numbers.as_slice(), month) else {
        return text.to_owned();
    };
    let sign = if text.contains(" -") { 1 } else { -1 };
    let minutes = sign * (zone / 100 * 60 + zone % 100);
    let days = (year * 12 + month as i64 / 3) * 31 + day;
    format!("@{}", ((days * 24 + hour) * 60 + minute + minutes) * 60 + second)
}

/// Type, subtype, encoding, parameter names and charsets have no case (RFC 2045 §5.1, §6.1; RFC 2046 §4.1.2).
fn body(value: &mut Value) {
    let Value::List(parts) = value else { return };
    if matches!(parts.first(), Some(Value::List(_))) {
        let children = parts
            .iter()
            .take_while(|part| matches!(part, Value::List(_)))
            .count();
        parts[..children].iter_mut().for_each(body);
        lower(parts.get_mut(children));
        parameters(parts.get_mut(children + 1));
        disposition(parts.get_mut(children + 2));
        return;
    }
    for place in [0, 1, 5] {
        lower(parts.get_mut(place));
    }
    parameters(parts.get_mut(2));
    let kind: Vec<String> = parts.iter().take(2).map(show).collect();
    let extra = match kind.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["message", "rfc822"] => {
            if let Some(inner) = parts.get_mut(8) {
                body(inner);
            }
            3
        }
        ["text", _] => 1,
        _ => 0,
    };
    disposition(parts.get_mut(8 + extra));
}

fn disposition(value: Option<&mut Value>) {
    if let Some(Value::List(parts)) = value {
        lower(parts.first_mut());
        parameters(parts.get_mut(1));
    }
}

fn parameters(value: Option<&mut Value>) {
    let Some(Value::List(pairs)) = value else { return };
    for pair in pairs.chunks_mut(2) {
        lower(pair.first_mut());
        if show(&pair[0]) == "charset" {
            lower(pair.get_mut(1));
        }
    }
}

fn lower(value: Option<&mut Value>) {
    if let Some(Value::Word(text)) = value {
        text.make_ascii_lowercase();
    }
}

/// Sorts a list of flags or attributes; keywords keep their case, what a standard names has none. `\Recent` is of one
/// session, and which one is first to see a message is a matter of chance (RFC 3501 §2.3.2).
fn sort_flags(values: &mut [Value]) {
    for value in values {
        let Value::List(flags) = value else { continue };
        for flag in flags.iter_mut() {
            if let Value::Word(text) = flag
                && text.starts_with('\\')
            {
                text.make_ascii_lowercase();
            }
        }
        flags.retain(|flag| show(flag) != "\\recent");
        flags.sort_by_key(show);
    }
}

/// `(A 1 B 2)` by names, volatile numbers hidden.
fn sort_pairs(values: &mut [Value]) {
    let Some(Value::List(items)) = values.first_mut() else {
        return;
    };
    let mut pairs: Vec<Vec<Value>> = items.chunks(2).map(<[Value]>::to_vec).collect();
    for pair in &mut pairs {
        let stands_for = match show(&pair[0]).as_str() {
            "UIDVALIDITY" => "V",
            "HIGHESTMODSEQ" => "M",
            "MAILBOXID" => "I",
            _ => continue,
        };
        pair.truncate(1);
        pair.push(Value::Word(stands_for.to_owned()));
    }
    pairs.sort_by_key(|pair| show(&pair[0]));
    *items = pairs.concat();
}

/// SORT's order is its meaning, SEARCH's is not; the mod-sequence behind either is the server's.
fn search(values: &mut [Value]) {
    for value in values.iter_mut() {
        if let Value::List(parts) = value
            && show(&parts[0]) == "MODSEQ"
        {
            *value = Value::Word("(MODSEQ M)".to_owned());
        }
    }
}

fn esearch(values: &mut Vec<Value>) {
    let is_item = |value: &Value| matches!(value, Value::Word(text) if text != "ESEARCH" && text != "UID");
    let start = values.iter().position(is_item).unwrap_or(values.len());
    for value in values.iter_mut() {
        if let Value::List(parts) = value
            && parts.first().map(show).as_deref() == Some("TAG")
        {
            parts.truncate(1);
        }
    }
    let mut items: Vec<Vec<Value>> = values.split_off(start).chunks(2).map(<[Value]>::to_vec).collect();
    for item in &mut items {
        if show(&item[0]) == "MODSEQ" {
            item.truncate(1);
        }
    }
    items.sort_by_key(|item| show(&item[0]));
    values.extend(items.concat());
}

fn join(values: &[Value]) -> String {
    values.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn show(value: &Value) -> String {
    match value {
        Value::Nil => "NIL".to_owned(),
        Value::List(values) => format!("({})", join(values)),
        Value::Word(text) => {
            let is_plain = !text.is_empty() && text != "NIL" && !text.contains(['"', '\r', '\n', '\t']);
            let is_spaced = text.contains([' ', '(', ')']) && !text.contains('[');
            if is_plain && !is_spaced {
                text.clone()
            } else {
                format!("{text:?}")
            }
        }
    }
}

/// Takes a response apart. Never fails: what is malformed shows as a difference.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        Reader {
            rest: text.as_bytes(),
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Values up to `end` or the end of the text.
    fn list(&mut self, end: u8) -> Vec<Value> {
        let mut values = Vec::new();
        while let Some(&next) = self.rest.first() {
            match next {
                b' ' | b'\r' | b'\n' => drop(self.next()),
                _ if next == end => {
                    self.next();
                    return values;
                }
                b'(' => {
                    self.next();
                    values.push(Value::List(self.list(b')')));
                }
                b'"' => values.push(self.quoted()),
                b'{' | b'~' => values.push(self.literal()),
                _ => values.push(self.atom(end)),
            }
        }
        values
    }

    fn quoted(&mut self) -> Value {
        self.next();
        let mut text = Vec::new();
        while let Some(octet) = self.next() {
            match octet {
                b'"' => break,
                b'\\' => text.extend(self.next()),
                _ => text.push(octet),
            }
        }
        Value::Word(String::from_utf8_lossy(&text).into_owned())
    }

    fn literal(&mut self) -> Value {
        let end = self.rest.iter().position(|&octet| octet == b'\n');
        let Some(end) = end.filter(|&end| self.rest[..end].ends_with(b"}\r")) else {
            return self.atom(0);
        };
        let head = String::from_utf8_lossy(&self.rest[..end]);
        let digits: String = head.chars().filter(char::is_ascii_digit).collect();
        self.rest = &self.rest[end + 1..];
        let length = digits.parse::<usize>().unwrap_or(0).min(self.rest.len());
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Value::Word(String::from_utf8_lossy(text).into_owned())
    }

    /// With what stands in its brackets: `BODY[HEADER.FIELDS (TO)]<0>`.
    fn atom(&mut self, end: u8) -> Value {
        let mut text = Vec::new();
        let mut depth = 0_u32;
        while let Some(&next) = self.rest.first() {
            match next {
                b'[' => depth += 1,
                b']' if depth > 0 => depth -= 1,
                _ if depth > 0 => {}
                b' ' | b'(' | b')' | b'\r' => break,
                _ if next == end => break,
                _ => {}
            }
            text.push(next);
            self.next();
        }
        if text.is_empty() {
            text.extend(self.next());
        }
        if text.eq_ignore_ascii_case(b"NIL") {
            return Value::Nil;
        }
        Value::Word(String::from_utf8_lossy(&text).into_owned())
    }
}

#[test]
fn what_the_standards_leave_free_is_taken_away_and_nothing_else() {
    let of = |text: &str| untagged(text);
    assert_eq!(
        of("1 FETCH (UID 2 FLAGS (\\Seen \\Answered \\Recent x))"),
        of("1 FETCH (FLAGS (x \\answered \\SEEN) UID 2)")
    );
    assert_eq!(
        of("1 FETCH (BODY[TEXT] {3}\r\na)b)"),
        of("1 FETCH (BODY[TEXT] \"a)b\")")
    );
    assert_ne!(of("1 FETCH (BODY[TEXT] \"a\")"), of("1 FETCH (BODY[TEXT] \"A\")"));
    assert_ne!(of("1 FETCH (BODY[TEXT] \"\")"), of("1 FETCH (BODY[TEXT] NIL)"));
    assert_ne!(of("1 FETCH (BODY[TEXT] \"NIL\")"), of("1 FETCH (BODY[TEXT] NIL)"));
    assert_eq!(
        of("LIST (\\HasNoChildren) \"/\" INBOX"),
        of("LIST (\\hasnochildren) \"/\" \"INBOX\"")
    );
    assert_ne!(of("SORT 1 2"), of("SORT 2 1"));
    assert_eq!(
        of("1 FETCH (INTERNALDATE \" 1-Feb-2026 00:30:00 +0100\")"),
        of("1 FETCH (INTERNALDATE \"31-Jan-2026 23:30:00 +0000\")")
    );
    assert_ne!(
        of("1 FETCH (INTERNALDATE \"01-Feb-2026 00:30:00 +0100\")"),
        of("1 FETCH (INTERNALDATE \"01-Feb-2026 00:30:00 +0000\")")
    );
    assert_eq!(of("OK [UIDVALIDITY 7] valid"), of("OK [UIDVALIDITY 8] fine"));
    assert_ne!(of("OK [UIDNEXT 7] next"), of("OK [UIDNEXT 8] next"));
    assert_eq!(
        of("1 FETCH (BODYSTRUCTURE (\"TEXT\" \"Plain\" (\"CHARSET\" \"X\") NIL NIL \"7BIT\" 3 1))"),
        of("1 FETCH (BODYSTRUCTURE (\"text\" \"plain\" (\"charset\" \"X\") NIL NIL \"7bit\" 3 1))")
    );
}
