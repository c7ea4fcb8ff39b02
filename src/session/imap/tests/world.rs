//! A store, the services around it, and clients on pipes.

use crate::base::buffer::{BufLease, RECEIVE_BUFFER_BYTES};
use crate::base::clock::{ManualClock, UnixMillis};
use crate::mailbox::digests::Digests;
use crate::mailbox::searching::Pace;
use crate::model::{Account, AccountId, AddrSpec, ClientProtocol, Quota};
use crate::net::TlsInfo;
use crate::node::shutdown::Shutdown;
use crate::proto::imap::{Config, LoginRefusal};
use crate::proto::sasl::Request;
use crate::runtime::Core;
use crate::session::imap::{AuthVerdict, QuotaRefusal, Served, Services, resume, serve};
use crate::session::owner::{IDLE_LOOK, Owner};
use crate::session::pipe::Pipe;
use crate::sim::SimDisk;
use crate::store::{Environment, Store, recover};
use futures::executor::{LocalPool, LocalSpawner};
use futures::task::LocalSpawnExt;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// 2026-01-02 03:04:05 UTC.
pub const NOW: UnixMillis = UnixMillis(1_767_323_045_000);

/// The quota of account 3, octets.
pub const SMALL_QUOTA: u64 = 1_000;

#[derive(Clone)]
pub struct TestEnvironment {
    disk: SimDisk,
    clock: ManualClock,
}

impl Environment for TestEnvironment {
    type Disk = SimDisk;
    type Clock = ManualClock;

    fn disk(&self) -> &SimDisk {
        &self.disk
    }
    fn clock(&self) -> &ManualClock {
        &self.clock
    }
    fn random_u64(&self) -> u64 {
        7
    }
}

pub struct TestServices {
    store: Store<TestEnvironment>,
    /// Every look at the monotonic clock takes this long.
    pub look: Cell<Duration>,
    /// What a breath takes.
    pub wait_of_breath: Cell<Duration>,
    /// How often others get a turn during a breath.
    pub turns_of_breath: Cell<u32>,
    looked: Cell<Duration>,
    began: Instant,
    pub clock: ManualClock,
    digests: RefCell<Digests>,
    pub shutdown: Shutdown,
    /// What became of the accounts that there are since the sessions began; the last one counts.
    pub changes: RefCell<Vec<fn(&mut Account)>>,
    /// By SETQUOTA, which accounts 3 and 30 may give.
    pub quotas_set: RefCell<Vec<Quota>>,
    /// Of connections to come, and what running sessions read of it.
    pub config: RefCell<Arc<Config>>,
    core: Core,
}

