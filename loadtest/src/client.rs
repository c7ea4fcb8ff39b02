//! Plain blocking clients, one command at a time: for `ping`, and for reading mail back in `verify` and `crash`.
//!
//! Failure: an answer that is not the wanted one is an `io::Error` with the command and the answer in its text.
//! Limits: `TIMEOUT` for every read and write. A literal is held whole in memory: these talk to the server under test.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

fn unexpected(command: &str, answer: &[u8]) -> io::Error {
    let answer = String::from_utf8_lossy(answer);
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{command} was answered: {}", answer.trim_end()),
    )
}

/// A connection read line by line.
struct Lines {
    stream: BufReader<TcpStream>,
}

impl Lines {
    fn connect(address: SocketAddr) -> io::Result<Lines> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Lines {
            stream: BufReader::with_capacity(64 * 1024, stream),
        })
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    /// One line with its CRLF.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.ends_with(b"\n") {
            Ok(line)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// An SMTP client that does no more than say hello.
pub struct Smtp(Lines);

impl Smtp {
    /// Returns once the 220 is there.
    pub fn connect(address: SocketAddr) -> io::Result<Smtp> {
        let mut smtp = Smtp(Lines::connect(address)?);
        smtp.expect("connecting", b"220")?;
        Ok(smtp)
    }

    pub fn hello(&mut self) -> io::Result<()> {
        self.0.send("EHLO load.example.net\r\n")?;
        self.expect("EHLO", b"250")
    }

    pub fn noop(&mut self) -> io::Result<()> {
        self.0.send("NOOP\r\n")?;
        self.expect("NOOP", b"250")
    }

    pub fn lmtp_hello(&mut self) -> io::Result<()> {
        self.0.send("LHLO load.example.net\r\n")?;
        self.expect("LHLO", b"250")
    }

    /// Sends one message, and returns the moments (CLOCK_MONOTONIC, nanoseconds) of the end of data and of the reply.
    pub fn deliver_timed(&mut self, to: &str, message: &[u8]) -> io::Result<(u64, u64)> {
        for (command, code) in [
            ("MAIL FROM:<load@example.net>".to_owned(), "250"),
            (format!("RCPT TO:<{to}>"), "250"),
            ("DATA".to_owned(), "354"),
        ] {
            self.0.send(&format!("{command}\r\n"))?;
            self.expect(&command, code.as_bytes())?;
        }
        self.0.stream.get_mut().write_all(message)?;
        let from = monotonic_nanos();
        self.0.send(".\r\n")?;
        self.expect("end of data", b"250")?;
        Ok((from, monotonic_nanos()))
    }

    /// Sends one mail and returns the reply to its end, or the first that refuses it. Its lines begin with no dot.
    pub fn mail(&mut self, to: &str, text: &[u8]) -> io::Result<String> {
        for command in ["MAIL FROM:<load@example.net>", &format!("RCPT TO:<{to}>"), "DATA"] {
            self.0.send(&format!("{command}\r\n"))?;
            let reply = self.reply()?;
            if !reply.starts_with(['2', '3']) {
                return Ok(reply);
            }
        }
        self.0.stream.get_mut().write_all(text)?;
        self.0.send(".\r\n")?;
        self.reply()
    }

