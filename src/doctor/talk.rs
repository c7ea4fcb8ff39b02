//! A short dialogue with whoever listens at an address: its greeting, and the certificate it shows.
//!
//! Invariants: nobody logs in, and nothing is sent but what asks for TLS and what says that we leave.
//! Limits: [`PATIENCE`] for all of it, [`LINE_BYTES_MAX`], [`LINES_MAX`].
//! Failure: in words, for the finding.
//! Standards: RFC 3207 and RFC 2033 (STARTTLS of SMTP and LMTP), RFC 2595 §4 (STLS), RFC 9051 §6.2.1, RFC 8314 §3.

use crate::tls::{Described, describe, looking_config};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For the whole dialogue: on this machine it takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Octets of a line: RFC 5321's are up to 512.
const LINE_BYTES_MAX: usize = 1_024;

/// Lines of one answer.
const LINES_MAX: usize = 64;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Smtp,
    Lmtp,
    Pop3,
    Imap,
    Http,
}

/// What an answer begins with, who it is for, and whether more follows.
type Ending = fn(&str) -> bool;

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// The first line of the greeting; HTTP has none.
    pub greeting: String,
    /// The version of TLS and the certificate; `None`: none is to be had.
    pub tls: Option<Shown>,
}

/// What a handshake showed.
#[derive(Debug)]
pub struct Shown {
    /// The version of TLS.
    pub version: &'static str,
    /// The certificate.
    pub described: Described,
    /// With it and those behind it, as they came.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Talks with whoever is at `address` in the name of one who looks for `hostname`.
///
/// # Errors
/// What is wrong, in words.
pub fn look(
    address: SocketAddr,
    protocol: Protocol,
    is_implicit_tls: bool,
    hostname: &str,
) -> Result<Seen, String> {
    let until = Instant::now() + PATIENCE;
    let stream =
        TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| format!("nobody answers: {error}"))?;
    let mut plain = Talk { stream, until };
    if is_implicit_tls {
        let (mut secured, tls) = secure(plain, hostname)?;
        let greeting = protocol.greeting(&mut secured)?;
        return Ok(Seen {
            greeting,
            tls: Some(tls),
        });
    }
    let greeting = protocol.greeting(&mut plain)?;
    let tls = match protocol.ask_for_tls(&mut plain)? {
        true => Some(secure(plain, hostname)?.1),
        false => None,
    };
    Ok(Seen { greeting, tls })
}

impl Protocol {
    fn greeting(self, to: &mut impl Exchange) -> Result<String, String> {
        let expected = match self {
            Self::Smtp | Self::Lmtp => "220",
            Self::Pop3 => "+OK",
            Self::Imap => "* OK",
            Self::Http => {
                to.say("HEAD / HTTP/1.0\r\n\r\n")?;
                "HTTP/1"
            }
        };
        let line = to.line()?;
        // The rest of a greeting of several lines.
        let mut last = line.clone();
        for _ in 0..LINES_MAX {
            if !last.starts_with("220-") {
                break;
            }
            last = to.line()?;
        }
        if line.starts_with(expected) {
            return Ok(line);
        }
        Err(format!("its greeting is {line:?} and not {expected}"))
    }

    /// Whether TLS may begin now.
    fn ask_for_tls(self, to: &mut impl Exchange) -> Result<bool, String> {
        let (offer, ending, start, agreed): (&str, Ending, &str, &str) = match self {
            Self::Smtp => ("EHLO localhost\r\n", is_last_reply, "STARTTLS\r\n", "220"),
            Self::Lmtp => ("LHLO localhost\r\n", is_last_reply, "STARTTLS\r\n", "220"),
            Self::Pop3 => ("CAPA\r\n", is_dot, "STLS\r\n", "+OK"),
            Self::Imap => ("a CAPABILITY\r\n", is_tagged, "b STARTTLS\r\n", "b OK"),
            Self::Http => return Ok(false),
        };
        to.say(offer)?;
        let mut is_offered = false;
        for _ in 0..LINES_MAX {
            let line = to.line()?;
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
            is_offered |= words.any(|word| word == "STARTTLS" || word == "STLS");
            if ending(&line) {
                break;
            }
        }
        if !is_offered {
            return Ok(false);
        }
        to.say(start)?;
        let line = to.line()?;
        if line.starts_with(agreed) {
            return Ok(true);
        }
        Err(format!("it offers {} and answers {line:?}", start.trim()))
    }
}

fn is_last_reply(line: &str) -> bool {
    line.as_bytes().get(3) != Some(&b'-')
}

fn is_dot(line: &str) -> bool {
    line == "." || line.starts_with("-ERR")
}

fn is_tagged(line: &str) -> bool {
    line.starts_with("a ")
}

type Secured = StreamOwned<ClientConnection, Talk>;

fn secure(mut plain: Talk, hostname: &str) -> Result<(Secured, Shown), String> {
    let failed = |error: &dyn std::fmt::Display| format!("no TLS handshake: {error}");
    let config = looking_config().map_err(|error| failed(&error))?;
    let name = ServerName::try_from(hostname.to_owned()).map_err(|error| failed(&error))?;
    let mut client = ClientConnection::new(Arc::new(config), name).map_err(|error| failed(&error))?;
    while client.is_handshaking() {
        client
            .complete_io(&mut plain)
            .map_err(|error| failed(&explained(&error)))?;
    }
    let chain: Vec<_> = client.peer_certificates().unwrap_or_default().to_vec();
    let first = chain.first().ok_or_else(|| failed(&"it shows no certificate"))?;
    let described = describe(first).map_err(|error| failed(&error))?;
    let version = match client.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS 1.3",
    };
    let shown = Shown {
        version,
        described,
        chain,
    };
    Ok((StreamOwned::new(client, plain), shown))
}

/// A connection whose every wait ends with the dialogue's time.
struct Talk {
    stream: TcpStream,
    until: Instant,
}

impl Talk {
    fn remaining(&self) -> std::io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Read for Talk {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(Some(self.remaining()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Talk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(Some(self.remaining()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn explained(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it does not answer in time".to_owned(),
        ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// Lines to and fro, on either.
trait Exchange: Read + Write {
    fn say(&mut self, text: &str) -> Result<(), String> {
        self.write_all(text.as_bytes())
            .and_then(|()| self.flush())
            .map_err(|error| explained(&error))
    }

    /// Without its end. An octet at a time: nothing behind STARTTLS's answer may be taken for text.
    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let mut octet = [0];
        while line.len() < LINE_BYTES_MAX {
            self.read_exact(&mut octet).map_err(|error| explained(&error))?;
            if octet[0] == b'\n' {
                break;
            }
            line.push(octet[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

impl<T: Read + Write> Exchange for T {}
