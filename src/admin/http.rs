//! The HTTP listener: on the control thread, so that no page ever takes a core's time.
//!
//! Limits: [`CONNECTIONS_MAX`], [`CONNECTIONS_PER_NETWORK_MAX`], [`HEADER_TIMEOUT`] for a request's header (and so for an idle connection), [`CONNECTION_TIMEOUT`]
//! over all, `BUFFER_BYTES_MAX` for a header.
//! Failure: a connection ends alone; without descriptors accepting pauses.
//! Not here: what is served.

use crate::base::network::{Network, network_of};
use crate::net;
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Connections served at once; others wait in the backlog. Those who watch a server are few.
pub const CONNECTIONS_MAX: usize = 256;

/// Of them those of one network (IPv4 /24, IPv6 /48), so that nobody alone keeps everybody else from the pages; one more is
/// closed at once. Loopback, where proxies and those who watch this server are, may have all.
pub const CONNECTIONS_PER_NETWORK_MAX: usize = 64;

/// A request's header is there by then, or the connection ends.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// No connection lasts longer, whatever it does: one that reads a page octet by octet must not hold its place for ever.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Of a request's header, in memory. hyper's least is 8 KiB.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Wait when accepting fails, as without descriptors.
const EXHAUSTED_BACKOFF: Duration = Duration::from_millis(100);

/// Binds the listener; it serves nobody before [`serve`].
///
/// # Errors
/// Those of the operating system, with the address in their text.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    net::bind_for_control(address)
}

/// Serves `router` until the runtime ends; requests carry their [`Peer`]. Only on the control thread.
pub async fn serve(listener: TcpListener, router: Router) {
    accept_each(listener, move |stream| {
        let router = router.clone();
        async move {
            let peer = Peer(stream.peer_addr()?.ip());
            let router = router.layer(Extension(peer));
            serve_connection(stream, router).await.map_err(io::Error::other)
        }
    })
    .await;
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The same over TLS.
pub async fn serve_tls(listener: TcpListener, router: Router, config: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(config);
    accept_each(listener, move |stream| {
        let (router, acceptor) = (router.clone(), acceptor.clone());
        async move {
            let stream = tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await??;
            let peer = Peer(stream.get_ref().0.peer_addr()?.ip());
            let router = router.layer(Extension(peer));
            serve_connection(stream, router).await.map_err(io::Error::other)
        }
    })
    .await;
}

async fn accept_each<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no HTTP"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let shares = Shares::default();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept HTTP connections for now");
                tokio::time::sleep(EXHAUSTED_BACKOFF).await;
                continue;
            }
        };
        let Some(share) = shares.take(peer.ip()) else {
            tracing::debug!(%peer, "this network has as many HTTP connections as it may");
            continue;
        };
        let serving = serve(stream);
        tokio::spawn(async move {
            let served = tokio::time::timeout(CONNECTION_TIMEOUT, serving).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "HTTP connection ended");
            }
            drop((share, place));
        });
    }
}

/// How many connections each network has on one listener.
#[derive(Clone, Debug, Default)]
struct Shares(Arc<Mutex<HashMap<Network, usize>>>);

/// One of them; `None`: it is not counted.
#[derive(Debug)]
struct Share(Option<(Shares, Network)>);

impl Shares {
    /// `None` when the network of `address` has its share.
    fn take(&self, address: IpAddr) -> Option<Share> {
        if address.to_canonical().is_loopback() {
            return Some(Share(None));
        }
        let network = network_of(address);
        let mut taken = self.0.lock();
        let count = taken.entry(network).or_default();
        if *count == CONNECTIONS_PER_NETWORK_MAX {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Share(Some((self.clone(), network))))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, network)) = self.0.take() else {
            return;
        };
        let mut taken = shares.0.lock();
        if let Some(count) = taken.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&network);
            }
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
) -> Result<(), hyper::Error> {
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_its_share_and_no_more() {
        let shares = Shares::default();
        let take = |address: &str| shares.take(address.parse().expect("an address"));
        let mut held: Vec<Share> = (0..CONNECTIONS_PER_NETWORK_MAX)
            .map(|number| take(&format!("192.0.2.{number}")).expect("there is room"))
            .collect();
        assert!(take("192.0.2.250").is_none(), "a neighbour of the same network");
        assert!(take("::ffff:192.0.2.250").is_none(), "the same in IPv6's clothes");
        assert!(take("198.51.100.1").is_some() && take("2001:db8::1").is_some());
        held.pop();
        assert!(take("192.0.2.250").is_some());
        for _ in 0..CONNECTIONS_MAX {
            held.push(take("127.0.0.1").expect("loopback is not counted"));
        }
        drop(held);
        assert!(shares.0.lock().is_empty(), "nothing is kept of who has gone");
    }
}
