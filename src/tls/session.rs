//! The TLS state of one server connection, driven over rustls' unbuffered interface.
//!
//! Owns: ciphertext not yet whole, plaintext not yet taken, records not yet sent.
//! Invariants: an idle connection owns no buffer (5.5 KB of state, where rustls' buffered interface holds 15); plaintext
//! leaves in the order it came; what stands in `outgoing` is sent before anything encrypted later; the whole is `Send`, so a
//! connection can move to another core with everything it has.
//! Limits: at most one [`INCOMING_BYTES`](super::record_buffer::INCOMING_BYTES) of ciphertext is held and what it decrypts
//! to; a handshake message larger than that is refused.
//! Failure: a [`rustls::Error`] is final; the alert for the peer is in [`TlsSession::take_outgoing`].
//! In rustls 0.23 a record is decrypted in place and copied out by rustls; the copy into the lease is the second one.
//! Not here: waiting, deadlines, what the end of the stream without close_notify means (`net::conn`).

use super::names::{self, Names};
use super::record_buffer::RecordBuffer;
use crate::base::buffer::BufLease;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{Error, ServerConfig};
use std::collections::VecDeque;
use std::sync::Arc;

/// Plaintext in one record at most, bytes (RFC 8446 §5.1).
pub const RECORD_PLAINTEXT_BYTES_MAX: usize = 16 * 1024;

/// What a record costs beside its plaintext, at most, bytes: header, nonce or content type, tag. rustls says when it needs
/// more (a queued key update goes first), so this is only the first guess.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Calls of rustls after an error to fetch its alert and the records before it; the bound is against a loop.
const ALERT_CALLS_MAX: usize = 8;

/// Room first offered to rustls for a record of its own (handshake, ticket, alert), bytes.
const OWN_RECORD_BYTES: usize = 512;

/// One connection's state after a call of [`TlsSession::advance`].
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Plaintext can be taken.
    Plaintext,
    /// Nothing happens before more ciphertext comes.
    NeedsInput,
    /// The peer has said that it sends no more, and everything before was taken.
    PeerClosed,
}

/// One server connection.
pub struct TlsSession {
    connection: UnbufferedServerConnection,
    incoming: RecordBuffer,
    plaintext: VecDeque<BufLease>,
    outgoing: Vec<u8>,
    peer_closed: bool,
    failure: Option<Error>,
    /// Seen during the handshake.
    names: Names,
}

/// What to do once rustls lets application data be written.
enum Write<'a> {
    Nothing,
    Data { bytes: &'a [u8], out: &'a mut Vec<u8> },
    CloseNotify { out: &'a mut Vec<u8> },
}

