//! A blocking IMAP connection that reads much without keeping it: answers are counted, literals skipped.
//!
//! Failure: a tagged answer other than OK, or none within [`TIMEOUT`], is an error with command and answer in its text.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The first look of a slow server at a large mailbox is waited for.
const TIMEOUT: Duration = Duration::from_secs(120);

const BUFFER_BYTES: usize = 256 * 1024;

/// What the answer to one command was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer {
    /// Untagged lines.
    pub lines: u64,
    /// Octets received, literals included.
    pub bytes: u64,
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    tag: u64,
}

impl Wire {
    /// Connected and greeted.
    pub fn connect(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut wire = Wire {
            stream,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            tag: 0,
        };
        wire.line()?;
        Ok(wire)
    }

    /// Connected and logged in.
    pub fn log_in(address: SocketAddr, login: &str, password: &str) -> io::Result<Wire> {
        let mut wire = Wire::connect(address)?;
        wire.command(&format!("LOGIN \"{login}\" \"{password}\""))?;
        Ok(wire)
    }

    /// Sends a command and reads to its tagged OK.
    pub fn command(&mut self, command: &str) -> io::Result<Answer> {
        let tag = self.next_tag();
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes())?;
        self.answer(&tag, command)
    }

    /// Appends all messages by one command. Needs LITERAL+ and, for more than one, MULTIAPPEND.
    pub fn append_all(&mut self, mailbox: &str, messages: &[Vec<u8>]) -> io::Result<()> {
        let tag = self.next_tag();
        let mut out = format!("{tag} APPEND {mailbox}").into_bytes();
        for message in messages {
            out.extend_from_slice(format!(" {{{}+}}\r\n", message.len()).as_bytes());
            out.extend_from_slice(message);
        }
        out.extend_from_slice(b"\r\n");
        self.stream.write_all(&out)?;
        self.answer(&tag, "APPEND").map(drop)
    }

    fn next_tag(&mut self) -> String {
        self.tag += 1;
        format!("t{}", self.tag)
    }

    fn answer(&mut self, tag: &str, command: &str) -> io::Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let line = self.line()?;
            let (from, to) = (line.start, line.end);
            let text = &self.buffer[line];
            answer.bytes += (to - from) as u64;
            let tagged = text
                .strip_prefix(tag.as_bytes())
                .and_then(|rest| rest.strip_prefix(b" "));
            if let Some(outcome) = tagged {
                if outcome.starts_with(b"OK") {
                    return Ok(answer);
                }
                let outcome = String::from_utf8_lossy(outcome);
                let what = format!("{command} was answered: {}", outcome.trim_end());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            match crate::client::literal_length(text.trim_ascii_end()) {
                Some(octets) => {
                    answer.bytes += octets as u64;
                    self.skip(octets)?;
                }
                None => answer.lines += 1,
            }
        }
    }

    /// The place of the next line in the buffer, with its CRLF.
    fn line(&mut self) -> io::Result<std::ops::Range<usize>> {
        let mut looked = 0;
        loop {
            let unread = &self.buffer[self.start + looked..self.end];
            if let Some(at) = memchr::memchr(b'\n', unread) {
                let line = self.start..self.start + looked + at + 1;
                self.start = line.end;
                return Ok(line);
            }
            looked = self.end - self.start;
            self.make_room();
            self.receive()?;
        }
    }

    fn skip(&mut self, octets: usize) -> io::Result<()> {
        let mut left = octets;
        loop {
            let here = left.min(self.end - self.start);
            self.start += here;
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.make_room();
            self.receive()?;
        }
    }

    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            octets => {
                self.end += octets;
                Ok(())
            }
        }
    }
}
