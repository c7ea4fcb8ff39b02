//! The running server's ear for `ringpost account`, `reload`, `store undelete`, `store check` and their like: a Unix socket in the data directory.
//!
//! One request a connection, as a line of JSON, until the peer closes its side; one line back.
//! Invariants: the socket is for the server's user and root only (mode 0600 in a directory of that user); a request changes
//! everything it says or nothing.
//! Limits: [`REQUEST_BYTES_MAX`], [`REQUEST_TIMEOUT`], [`CONNECTIONS_MAX`].
//! Failure: a request that cannot be read is told so and changes nothing.
//! Not here: what orders mean (`directory`), what a reload does (`boot`).

use super::view::{LogEnd, View};
use crate::directory::Accounts;
use crate::directory::orders::{Order, OrderError, Outcome};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "control.sock";

/// The largest request is an import: 200,000 accounts of some 400 octets.
pub const REQUEST_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// A request is there by then.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that is not held up says by then how far its logs are: all its cores were asked.
pub const ALIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests at once: whoever may ask is an admin.
pub const CONNECTIONS_MAX: usize = 16;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Order(Order),
    Reload,
    Undelete(Undelete),
    /// Up to where is the log durable? For whoever looks at the store while the server works on it.
    LogEnds,
}

/// Which expunged messages are to come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Undelete {
    /// Whose: a number, or the address that the account logs in by.
    pub account: String,
    /// Only of this mailbox.
    pub mailbox: Option<String>,
    /// Only what was expunged since then, Unix time in milliseconds.
    pub since_ms: Option<i64>,
}

/// What is answered.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done(Outcome),
    Reloaded(Reloaded),
    /// So many messages are back.
    Undeleted(u64),
    LogEnds(Vec<LogEnd>),
    Error(OrderError),
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is new, in words.
    pub applied: Vec<String>,
    /// Changed options that wait for a restart.
    pub waiting: Vec<String>,
    /// What could not be taken; what ran goes on.
    pub problems: Vec<String>,
}

/// Reads everything again.
pub type Reload = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Reloaded> + Send>> + Send + Sync>;

/// Brings messages back; says how many.
pub type Restore =
    Arc<dyn Fn(Undelete) -> Pin<Box<dyn Future<Output = Result<u64, OrderError>> + Send>> + Send + Sync>;

/// What this server can be asked for. The rest is refused.
#[derive(Clone, Default)]
pub struct Doors {
    /// Who carries orders out.
    pub directory: Option<Accounts>,
    /// Who reads the configuration again.
    pub reload: Option<Reload>,
    /// Who brings messages back.
    pub restore: Option<Restore>,
    /// Who knows how far the logs are.
    pub view: Option<Arc<View>>,
}

/// A path of any length, short enough for a socket's address (107 octets).
struct ShortPath {
    _directory: File,
    path: PathBuf,
}

impl ShortPath {
    fn of(data: &Path) -> io::Result<Self> {
        let directory = File::open(data)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()));
        Ok(Self {
            _directory: directory,
            path,
        })
    }
}

/// Binds the socket in `data`, whose lock is held: what lies there is of a server that ended.
///
/// # Errors
/// Those of the operating system.
pub fn bind(data: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let short = ShortPath::of(data)?;
    match std::fs::remove_file(&short.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&short.path)?;
    std::fs::set_permissions(&short.path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the runtime ends. Only on the control thread.
pub async fn serve(listener: std::os::unix::net::UnixListener, doors: Doors) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no control socket"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let doors = doors.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &doors).await {
                tracing::debug!(%error, "control connection ended");
            }
            drop(place);
        });
    }
}

async fn converse(mut stream: UnixStream, doors: &Doors) -> io::Result<()> {
    let mut request = Vec::new();
    let mut limited = (&mut stream).take(REQUEST_BYTES_MAX + 1);
    tokio::time::timeout(REQUEST_TIMEOUT, limited.read_to_end(&mut request)).await??;
    let answer = answer(&request, &peer_of(&stream), doors).await;
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn answer(request: &[u8], by: &str, doors: &Doors) -> Answer {
    let refused = |what: String| Answer::Error(OrderError::Refused(what));
    let not_here = || refused("this server has nothing of that kind (is it the demo?)".to_owned());
    if request.len() as u64 > REQUEST_BYTES_MAX {
        return refused("the request is too large".to_owned());
    }
    match serde_json::from_slice(request) {
        Ok(Request::Order(order)) => match &doors.directory {
            Some(directory) => perform(directory, by, order).await,
            None => not_here(),
        },
        Ok(Request::Reload) => match &doors.reload {
            Some(reload) => {
                tracing::info!(by, "a reload was asked for");
                Answer::Reloaded(reload().await)
            }
            None => not_here(),
        },
        Ok(Request::Undelete(undelete)) => match &doors.restore {
            Some(restore) => {
                let account = undelete.account.escape_debug().to_string();
                let answer = restore(undelete)
                    .await
                    .map_or_else(Answer::Error, Answer::Undeleted);
                tracing::info!(by, account, ?answer, "expunged mail was asked back");
                answer
            }
            None => not_here(),
        },
        Ok(Request::LogEnds) => match &doors.view {
            Some(view) => view.log_ends().map_or_else(
                || Answer::Error(OrderError::Failed("the server is coming up or ending".to_owned())),
                Answer::LogEnds,
            ),
            None => not_here(),
        },
        Err(error) => refused(format!(
            "the request is not understood (is the server of another version?): {error}"
        )),
    }
}

async fn perform(directory: &Accounts, by: &str, order: Order) -> Answer {
    match directory.perform_for(by, order).await {
        Ok(outcome) => Answer::Done(outcome),
        Err(error) => Answer::Error(error),
    }
}

/// Whose process asks, as the system knows it.
fn peer_of(stream: &UnixStream) -> String {
    match stream.peer_cred() {
        Ok(peer) => match peer.pid() {
            Some(pid) => format!("uid {} by process {pid}", peer.uid()),
            None => format!("uid {}", peer.uid()),
        },
        Err(_) => "somebody on this machine".to_owned(),
    }
}

/// Whether a server runs on `data`; `None`: who asks may not know.
#[must_use]
pub fn is_served(data: &Path) -> Option<bool> {
    let connected =
        ShortPath::of(data).and_then(|short| std::os::unix::net::UnixStream::connect(&short.path));
    match connected.map_err(|error| error.kind()) {
        Ok(_) => Some(true),
        Err(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Some(false),
        Err(_) => None,
    }
}

/// Asks the server that runs on `data`; `None` when none does.
///
/// # Errors
/// Those of the operating system, and an answer that is none.
pub fn ask(data: &Path, request: &Request) -> io::Result<Option<Answer>> {
    ask_within(data, request, 2 * REQUEST_TIMEOUT)
}

/// As [`ask`], where the answer may take as long as `timeout`.
///
/// # Errors
/// As there.
pub fn ask_within(data: &Path, request: &Request, timeout: Duration) -> io::Result<Option<Answer>> {
    let short = match ShortPath::of(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        short => short?,
    };
    let mut stream = match connect(&short.path, timeout) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(in_time(error, timeout)),
    };
    let mut answer = Vec::new();
    let mut talk = || {
        stream.write_all(&serde_json::to_vec(request)?)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut answer)
    };
    talk().map_err(|error| in_time(error, timeout))?;
    Ok(Some(serde_json::from_slice(&answer)?))
}

