//! TLS of the generator's connections: from the first octet, or after STARTTLS, which is negotiated here so that workloads
//! never see it (they are given the peer's first greeting once TLS is up).
//!
//! Certificates are not verified: what is measured is a server under test. Handshakes are always full ones: no tickets, no
//! resumption, as between servers that have not met before.
//! Not here: sockets (`driver`).

use clap::ValueEnum;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// `--tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// Plain text.
    #[default]
    None,
    /// From the first octet (ports 465, 993, 995).
    Implicit,
    /// After STARTTLS (STLS in POP3).
    Starttls,
}

/// How STARTTLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Smtp,
    Lmtp,
    Imap,
    Pop3,
}

impl Dialect {
    /// What is said before the handshake, one command after the answer to the other, each with the start of its last line's
    /// good answer.
    fn script(self) -> &'static [(&'static [u8], &'static [u8])] {
        match self {
            Dialect::Smtp => &[
                (b"EHLO load.example.net\r\n", b"250 "),
                (b"STARTTLS\r\n", b"220 "),
            ],
            Dialect::Lmtp => &[
                (b"LHLO load.example.net\r\n", b"250 "),
                (b"STARTTLS\r\n", b"220 "),
            ],
            Dialect::Imap => &[(b"s STARTTLS\r\n", b"s OK")],
            Dialect::Pop3 => &[(b"STLS\r\n", b"+OK")],
        }
    }

    /// Whether a line is the last one of an answer.
    fn is_last(self, line: &[u8]) -> bool {
        match self {
            Dialect::Smtp | Dialect::Lmtp => line.get(3) != Some(&b'-'),
            Dialect::Imap => line.starts_with(b"s "),
            Dialect::Pop3 => true,
        }
    }
}

/// What all connections of a run have in common.
#[derive(Clone)]
pub struct Security {
    mode: TlsMode,
    dialect: Dialect,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Security {
    /// `None` for plain text.
    pub fn new(mode: TlsMode, dialect: Dialect) -> Option<Security> {
        if mode == TlsMode::None {
            return None;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(NoVerification(provider.clone()));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|error| unreachable!("the provider has TLS 1.3: {error}"));
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let name =
            ServerName::try_from("localhost").unwrap_or_else(|error| unreachable!("it is a name: {error}"));
        Some(Security {
            mode,
            dialect,
            config: Arc::new(config),
            name,
        })
    }

    /// For a connection that is being made.
    pub fn begin(&self) -> io::Result<TlsLink> {
        let client =
            ClientConnection::new(self.config.clone(), self.name.clone()).map_err(io::Error::other)?;
        let is_implicit = self.mode == TlsMode::Implicit;
        Ok(TlsLink {
            client: Box::new(client),
            dialect: self.dialect,
            step: (!is_implicit).then_some(0),
            received: Vec::new(),
            greeting: Vec::new(),
        })
    }
}

/// The TLS of one connection.
pub struct TlsLink {
    client: Box<ClientConnection>,
    dialect: Dialect,
    /// Of the script; 0 is the greeting, `None` is TLS.
    step: Option<usize>,
    received: Vec<u8>,
    greeting: Vec<u8>,
}

impl TlsLink {
    /// Takes what came from the socket; plaintext for the workload goes to `plain`, what is to be sent to `out`.
    pub fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        if self.step.is_some() {
            self.received.extend_from_slice(bytes);
            self.negotiate(out)?;
            if self.step.is_some() {
                return Ok(());
            }
            bytes = &[];
            // The ClientHello.
            self.flush(out)?;
        }
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes)?;
            let state = self.client.process_new_packets().map_err(io::Error::other)?;
            let count = state.plaintext_bytes_to_read();
            if count > 0 {
                let at = plain.len();
                plain.resize(at + count, 0);
                self.client.reader().read_exact(&mut plain[at..])?;
            }
        }
        if !self.client.is_handshaking() && !self.greeting.is_empty() {
            plain.append(&mut self.greeting);
        }
        self.flush(out)
    }

    /// The handshake's first message, where TLS begins at once.
    pub fn open(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.step.is_none() {
            self.flush(out)
        } else {
            Ok(())
        }
    }

    pub fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.client.writer().write_all(plain)?;
        self.flush(out)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while self.client.wants_write() {
            self.client.write_tls(out)?;
        }
        Ok(())
    }

    fn negotiate(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while let Some(length) = memchr::memchr(b'\n', &self.received) {
            let line: Vec<u8> = self.received.drain(..=length).collect();
            let step = self.step.unwrap_or(0);
            let script = self.dialect.script();
            if step == 0 {
                self.greeting = line;
            } else if !self.dialect.is_last(&line) {
                continue;
            } else if !line.starts_with(script[step - 1].1) {
                let answer = String::from_utf8_lossy(&line).trim_end().to_owned();
                return Err(io::Error::other(format!("STARTTLS was answered: {answer}")));
            }
            if step == 0 && self.dialect != Dialect::Imap && !self.dialect.is_last(&self.greeting) {
                continue;
            }
            match script.get(step) {
                Some((command, _)) => {
                    out.extend_from_slice(command);
                    self.step = Some(step + 1);
                }
                None => {
                    self.step = None;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// See the module head.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the plain part of the dialogue in pieces and returns what the link says until the handshake.
    fn said(dialect: Dialect, lines: &[&str]) -> io::Result<Vec<u8>> {
        let Some(security) = Security::new(TlsMode::Starttls, dialect) else {
            unreachable!("TLS was asked for")
        };
        let mut link = security.begin()?;
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        for byte in lines.concat().bytes() {
            link.receive(&[byte], &mut plain, &mut out)?;
        }
        assert!(plain.is_empty(), "no workload hears of it before TLS is up");
        Ok(out)
    }

    #[test]
    fn starttls_is_asked_for_in_each_protocol() -> io::Result<()> {
        let smtp = said(
            Dialect::Smtp,
            &[
                "220-mx\r\n220 hello\r\n",
                "250-mx\r\n250-STARTTLS\r\n250 SIZE\r\n",
                "220 go\r\n",
            ],
        )?;
        // A handshake record follows the last command.
        assert!(smtp.starts_with(b"EHLO load.example.net\r\nSTARTTLS\r\n\x16\x03"));
        let imap = said(Dialect::Imap, &["* OK hello\r\n", "* noise\r\ns OK go\r\n"])?;
        assert!(imap.starts_with(b"s STARTTLS\r\n\x16\x03"));
        let pop3 = said(Dialect::Pop3, &["+OK hello\r\n", "+OK go\r\n"])?;
        assert!(pop3.starts_with(b"STLS\r\n\x16\x03"));
        Ok(())
    }

    #[test]
    fn a_refused_starttls_is_an_error_with_the_answer() {
        let refused = said(Dialect::Smtp, &["220 hello\r\n", "250 mx\r\n", "454 no\r\n"]);
        assert!(refused.is_err_and(|error| error.to_string().contains("454 no")));
    }
}