impl Pace for TestServices {
    fn now(&self) -> Instant {
        self.looked.set(self.looked.get() + self.look.get());
        self.began + self.looked.get()
    }
    fn computed(&self) -> Option<Duration> {
        Some(self.looked.get())
    }
    async fn breathe(&self) {
        self.looked.set(self.looked.get() + self.wait_of_breath.get());
        let mut turns = self.turns_of_breath.get();
        poll_fn(|cx| {
            if turns == 0 {
                return Poll::Ready(());
            }
            turns -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Services for TestServices {
    type Environment = TestEnvironment;

    fn store(&self) -> &Store<TestEnvironment> {
        &self.store
    }
    fn digests(&self) -> &RefCell<Digests> {
        &self.digests
    }
    fn clock(&self) -> &ManualClock {
        &self.clock
    }
    fn core(&self) -> Core {
        self.core
    }
    fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }
    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        None
    }
    fn is_plaintext_login_allowed(&self, _peer: SocketAddr) -> bool {
        true
    }
    async fn authenticate(
        &self,
        request: &Request,
        _peer: SocketAddr,
        _certificate: Option<&[u8]>,
    ) -> AuthVerdict {
        let id = match request {
            Request::Password(credentials) if credentials.secret.expose() == b"secret" => {
                credentials.login.parse().ok()
            }
            _ => None,
        };
        id.map_or(AuthVerdict::Refused(LoginRefusal::AuthenticationFailed), |id| {
            AuthVerdict::Account(Owner::assumed(account(id), ClientProtocol::Imap))
        })
    }
    fn may_be_revoked(&self, owner: &Owner) -> bool {
        owner.is_outdated(self.changes.borrow().len() as u64, Instant::now())
    }
    async fn renew(&self, owner: &mut Owner) -> bool {
        let changes = self.changes.borrow();
        let found = changes.last().map(|change| {
            let mut account = account(owner.account.id.0);
            change(&mut account);
            Arc::new(account)
        });
        owner.take(Ok(found), changes.len() as u64, Instant::now() + IDLE_LOOK)
    }
    async fn set_quota(&self, account: &Account, quota: Quota) -> Result<(), QuotaRefusal> {
        match account.id.0 {
            3 | 30 => {
                self.quotas_set.borrow_mut().push(quota);
                Ok(())
            }
            4 => Err(QuotaRefusal::Elsewhere),
            5 => Err(QuotaRefusal::Unavailable),
            _ => Err(QuotaRefusal::NoPermission),
        }
    }
    fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

fn account(id: u64) -> Account {
    Account {
        quota_bytes: (id == 3).then_some(SMALL_QUOTA),
        quota_messages: (id == 30).then_some(2),
        ..Account::new(AccountId(id), AddrSpec::parse("someone@example.org").unwrap())
    }
}

pub struct World {
    pool: LocalPool,
    pub services: Rc<TestServices>,
    pub disk: SimDisk,
    /// Octets of an idle session's own state.
    pub session_bytes: usize,
}

impl World {
    pub fn new() -> Self {
        Self::on_core(Core { id: 0, count: 1 })
    }

    /// A world whose core is one of several.
    pub fn on_core(core: Core) -> Self {
        Self::on_disk(SimDisk::new(1), core)
    }

    /// The same store, started anew: nothing of it is in memory.
    pub fn restarted(mut self) -> Self {
        self.pool.run_until(self.services.store.shutdown());
        Self::on_disk(self.disk, self.services.core)
    }

    fn on_disk(disk: SimDisk, core: Core) -> Self {
        let clock = ManualClock::at(NOW);
        let environment = TestEnvironment {
            disk: disk.clone(),
            clock: clock.clone(),
        };
        let mut pool = LocalPool::new();
        let store = pool.run_until(async {
            let recovered = recover(&environment, 1).await.unwrap();
            let seed = recovered.seeds.into_iter().next().unwrap();
            Store::start(environment.clone(), seed).await.unwrap()
        });
        pool.spawner().spawn_local(store.clone().run_writer()).unwrap();
        let services = Rc::new(TestServices {
            store,
            look: Cell::default(),
            wait_of_breath: Cell::default(),
            turns_of_breath: Cell::default(),
            looked: Cell::default(),
            began: Instant::now(),
            clock,
            digests: RefCell::default(),
            shutdown: Shutdown::default(),
            changes: RefCell::default(),
            quotas_set: RefCell::default(),
            config: RefCell::default(),
            core,
        });
        Self {
            pool,
            services,
            disk,
            session_bytes: 0,
        }
    }

    /// What `work` comes to, while everything else goes on.
    pub fn wait<R>(&mut self, work: impl Future<Output = R>) -> R {
        self.pool.run_until(work)
    }

    pub fn run(&mut self) {
        self.pool.run_until_stalled();
    }

    /// A client that has been greeted.
    pub fn connect(&mut self) -> Client {
        let wire = Arc::new(Mutex::new(Wire::default()));
        let pipe = TestPipe(wire.clone());
        let services = self.services.clone();
        self.session_bytes = size_of_val(&serve(TestPipe(wire.clone()), false, services.clone()));
        let spawner = self.pool.spawner();
        let session = async move { follow(serve(pipe, false, services.clone()).await, services, spawner) };
        self.pool.spawner().spawn_local(session).unwrap();
        self.run();
        let mut client = Client {
            wire,
            tags: 0,
            greeting: String::new(),
            shows_recent: false,
        };
        client.greeting = client.read();
        client
    }

    /// A client that is logged in as the account of this number.
    pub fn login(&mut self, account: u64) -> Client {
        let mut client = self.connect();
        client.ok(self, &format!("LOGIN {account} secret"));
        client
    }

    /// A client that has selected INBOX.
    pub fn selected(&mut self, account: u64) -> Client {
        let mut client = self.login(account);
        client.ok(self, "SELECT INBOX");
        client
    }
}

/// In these worlds a connection moves from a core to itself.
fn follow(served: Served<TestPipe>, services: Rc<TestServices>, spawner: LocalSpawner) {
    if let Served::Moved(moved) = served {
        fn assert_send<T: Send>(_: &T) {}
        assert_send(&moved);
        let session = async move {
            if let Ok(serving) = resume(*moved, services) {
                let _ = serving.await;
            }
        };
        spawner.spawn_local(session).unwrap();
    }
}

/// Both directions of a connection.
#[derive(Default)]
pub struct Wire {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    is_client_gone: bool,
    is_closed: bool,
    /// Octets of the longest single send.
    pub longest_send: usize,
    waker: Option<Waker>,
}

pub struct TestPipe(Arc<Mutex<Wire>>);

impl TestPipe {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }
}

impl Pipe for TestPipe {
    type Detached = Self;

    fn peer(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 4242))
    }
    fn local(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 143))
    }
    fn set_deadline(&mut self, _at: Option<Instant>) {}
    async fn recv(&mut self) -> io::Result<BufLease> {
        poll_fn(|cx| {
            let mut wire = self.wire();
            if wire.to_server.is_empty() && !wire.is_client_gone {
                wire.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let count = wire.to_server.len().min(RECEIVE_BUFFER_BYTES);
            let mut lease = BufLease::take();
            for (place, octet) in lease.space().iter_mut().zip(wire.to_server.drain(..count)) {
                *place = octet;
            }
            lease.set_filled(count);
            Poll::Ready(Ok(lease))
        })
        .await
    }
    fn has_input(&mut self) -> bool {
        !self.wire().to_server.is_empty()
    }
    async fn send(&mut self, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut wire = self.wire();
        wire.longest_send = wire.longest_send.max(bytes.len());
        wire.to_client.append(&mut bytes);
        Ok(bytes)
    }
    async fn start_tls(&mut self, _config: Arc<rustls::ServerConfig>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn tls(&self) -> Option<&TlsInfo> {
        None
    }
    fn detach(self) -> Self {
        self
    }
    fn attach(detached: Self) -> io::Result<Self> {
        Ok(detached)
    }
    async fn close(self) {
        self.wire().is_closed = true;
    }
}

pub struct Client {
    wire: Arc<Mutex<Wire>>,
    tags: u32,
    pub greeting: String,
    /// Most tests ask about flags that last: what they read has no `\Recent` in it.
    pub shows_recent: bool,
}

/// What a command was answered: everything before the tagged line, and that line without its tag.
#[derive(Debug)]
pub struct Reply {
    pub untagged: String,
    pub tagged: String,
}

impl Reply {
    pub fn lines(&self) -> Vec<&str> {
        self.untagged
            .split("\r\n")
            .filter(|line| !line.is_empty())
            .collect()
    }

    pub fn has(&self, line: &str) -> bool {
        self.lines().contains(&line)
    }
}

impl Client {
    pub fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }

    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        let mut wire = self.wire();
        wire.to_server.extend(bytes.as_ref());
        if let Some(waker) = wire.waker.take() {
            waker.wake();
        }
    }

    /// Takes what the server has sent, as Latin-1.
    pub fn read(&mut self) -> String {
        let octets = std::mem::take(&mut self.wire().to_client);
        let text: String = octets.into_iter().map(char::from).collect();
        if self.shows_recent {
            return text;
        }
        text.replace(" \\Recent)", ")").replace("(\\Recent)", "()")
    }

    pub fn is_closed(&self) -> bool {
        self.wire().is_closed
    }

    pub fn hang_up(&self) {
        self.wire().is_client_gone = true;
        self.send("");
    }

    pub fn command(&mut self, world: &mut World, command: &str) -> Reply {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(format!("{tag} {command}\r\n"));
        world.run();
        let all = self.read();
        let mark = format!("{tag} ");
        let at = if all.starts_with(&mark) {
            Some(0)
        } else {
            all.rfind(&format!("\r\n{mark}")).map(|at| at + 2)
        };
        let Some(at) = at else {
            panic!("{command} was not answered: {all:?}")
        };
        let (untagged, tagged) = all.split_at(at);
        Reply {
            untagged: untagged.to_owned(),
            tagged: tagged[mark.len()..].trim_end().to_owned(),
        }
    }

    /// A command that succeeds.
    pub fn ok(&mut self, world: &mut World, command: &str) -> Reply {
        let reply = self.command(world, command);
        assert!(reply.tagged.starts_with("OK"), "{command}: {reply:?}");
        reply
    }

    /// The tagged response of a command.
    pub fn tagged(&mut self, world: &mut World, command: &str) -> String {
        self.command(world, command).tagged
    }

    pub fn append(&mut self, world: &mut World, mailbox: &str, flags: &str, message: &str) -> Reply {
        let command = format!("APPEND {mailbox} ({flags}) {{{}+}}\r\n{message}", message.len());
        self.ok(world, &command)
    }

    /// Appends `count` messages whose subjects are their numbers.
    pub fn fill(&mut self, world: &mut World, mailbox: &str, count: usize) {
        for number in 1..=count {
            let message = format!("Subject: {number}\r\n\r\nbody {number}\r\n");
            self.append(world, mailbox, "", &message);
        }
    }
}
