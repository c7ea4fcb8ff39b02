//! Plain sockets that say what they are told: for tests of input that no client library would send.

use super::{PASSWORD, PATIENCE, Server, wait_until};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

/// A connection, read line by line. Writing to a peer that hung up is not an error here: the next read tells.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    pub fn connect(port: u16) -> Wire {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Wire {
            stream: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// One line without its CRLF; `None` when the server has hung up. Fails the test if nothing comes.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\r\n") => {
                line.truncate(line.len() - 2);
                Some(String::from_utf8_lossy(&line).into_owned())
            }
            Ok(0) => None,
            Ok(_) if !line.ends_with(b"\n") => None,
            Ok(_) => panic!(
                "a line that does not end in CRLF: {}",
                String::from_utf8_lossy(&line)
            ),
            Err(error) if is_hang_up(&error) => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    pub fn exact(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("the announced octets");
        bytes
    }

    /// Everything up to the server's hanging up.
    #[track_caller]
    pub fn until_closed(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if !is_hang_up(&error) => panic!("the server did not hang up: {error}"),
            _ => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Whatever comes within `time`; for showing that nothing does.
    pub fn within(&mut self, time: Duration) -> Vec<u8> {
        let mut bytes = self.stream.buffer().to_vec();
        self.stream.consume(bytes.len());
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(time)).expect("a timeout");
        let mut buffer = [0; 4096];
        if let Ok(count) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        bytes
    }

    pub fn hang_up(self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// The SMTP side of a session.
pub struct Smtp {
    pub wire: Wire,
}

impl Smtp {
    /// Connected, greeted, and EHLO said.
    pub fn hello(server: &Server) -> Smtp {
        let mut smtp = Smtp::greeted(server);
        assert_code(&smtp.command("EHLO client.example.net"), "250");
        smtp
    }

    /// Connected and greeted.
    pub fn greeted(server: &Server) -> Smtp {
        let mut smtp = Smtp {
            wire: Wire::connect(server.port("smtp")),
        };
        assert_code(&smtp.reply(), "220");
        smtp
    }

    /// A session with a mail transaction to user1 open.
    pub fn with_envelope(server: &Server) -> Smtp {
        let mut smtp = Smtp::hello(server);
        smtp.envelope("user1@example.org");
        smtp
    }

    /// A session in which DATA was answered with 354.
    pub fn in_data(server: &Server) -> Smtp {
        Smtp::in_data_to(server, "user1@example.org")
    }

    /// The same for a recipient of choice.
    pub fn in_data_to(server: &Server, recipient: &str) -> Smtp {
        let mut smtp = Smtp::hello(server);
        smtp.envelope(recipient);
        assert_code(&smtp.command("DATA"), "354");
        smtp
    }

    #[track_caller]
    pub fn envelope(&mut self, recipient: &str) {
        assert_code(&self.command("MAIL FROM:<sender@example.net>"), "250");
        assert_code(&self.command(&format!("RCPT TO:<{recipient}>")), "250");
    }

    /// The next reply, its lines joined by LF; empty when the server has hung up.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(line) = self.wire.line() {
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if is_last {
                break;
            }
        }
        lines.join("\n")
    }

    #[track_caller]
    pub fn command(&mut self, command: &str) -> String {
        self.wire.send(format!("{command}\r\n"));
        self.reply()
    }

    /// Delivers `message`, whose lines end in CRLF and none of which begins with a dot.
    #[track_caller]
    pub fn deliver(&mut self, recipient: &str, message: &str) {
        self.envelope(recipient);
        assert_code(&self.command("DATA"), "354");
        self.wire.send(format!("{message}.\r\n"));
        assert_code(&self.reply(), "250");
    }
}

/// Delivers one message over a connection of its own.
#[track_caller]
pub fn deliver(server: &Server, recipient: &str, message: &str) {
    Smtp::hello(server).deliver(recipient, message);
}

#[track_caller]
pub fn assert_code(reply: &str, wanted: &str) {
    assert!(reply.starts_with(wanted), "wanted {wanted}, got: {reply:?}");
}

/// Asserts that a reply is one of several, each a code, the start of one, or empty for a closed connection.
#[track_caller]
pub fn assert_one_of(reply: &str, wanted: &[&str]) {
    let fits = |want: &&str| {
        if want.is_empty() {
            reply.is_empty()
        } else {
            reply.starts_with(*want)
        }
    };
    assert!(
        wanted.iter().any(fits),
        "wanted one of {wanted:?}, got: {reply:?}"
    );
}

/// The IMAP side of a session.
pub struct Imap {
    pub wire: Wire,
    tag: u32,
}

/// What a command was answered with.
#[derive(Debug)]
pub struct Answer {
    /// The untagged responses, each with its literals in place.
    pub untagged: Vec<String>,
    /// The tagged one without the tag; `+` for a continuation request, `BYE` when the server hung up.
    pub outcome: String,
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> Vec<String> {
        assert!(self.outcome.starts_with("OK"), "not OK: {self:?}");
        self.untagged
    }
}

impl Imap {
    pub fn greeted(server: &Server) -> Imap {
        let mut wire = Wire::connect(server.port("imap"));
        let greeting = wire.line().unwrap_or_default();
        assert!(greeting.starts_with("* OK"), "{greeting}");
        Imap::over(wire)
    }

    /// Over a connection that has been greeted.
    pub fn over(wire: Wire) -> Imap {
        Imap { wire, tag: 0 }
    }

    pub fn login(server: &Server, user: &str) -> Imap {
        let mut imap = Imap::greeted(server);
        imap.command(&format!("LOGIN {user}@example.org {PASSWORD}")).ok();
        imap
    }

