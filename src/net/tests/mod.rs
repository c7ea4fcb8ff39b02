//! Connections and listeners on real executors over loopback.

mod listening;
mod moving;
mod plain;
mod secured;

use super::{Backend, BoundListener, Conn, Listener};
use crate::base::oneshot;
use crate::runtime::{Core, run_cores, spawn_detached};
use crate::testing::in_own_process;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion,
};
use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Longest a client of a test waits for anything; reached only when the test fails.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);

/// Every test that moves bytes holds for both back ends.
fn on_each_backend(test: impl Fn(Backend)) {
    for backend in [Backend::Tcp, Backend::Ring] {
        eprintln!("back end: {backend:?}");
        test(backend);
    }
}

type SessionTask = Pin<Box<dyn Future<Output = ()>>>;

/// Serves `session` on one core while `client` runs on this thread; returns what the client returns after the core ended.
fn serve_one_core<F>(
    backend: Backend,
    session: impl Fn(Conn) -> F + Clone + Send + 'static,
    client: impl FnOnce(SocketAddr),
) where
    F: Future<Output = ()> + 'static,
{
    let start = move |_| {
        let session = session.clone();
        move |conn| -> SessionTask { Box::pin(session(conn)) }
    };
    serve(backend, 1, start, client);
}

/// `start` makes each core's session, on its thread.
fn serve<S>(
    backend: Backend,
    cores: usize,
    start: impl Fn(Core) -> S + Clone + Send + 'static,
    client: impl FnOnce(SocketAddr),
) where
    S: Fn(Conn) -> SessionTask + 'static,
{
    let bound = BoundListener::bind_all(loopback(), cores).unwrap();
    let address = bound[0].local();
    let bound = Arc::new(Mutex::new(bound));
    let stop = Arc::new((0..cores).map(|_| Notify::new()).collect::<Vec<_>>());
    let stopping = stop.clone();
    let server = std::thread::spawn(move || {
        run_cores(cores, move |core| {
            let (bound, start, stop) = (bound.lock().pop().unwrap(), start.clone(), stop.clone());
            async move {
                let session = start(core);
                let listener = Rc::new(Listener::new(bound, backend).unwrap());
                let (ended, end) = oneshot::channel();
                let accepting = listener.clone();
                spawn_detached("accept", async move {
                    accepting
                        .accept_all(|conn| spawn_detached("session", session(conn)))
                        .await;
                    ended.send(());
                });
                stop[core.id].notified().await;
                listener.stop();
                end.await.unwrap();
            }
        })
    });
    // A failed client must not leave the server running: the failure is told after the cores ended.
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client(address)));
    stopping.iter().for_each(Notify::notify_one);
    for result in server.join().unwrap() {
        result.unwrap();
    }
    if let Err(panic) = told {
        std::panic::resume_unwind(panic);
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(CLIENT_PATIENCE)).unwrap();
    stream.set_write_timeout(Some(CLIENT_PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Echoes until the peer ends, then closes.
async fn echo(mut conn: Conn) {
    while let Ok(lease) = conn.recv().await {
        if lease.is_empty() {
            break;
        }
        // It changes nothing but when the next receive begins.
        if lease.len().is_multiple_of(2) {
            conn.expect_input();
        }
        if conn.send(lease.to_vec()).await.is_err() {
            break;
        }
    }
    conn.close().await;
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A server's configuration and that of a client, of these versions, which trusts it.
fn tls_pair(
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> (Arc<ServerConfig>, ClientConfig) {
    let certificate = crate::tls::self_signed(&["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.chain[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (crate::tls::server_config(certificate, alpn).unwrap(), client)
}

fn connect_tls(address: SocketAddr, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).unwrap(),
        connect(address),
    )
}

/// `len` bytes in which every position can be told from its neighbours.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}