    /// The last line of a reply.
    fn reply(&mut self) -> io::Result<String> {
        loop {
            let line = self.0.line()?;
            if line.get(3) != Some(&b'-') {
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }

    fn expect(&mut self, command: &str, code: &[u8]) -> io::Result<()> {
        loop {
            let line = self.0.line()?;
            if !line.starts_with(code) {
                return Err(unexpected(command, &line));
            }
            if line.get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// One untagged IMAP response: its text, with the literals taken out of it.
#[derive(Debug, Default)]
pub struct Response {
    pub text: Vec<u8>,
    pub literals: Vec<Vec<u8>>,
}

impl Response {
    /// The number behind `key` in the text, if it is one of 32 bits.
    pub fn number(&self, key: &str) -> Option<u32> {
        self.number_of(key)?.try_into().ok()
    }

    /// The number behind `key` in the text.
    pub fn number_of(&self, key: &str) -> Option<u64> {
        let at = memchr::memmem::find(&self.text, key.as_bytes())? + key.len();
        let digits: Vec<u8> = self.text[at..]
            .iter()
            .copied()
            .skip_while(|b| *b == b' ')
            .take_while(u8::is_ascii_digit)
            .collect();
        String::from_utf8(digits).ok()?.parse().ok()
    }

    pub fn contains(&self, part: &str) -> bool {
        memchr::memmem::find(&self.text, part.as_bytes()).is_some()
    }

    /// The flags in a FETCH response, without \Recent, which is the session's.
    pub fn flags(&self) -> BTreeSet<String> {
        let text = String::from_utf8_lossy(&self.text);
        let Some((_, rest)) = text.split_once("FLAGS (") else {
            return BTreeSet::new();
        };
        let list = rest.split(')').next().unwrap_or_default();
        list.split_whitespace()
            .filter(|flag| *flag != "\\Recent")
            .map(str::to_owned)
            .collect()
    }
}

/// An IMAP client.
pub struct Imap {
    lines: Lines,
    tag: u64,
}

impl Imap {
    pub fn connect(address: SocketAddr) -> io::Result<Imap> {
        let mut lines = Lines::connect(address)?;
        let greeting = lines.line()?;
        if !greeting.starts_with(b"* OK") {
            return Err(unexpected("connecting", &greeting));
        }
        Ok(Imap { lines, tag: 0 })
    }

    pub fn login(&mut self, user: &str, password: &str) -> io::Result<()> {
        self.command(&format!("LOGIN \"{user}\" \"{password}\""))
            .map(drop)
    }

    /// Sends a command and returns its untagged responses, if it succeeds.
    pub fn command(&mut self, command: &str) -> io::Result<Vec<Response>> {
        let mut responses = Vec::new();
        self.command_each(command, |response| responses.push(response))?;
        Ok(responses)
    }

    /// Sends a command, hands each untagged response over as it comes, and returns the tagged one.
    pub fn command_each(&mut self, command: &str, mut each: impl FnMut(Response)) -> io::Result<Response> {
        self.tag += 1;
        let tag = format!("c{} ", self.tag);
        self.lines.send(&format!("{tag}{command}\r\n"))?;
        loop {
            let response = self.response()?;
            if response.text.starts_with(tag.as_bytes()) {
                let is_ok = response.text[tag.len()..].starts_with(b"OK");
                return if is_ok {
                    Ok(response)
                } else {
                    Err(unexpected(command, &response.text))
                };
            }
            if !response.text.starts_with(b"* ") {
                return Err(unexpected(command, &response.text));
            }
            each(response);
        }
    }

    /// APPENDs a message and returns its UID, if the server tells it (UIDPLUS).
    pub fn append_with_flags(
        &mut self,
        mailbox: &str,
        flags: &str,
        message: &[u8],
    ) -> io::Result<Option<u32>> {
        self.tag += 1;
        let tag = format!("c{} ", self.tag);
        let size = message.len();
        self.lines
            .send(&format!("{tag}APPEND {mailbox} ({flags}) {{{size}}}\r\n"))?;
        let go_ahead = self.lines.line()?;
        if !go_ahead.starts_with(b"+") {
            return Err(unexpected("APPEND", &go_ahead));
        }
        self.lines.stream.get_mut().write_all(message)?;
        self.lines.send("\r\n")?;
        loop {
            let response = self.response()?;
            if response.text.starts_with(tag.as_bytes()) {
                if !response.text[tag.len()..].starts_with(b"OK") {
                    return Err(unexpected("APPEND", &response.text));
                }
                let uid = response
                    .text
                    .split(|byte| matches!(byte, b' ' | b']'))
                    .skip_while(|w| *w != b"[APPENDUID");
                let uid = uid
                    .clone()
                    .nth(2)
                    .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
                return Ok(uid);
            }
        }
    }

    /// Sends a command and waits for nothing.
    pub fn begin(&mut self, command: &str) -> io::Result<()> {
        self.tag += 1;
        self.lines.send(&format!("c{} {command}\r\n", self.tag))
    }

    /// The next response, whatever it is.
    pub fn response(&mut self) -> io::Result<Response> {
        let mut response = Response::default();
        loop {
            let line = self.lines.line()?;
            let line = line.trim_ascii_end();
            response.text.extend_from_slice(line);
            let Some(length) = literal_length(line) else {
                return Ok(response);
            };
            let mut literal = vec![0; length];
            self.lines.stream.read_exact(&mut literal)?;
            response.literals.push(literal);
        }
    }
}

/// The octets announced by a line that ends in `{n}`.
pub fn literal_length(line: &[u8]) -> Option<usize> {
    let inside = line.strip_suffix(b"}")?;
    let start = memchr::memrchr(b'{', inside)? + 1;
    std::str::from_utf8(&inside[start..]).ok()?.parse().ok()
}

/// A POP3 client.
pub struct Pop3(Lines);

impl Pop3 {
    pub fn connect(address: SocketAddr) -> io::Result<Pop3> {
        let mut pop3 = Pop3(Lines::connect(address)?);
        pop3.expect("connecting")?;
        Ok(pop3)
    }

    pub fn login(&mut self, user: &str, password: &str) -> io::Result<()> {
        self.command(&format!("USER {user}"))?;
        self.command(&format!("PASS {password}")).map(drop)
    }

    /// Sends a command and returns what follows `+OK`.
    pub fn command(&mut self, command: &str) -> io::Result<String> {
        self.0.send(&format!("{command}\r\n"))?;
        self.expect(command)
    }

    /// Each message's number and unique-id.
    pub fn unique_ids(&mut self) -> io::Result<Vec<(u32, String)>> {
        self.command("UIDL")?;
        let text = String::from_utf8_lossy(&self.rest()?).into_owned();
        let line = |line: &str| {
            let (number, unique_id) = line.split_once(' ')?;
            Some((number.parse().ok()?, unique_id.to_owned()))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    /// The lines after a multi-line answer's first, without dot-stuffing and without the last dot.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let line = self.0.line()?;
            match line.strip_prefix(b".") {
                Some(b"\r\n") => return Ok(text),
                Some(unstuffed) => text.extend_from_slice(unstuffed),
                None => text.extend_from_slice(&line),
            }
        }
    }

    fn expect(&mut self, command: &str) -> io::Result<String> {
        let line = self.0.line()?;
        match line.strip_prefix(b"+OK") {
            Some(rest) => Ok(String::from_utf8_lossy(rest).trim().to_owned()),
            None => Err(unexpected(command, &line)),
        }
    }
}

/// CLOCK_MONOTONIC, which the kernel's trace uses too.
fn monotonic_nanos() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a whole timespec that the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_is_no_flag_of_the_message() {
        let response = Response {
            text: b"* 1 FETCH (UID 3 FLAGS (\\Seen Work \\Recent) BODY[] )".to_vec(),
            literals: Vec::new(),
        };
        let flags = BTreeSet::from(["\\Seen".to_owned(), "Work".to_owned()]);
        assert_eq!(response.flags(), flags);
    }
}
