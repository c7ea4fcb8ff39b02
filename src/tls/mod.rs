//! TLS without sockets: server configurations, certificates, and the state of one connection over the caller's buffers.
//!
//! Invariants: TLS 1.2 and 1.3 only; no renegotiation (rustls has none), no 0-RTT; nothing here waits or sends.
//! Failure: what a peer sent wrongly is a [`rustls::Error`], and the alert about it stands in what is to be sent.
//! Standards: RFC 8446, RFC 5246 with RFC 7627, RFC 5077 (tickets), RFC 7301 (ALPN), RFC 9325.
//! Not here: when bytes are moved (`net::conn`), where certificates come from (configuration, ACME).

mod certificate;
mod certificates;
mod client;
pub mod clients;
mod described;
mod error;
mod looking;
mod names;
mod record_buffer;
mod session;

pub use certificate::{
    Certificate, SELF_SIGNED_DAYS, self_signed, self_signed_with, server_config, server_config_with,
};
pub use certificates::{Certificates, Offers};
pub use client::client_config;
pub use described::{Described, describe};
pub use error::TlsError;
pub use looking::looking_config;
pub use names::Names;
pub use record_buffer::trim;
pub use session::{Progress, RECORD_PLAINTEXT_BYTES_MAX, TlsSession};