/// A connection on which nothing waits longer than `timeout`. The kernel makes one to a process that does not run, too, until
/// there are too many that nobody took; then it waits.
fn connect(path: &Path, timeout: Duration) -> io::Result<std::os::unix::net::UnixStream> {
    use socket2::{Domain, SockAddr, Socket, Type};
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(std::os::fd::OwnedFd::from(socket).into())
}

/// What the kernel calls "resource temporarily unavailable".
fn in_time(error: io::Error, timeout: Duration) -> io::Error {
    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return error;
    }
    let seconds = timeout.as_secs_f32();
    let what = format!(
        "nothing came for {seconds} s: its process is stopped (SIGSTOP) or hangs. Let it go on (SIGCONT) or end it, and try again"
    );
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::embedded::Embedded;
    use crate::directory::orders::DomainSettings;
    use crate::runtime::Control;

    /// As of a process that is stopped: the kernel takes connections for it.
    #[test]
    fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
        let root = tempfile::tempdir().expect("a directory");
        let _deaf = bind(root.path()).expect("it binds");
        let timeout = Duration::from_millis(20);
        // More than the kernel keeps waiting: the last ones do not even get a connection.
        let mut held = Vec::new();
        for _ in 0..3 {
            let asked = ask_within(root.path(), &Request::LogEnds, timeout);
            let error = asked.expect_err("nobody answers");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("SIGSTOP"), "{error}");
            let short = ShortPath::of(root.path()).expect("it is there");
            while let Ok(stream) = connect(&short.path, timeout) {
                held.push(stream);
            }
        }
    }

    #[test]
    fn orders_reach_a_server_however_deep_its_directory_lies() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("d".repeat(200));
        std::fs::create_dir(&data).expect("it can be made");
        assert!(
            ask(&data, &Request::Reload)
                .expect("nobody is no error")
                .is_none()
        );
        assert!(
            ask(&data.join("x"), &Request::Reload)
                .expect("nor is nothing")
                .is_none()
        );
        let control = Control::start().expect("threads");
        let directory = Accounts::Embedded(Embedded::start(&data, control.clone()).expect("a new directory"));
        drop(bind(&data).expect("it binds"));
        let listener = bind(&data).expect("it binds where a dead server's socket lies");
        let reload: Reload = Arc::new(|| Box::pin(std::future::ready(Reloaded::default())));
        let doors = Doors {
            directory: Some(directory),
            reload: Some(reload),
            ..Doors::default()
        };
        control.spawn(serve(listener, doors));
        let add = |domain: &str| {
            Request::Order(Order::DomainAdd {
                domain: domain.to_owned(),
                set: DomainSettings::default(),
            })
        };
        let answer = |request| ask(&data, &request).expect("it answers").expect("it runs");
        assert_eq!(answer(add("example.org")), Answer::Done(Outcome::Done));
        assert!(matches!(
            answer(add("example.org")),
            Answer::Error(OrderError::Refused(_))
        ));
        assert_eq!(answer(Request::Reload), Answer::Reloaded(Reloaded::default()));
        let mode = std::fs::metadata(data.join(SOCKET_NAME))
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_request_changes_nothing() {
        let data = tempfile::tempdir().expect("a directory");
        let control = Control::start().expect("threads");
        let directory = Accounts::Embedded(Embedded::start(data.path(), control).expect("a new directory"));
        let reload: Reload = Arc::new(|| Box::pin(std::future::ready(Reloaded::default())));
        let doors = Doors {
            directory: Some(directory),
            reload: Some(reload),
            ..Doors::default()
        };
        for text in [
            "",
            "x",
            "{}",
            "{\"order\":{\"domain_add\":{}}}",
            "[[[[[[",
            "{\"order\":\"domain_list\",\"x\":1}",
            // Nobody is there who could.
            "{\"undelete\":{\"account\":\"1\"}}",
        ] {
            let answer = futures_executor::block_on(answer(text.as_bytes(), "a test", &doors));
            assert!(matches!(answer, Answer::Error(_)), "{text}: {answer:?}");
        }
    }
}