impl TlsSession {
    /// Before its handshake.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: RecordBuffer::default(),
            plaintext: VecDeque::new(),
            outgoing: Vec::new(),
            peer_closed: false,
            failure: None,
            names: Names::default(),
        })
    }

    /// Room for ciphertext; empty when a record or handshake message is larger than any may be.
    pub fn space(&mut self) -> &mut [u8] {
        self.incoming.space()
    }

    /// Says how many bytes of [`Self::space`] were received.
    pub fn received(&mut self, count: usize) {
        self.incoming.add_filled(count);
    }

    /// Gives back memory that nothing waits in. To be called before a wait.
    pub fn rest(&mut self) {
        self.incoming.release_if_empty();
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
        if self.plaintext.is_empty() {
            self.plaintext = VecDeque::new();
        }
    }

    /// Works off what was received.
    pub fn advance(&mut self) -> Result<Progress, Error> {
        let has_work =
            !self.incoming.is_empty() || self.connection.is_handshaking() || self.failure.is_some();
        if self.plaintext.is_empty()
            && has_work
            && let Err(error) = self.drive(Write::Nothing)
            && self.plaintext.is_empty()
        {
            // Plaintext before a broken record is good; the error waits for its turn.
            return Err(error);
        }
        Ok(if !self.plaintext.is_empty() {
            Progress::Plaintext
        } else if self.peer_closed {
            Progress::PeerClosed
        } else {
            Progress::NeedsInput
        })
    }

    /// The oldest plaintext.
    pub fn take_plaintext(&mut self) -> Option<BufLease> {
        self.plaintext.pop_front()
    }

    /// Records of the handshake, tickets, key updates and alerts that wait to be sent.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Appends what must be sent for `bytes` to `out`: what waited before, then as few records as carry them.
    pub fn encrypt(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.drive(Write::Data { bytes, out })
    }

    /// Appends what must be sent before FIN to `out`.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.drive(Write::CloseNotify { out })
    }

    /// The handshake is under way.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// `TLSv1.3`
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self.connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "unknown",
        }
    }

    /// `TLS13_AES_256_GCM_SHA384`
    #[must_use]
    pub fn cipher(&self) -> String {
        let suite = self.connection.negotiated_cipher_suite();
        suite
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown")
            .to_owned()
    }

    /// What the channel is called, and the client's certificate. Once: nobody else needs them.
    #[must_use]
    pub fn take_names(&mut self) -> Names {
        let mut names = std::mem::take(&mut self.names);
        let shown = self.connection.peer_certificates().and_then(<[_]>::first);
        names.client = shown.map(|certificate| certificate.as_ref().into());
        names
    }

    /// The protocol agreed on by ALPN.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// Lets rustls work until it wants input, writing `write` when it may. All input at hand is worked off first, because
    /// rustls counts on seeing the same unconsumed bytes at each call.
    fn drive(&mut self, write: Write<'_>) -> Result<(), Error> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        loop {
            let is_handshaking = self.connection.is_handshaking();
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(self.incoming.filled_mut());
            if is_handshaking {
                self.names.absorb(names::take());
            }
            let mut write_now = None;
            let mut is_idle = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        append(&mut self.plaintext, record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                // It stands in `outgoing`, which is sent before anything else: as good as sent.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(traffic)) => write_now = Some(traffic),
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => is_idle = true,
                Ok(_) => {
                    // Early data is never accepted, see `server_config_with`.
                    return Err(Error::General("a TLS state that cannot be".to_owned()));
                }
                Err(error) => return Err(self.fail(error)),
            }
            if let Some(traffic) = write_now {
                let result = write_traffic(traffic, &mut self.outgoing, write);
                self.incoming.consume(discard);
                return result;
            }
            self.incoming.consume(discard);
            if is_idle {
                return match write {
                    Write::Nothing => Ok(()),
                    _ => Err(Error::HandshakeNotComplete),
                };
            }
        }
    }

    /// After an error rustls has the alert for the peer ready, behind what it had to say before. It is not to see the input
    /// again: it would find the same error and insist that the alert was made already.
    fn fail(&mut self, error: Error) -> Error {
        self.incoming = RecordBuffer::default();
        for _ in 0..ALERT_CALLS_MAX {
            if !self.connection.wants_write() {
                break;
            }
            let status = self.connection.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else {
                break;
            };
            encode(&mut data, &mut self.outgoing);
        }
        self.failure = Some(error.clone());
        error
    }
}

/// Appends one of rustls' own records.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let encoded = with_room(outgoing, OWN_RECORD_BYTES, |room| {
        data.encode(room).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => Some(size),
            EncodeError::AlreadyEncoded => None,
        })
    });
    debug_assert!(encoded.is_ok(), "each record is encoded once");
}

/// Appends `outgoing`, then what `write` asks for, to the buffer of `write`.
fn write_traffic<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    outgoing: &mut Vec<u8>,
    write: Write<'_>,
) -> Result<(), Error> {
    let room_error = |error| match error {
        EncryptError::InsufficientSize(size) => Some(size),
        EncryptError::EncryptExhausted => None,
    };
    let result = match write {
        Write::Nothing => Ok(()),
        Write::Data { bytes, out } => {
            out.append(outgoing);
            let records = bytes.len().div_ceil(RECORD_PLAINTEXT_BYTES_MAX);
            let room = bytes.len() + records * RECORD_OVERHEAD_BYTES;
            with_room(out, room, |room| traffic.encrypt(bytes, room).map_err(room_error))
        }
        Write::CloseNotify { out } => {
            out.append(outgoing);
            with_room(out, RECORD_OVERHEAD_BYTES, |room| {
                traffic.queue_close_notify(room).map_err(room_error)
            })
        }
    };
    result.map_err(|()| Error::EncryptError)
}

/// Lets `fill` write at the end of `out`, with at least `room` bytes or what it asks for. `None` from it is final.
fn with_room(
    out: &mut Vec<u8>,
    room: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Result<(), ()> {
    let start = out.len();
    let mut room = room;
    loop {
        out.resize(start + room, 0);
        match fill(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Some(size)) if size.required_size > room => room = size.required_size,
            Err(_) => {
                out.truncate(start);
                return Err(());
            }
        }
    }
}

/// Appends one record's plaintext, which always fits a fresh lease.
fn append(plaintext: &mut VecDeque<BufLease>, mut payload: &[u8]) {
    while !payload.is_empty() {
        let has_room = plaintext
            .back_mut()
            .is_some_and(|last| last.len() < last.space().len());
        if !has_room {
            plaintext.push_back(BufLease::take());
        }
        let Some(last) = plaintext.back_mut() else { return };
        let start = last.len();
        let count = payload.len().min(last.space().len() - start);
        last.space()[start..start + count].copy_from_slice(&payload[..count]);
        last.set_filled(start + count);
        payload = &payload[count..];
    }
}
