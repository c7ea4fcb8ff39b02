//! A reader of `envelope` and `body` (RFC 9051 §9), written from the grammar and not from the writers.

#[derive(Debug, PartialEq)]
pub enum Node {
    Nil,
    Text(Vec<u8>),
    Number(u64),
    List(Vec<Node>),
}

type Check = Result<(), String>;

/// Reads one value and demands that nothing is left.
pub fn read(bytes: &[u8]) -> Result<Node, String> {
    let (node, rest) = value(bytes)?;
    if rest.is_empty() {
        Ok(node)
    } else {
        Err(format!("{} octets left over", rest.len()))
    }
}

fn value(bytes: &[u8]) -> Result<(Node, &[u8]), String> {
    match bytes {
        [b'N', b'I', b'L', rest @ ..] => Ok((Node::Nil, rest)),
        [b'(', rest @ ..] => list(rest),
        [b'"', rest @ ..] => quoted(rest),
        [b'{', rest @ ..] => literal(rest),
        [b'0'..=b'9', ..] => {
            let end = bytes
                .iter()
                .position(|b| !b.is_ascii_digit())
                .unwrap_or(bytes.len());
            let number = std::str::from_utf8(&bytes[..end]).map_err(|e| e.to_string())?;
            Ok((Node::Number(number.parse().map_err(|_| "number")?), &bytes[end..]))
        }
        _ => Err(format!(
            "no value at {:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(20)])
        )),
    }
}

/// Elements are separated by one space; lists may also follow one another directly (addresses, parts).
fn list(mut bytes: &[u8]) -> Result<(Node, &[u8]), String> {
    let mut nodes = Vec::new();
    loop {
        let (node, rest) = value(bytes)?;
        let is_list = matches!(node, Node::List(_));
        nodes.push(node);
        match rest {
            [b')', rest @ ..] => return Ok((Node::List(nodes), rest)),
            [b' ', rest @ ..] => bytes = rest,
            [b'(', ..] if is_list => bytes = rest,
            _ => return Err("no separator".to_owned()),
        }
    }
}

fn quoted(bytes: &[u8]) -> Result<(Node, &[u8]), String> {
    let mut text = Vec::new();
    let mut at = 0;
    loop {
        match bytes.get(at).ok_or("unclosed quote")? {
            b'"' => return Ok((Node::Text(text), &bytes[at + 1..])),
            b'\\' => {
                at += 1;
                let escaped = *bytes.get(at).ok_or("unclosed quote")?;
                if !matches!(escaped, b'"' | b'\\') {
                    return Err(format!("{escaped:#x} escaped"));
                }
                text.push(escaped);
            }
            b @ (0 | b'\r' | b'\n' | 0x80..) => return Err(format!("{b:#x} in a quoted string")),
            &b => text.push(b),
        }
        at += 1;
    }
}

fn literal(bytes: &[u8]) -> Result<(Node, &[u8]), String> {
    let end = bytes.iter().position(|b| *b == b'}').ok_or("unclosed literal")?;
    let length = std::str::from_utf8(&bytes[..end]).map_err(|e| e.to_string())?;
    let length: usize = length.parse().map_err(|_| "literal length")?;
    let rest = bytes[end + 1..]
        .strip_prefix(b"\r\n")
        .ok_or("no CRLF in a literal")?;
    let text = rest.get(..length).ok_or("short literal")?;
    if text.contains(&0) {
        return Err("NUL in a literal".to_owned());
    }
    Ok((Node::Text(text.to_vec()), &rest[length..]))
}

impl Node {
    fn elements(&self) -> Result<&[Self], String> {
        match self {
            Self::List(nodes) => Ok(nodes),
            other => Err(format!("{other:?} is no list")),
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn is_nstring(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Nil)
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Text(text) if text.eq_ignore_ascii_case(wanted.as_bytes()))
    }
}

fn demand(condition: bool, what: &str, node: &[Node]) -> Check {
    if condition {
        return Ok(());
    }
    Err(format!("{what}: {node:?}"))
}

/// `envelope`
pub fn check_envelope(node: &Node) -> Check {
    let fields = node.elements()?;
    demand(fields.len() == 10, "ten fields", fields)?;
    for at in [0, 1, 8, 9] {
        demand(fields[at].is_nstring(), "nstring", fields)?;
    }
    for list in fields[2..8].iter().filter(|f| **f != Node::Nil) {
        for address in list.elements()? {
            let parts = address.elements()?;
            demand(
                parts.len() == 4 && parts.iter().all(Node::is_nstring),
                "address",
                parts,
            )?;
        }
    }
    Ok(())
}

/// `body`, extended or not, down to all its parts.
pub fn check_body(node: &Node, is_extended: bool) -> Check {
    let fields = node.elements()?;
    let parts = fields.iter().take_while(|f| matches!(f, Node::List(_))).count();
    if parts == 0 {
        return check_single(fields, is_extended);
    }
    for part in &fields[..parts] {
        check_body(part, is_extended)?;
    }
    let rest = &fields[parts..];
    demand(rest.first().is_some_and(Node::is_text), "subtype", rest)?;
    if !is_extended {
        return demand(rest.len() == 1, "no extension data", rest);
    }
    demand(rest.len() == 5, "extension data", rest)?;
    check_parameters(&rest[1])?;
    check_disposition_language_location(&rest[2..])
}

fn check_single(fields: &[Node], is_extended: bool) -> Check {
    demand(fields.len() >= 7, "seven fields", fields)?;
    demand(fields[0].is_text() && fields[1].is_text(), "media type", fields)?;
    check_parameters(&fields[2])?;
    demand(
        fields[3].is_nstring() && fields[4].is_nstring(),
        "id and description",
        fields,
    )?;
    demand(
        fields[5].is_text() && fields[6].is_number(),
        "encoding and octets",
        fields,
    )?;
    let mut rest = &fields[7..];
    if fields[0].is("message") && fields[1].is("rfc822") {
        demand(rest.len() >= 3 && rest[2].is_number(), "message", fields)?;
        check_envelope(&rest[0])?;
        check_body(&rest[1], is_extended)?;
        rest = &rest[3..];
    } else if fields[0].is("text") {
        demand(rest.first().is_some_and(Node::is_number), "lines", fields)?;
        rest = &rest[1..];
    }
    if !is_extended {
        return demand(rest.is_empty(), "no extension data", rest);
    }
    demand(rest.len() == 4 && rest[0].is_nstring(), "extension data", rest)?;
    check_disposition_language_location(&rest[1..])
}

fn check_parameters(node: &Node) -> Check {
    if *node == Node::Nil {
        return Ok(());
    }
    let pairs = node.elements()?;
    let is_valid = !pairs.is_empty() && pairs.len().is_multiple_of(2) && pairs.iter().all(Node::is_text);
    demand(is_valid, "parameters", pairs)
}

fn check_disposition_language_location(fields: &[Node]) -> Check {
    if fields[0] != Node::Nil {
        let disposition = fields[0].elements()?;
        demand(
            disposition.len() == 2 && disposition[0].is_text(),
            "disposition",
            disposition,
        )?;
        check_parameters(&disposition[1])?;
    }
    let is_language = match &fields[1] {
        Node::List(tags) => tags.iter().all(Node::is_text),
        other => other.is_nstring(),
    };
    demand(
        is_language && fields[2].is_nstring(),
        "language and location",
        fields,
    )
}
