//! The HTTP listener: on the control thread, so that no page ever takes a core's time.
//!
//! Limits: [`CONNECTIONS_MAX`], [`HEADER_TIMEOUT`] for a request's header (and so for an idle connection), [`CONNECTION_TIMEOUT`]
//! over all, `BUFFER_BYTES_MAX` for a header.
//! Failure: a connection ends alone; without descriptors accepting pauses.
//! Not here: what is served.

use crate::net;
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
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
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept HTTP connections for now");
                tokio::time::sleep(EXHAUSTED_BACKOFF).await;
                continue;
            }
        };
        let serving = serve(stream);
        tokio::spawn(async move {
            let served = tokio::time::timeout(CONNECTION_TIMEOUT, serving).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "HTTP connection ended");
            }
            drop(place);
        });
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