    pub fn inbox(server: &Server, user: &str) -> Imap {
        let mut imap = Imap::login(server, user);
        imap.command("SELECT INBOX").ok();
        imap
    }

    #[track_caller]
    pub fn command(&mut self, command: &str) -> Answer {
        self.command_bytes(command.as_bytes())
    }

    /// Sends a command; its CRLF is added.
    #[track_caller]
    pub fn command_bytes(&mut self, command: &[u8]) -> Answer {
        self.tag += 1;
        let tag = format!("a{} ", self.tag);
        self.wire.send([tag.as_bytes(), command, b"\r\n"].concat());
        self.answer(&tag)
    }

    /// Reads up to the tagged response of the last command (after a continuation).
    #[track_caller]
    pub fn rest(&mut self) -> Answer {
        self.answer(&format!("a{} ", self.tag))
    }

    #[track_caller]
    fn answer(&mut self, tag: &str) -> Answer {
        let mut untagged = Vec::new();
        loop {
            let Some(response) = self.response() else {
                return Answer {
                    untagged,
                    outcome: "BYE".to_owned(),
                };
            };
            if let Some(outcome) = response.strip_prefix(tag) {
                return Answer {
                    untagged,
                    outcome: outcome.to_owned(),
                };
            }
            if response.starts_with('+') {
                return Answer {
                    untagged,
                    outcome: "+".to_owned(),
                };
            }
            if response.starts_with("* BAD") {
                return Answer {
                    untagged,
                    outcome: response[2..].to_owned(),
                };
            }
            untagged.push(response);
        }
    }

    /// One response with its literals; `None` when the server has hung up.
    #[track_caller]
    pub fn response(&mut self) -> Option<String> {
        let mut response = String::new();
        loop {
            let line = self.wire.line()?;
            response.push_str(&line);
            let literal = line.strip_suffix('}').and_then(|rest| rest.rsplit_once('{'));
            let Some(length) = literal.and_then(|(_, digits)| digits.parse().ok()) else {
                return Some(response);
            };
            response.push_str("\r\n");
            response.push_str(&String::from_utf8_lossy(&self.wire.exact(length)));
        }
    }

    /// How many messages the INBOX of this session's user has.
    #[track_caller]
    pub fn inbox_count(&mut self) -> usize {
        let untagged = self.command("STATUS INBOX (MESSAGES)").ok();
        let status = untagged
            .iter()
            .find(|line| line.starts_with("* STATUS"))
            .expect("a STATUS response");
        let digits: String = status.chars().filter(char::is_ascii_digit).collect();
        digits.parse().expect("a number of messages")
    }
}

/// How many messages are in a user's INBOX.
pub fn inbox_count(server: &Server, user: &str) -> usize {
    Imap::login(server, user).inbox_count()
}

/// Waits until so many messages are in a user's INBOX, and asserts that there are no more. A message to recipients of
/// several cores is in the spool when it is acknowledged, and with each of them a moment later.
#[track_caller]
pub fn await_inbox(server: &Server, user: &str, count: usize) {
    wait_until(&format!("{count} messages for {user}"), || {
        inbox_count(server, user) >= count
    });
    assert_eq!(inbox_count(server, user), count, "{user}");
}

/// The POP3 side of a session.
pub struct Pop3 {
    pub wire: Wire,
}

impl Pop3 {
    pub fn greeted(server: &Server) -> Pop3 {
        let mut pop3 = Pop3 {
            wire: Wire::connect(server.port("pop3")),
        };
        assert_code(&pop3.reply(), "+OK");
        pop3
    }

    pub fn login(server: &Server, user: &str) -> Pop3 {
        let mut pop3 = Pop3::greeted(server);
        assert_code(&pop3.command(&format!("USER {user}@example.org")), "+OK");
        assert_code(&pop3.command(&format!("PASS {PASSWORD}")), "+OK");
        pop3
    }

    /// One line; empty when the server has hung up.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        self.wire.line().unwrap_or_default()
    }

    #[track_caller]
    pub fn command(&mut self, command: &str) -> String {
        self.wire.send(format!("{command}\r\n"));
        self.reply()
    }

    /// The lines behind a multi-line `+OK`, unstuffed, without the last dot.
    #[track_caller]
    pub fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.wire.line().expect("the answer ends with a dot");
            if line == "." {
                return lines;
            }
            lines.push(line.strip_prefix('.').unwrap_or(&line).to_owned());
        }
    }
}

/// Status line and body of what the server says over HTTP.
pub fn get(server: &Server, path: &str) -> (String, String) {
    let mut wire = Wire::connect(server.port("http"));
    wire.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    let answer = wire.until_closed();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (
        head.lines().next().unwrap_or_default().to_owned(),
        body.to_owned(),
    )
}

/// The sum of a metrics family's samples with this label.
pub fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let is_wanted = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
    };
    let samples = metrics.lines().filter(is_wanted);
    samples
        .map(|line| {
            line.rsplit(' ')
                .next()
                .expect("a value")
                .parse::<f64>()
                .expect("a number")
        })
        .sum()
}

/// Responses without `\Recent`, which belongs to one session (RFC 3501 §2.3.2) and ends with it.
#[allow(dead_code)] // not every test program compares flags
pub fn without_recent(lines: Vec<String>) -> Vec<String> {
    let strip = |line: String| {
        line.replace(" \\Recent", "")
            .replace("\\Recent ", "")
            .replace("\\Recent", "")
    };
    lines.into_iter().map(strip).collect()
}
