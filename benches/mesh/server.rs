//! A core that says back what it hears, in each of the ways a connection is served.

use crate::Local;
use crate::client::client_config;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use ringpost::net::{Backend, BoundListener, Conn, Listener};
use ringpost::runtime::{run_cores, spawn_detached};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// What answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// glommio's listener and stream without Ringpost's layer, as what that layer is measured against.
    Bare,
    Plain,
    /// Plain over our own ring.
    Ring,
    Secured,
}

impl Server {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare glommio",
            Self::Plain => "plain",
            Self::Ring => "plain over the ring",
            Self::Secured => "TLS",
        }
    }
}

pub fn serve(
    server: Server,
    beside: impl Fn() + Clone + Send + 'static,
    client: impl FnOnce(SocketAddr, Arc<rustls::ClientConfig>) -> Histogram<u64>,
) -> Histogram<u64> {
    serve_with(server, beside, |address, certificate| {
        client(address, client_config(&certificate))
    })
}

/// An echo server on one core, with `beside` called on it, while `client` runs here.
pub fn serve_with<T>(
    server: Server,
    beside: impl Fn() + Clone + Send + 'static,
    client: impl FnOnce(SocketAddr, rustls::pki_types::CertificateDer<'static>) -> T,
) -> T {
    let certificate = ringpost::tls::self_signed(&["localhost".to_owned()]).expect("made");
    let own = certificate.chain[0].clone();
    let config = (server == Server::Secured)
        .then(|| ringpost::tls::server_config(certificate, &[]).expect("a good certificate"));

    let bound = BoundListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = bound.local();
    let bound = Arc::new(Mutex::new(Some(bound)));
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let is_bare = server == Server::Bare;
    let backend = if server == Server::Ring {
        Backend::Ring
    } else {
        Backend::Tcp
    };
    let bare = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = if is_bare {
        bare.local_addr().expect("a live socket")
    } else {
        address
    };
    let bare = Arc::new(Mutex::new(Some(bare)));
    let server = std::thread::spawn(move || {
        run_cores(1, move |_| {
            if is_bare {
                let (bare, stopped, beside) = (bare.clone(), stopped.clone(), beside.clone());
                return Box::pin(async move {
                    beside();
                    let socket = bare.lock().take().expect("taken once");
                    spawn_detached("accept", bare_accept(socket));
                    stopped.notified().await;
                }) as Local<()>;
            }
            let bound = bound.lock().take().expect("taken once");
            let (config, stopped, beside) = (config.clone(), stopped.clone(), beside.clone());
            Box::pin(async move {
                beside();
                let listener = Rc::new(Listener::new(bound, backend).expect("a live socket"));
                let accepting = listener.clone();
                spawn_detached("accept", async move {
                    accepting
                        .accept_all(|conn| spawn_detached("echo", echo(conn, config.clone())))
                        .await;
                });
                stopped.notified().await;
                listener.stop();
            })
        })
    });
    let result = client(address, own);
    stop.notify_one();
    for ended in server.join().expect("the server's thread") {
        ended.expect("no core fails");
    }
    result
}

async fn bare_accept(socket: std::net::TcpListener) {
    // SAFETY: the descriptor is a listening socket and its ownership passes to the listener.
    let listener = unsafe { glommio::net::TcpListener::from_raw_fd(socket.into_raw_fd()) };
    while let Ok(mut stream) = listener.accept().await {
        stream.set_nodelay(true).expect("a live socket");
        spawn_detached("echo", async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count) = stream.read(&mut buffer).await
                && count > 0
                && stream.write_all(&buffer[..count]).await.is_ok()
            {}
        });
    }
}

async fn echo(mut conn: Conn, config: Option<Arc<rustls::ServerConfig>>) {
    if let Some(config) = config {
        conn.start_tls(config).await.expect("a good client");
    }
    let mut reply = Vec::new();
    while let Ok(lease) = conn.recv().await {
        if lease.is_empty() {
            break;
        }
        reply.extend_from_slice(&lease);
        drop(lease);
        match conn.send(reply).await {
            Ok(emptied) => reply = emptied,
            Err(_) => break,
        }
    }
}
