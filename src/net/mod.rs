//! Connections, lease-shaped: a receive buffer is taken only when bytes are there, and given back on drop.
//!
//! Invariants: a connection belongs to one core and moves only as [`Detached`]; every wait of a connection ends with its
//! deadline; no wait holds a receive buffer, except the part of a TLS record that has come so far.
//! Two back ends under the same interface and tests ([`Backend`]): glommio's streams, and a ring of our own (`ring`).
//! Not here: TLS itself (`tls`), protocols (`proto`), who may connect (`node::connections`).

mod conn;
mod deadline;
mod listener;
pub mod meters;
mod ring;
mod stream;

pub use conn::{CLOSE_TIMEOUT, Conn, Detached, HANDSHAKE_BYTES_MAX, HANDSHAKE_TIMEOUT, TlsInfo};
pub use listener::{ACCEPT_BACKLOG, BoundListener, Listener, bind_for_control, try_bind};
pub use stream::Backend;

#[cfg(test)]
mod tests;
