//! What one mail asks of the allocator on the server's core, end to end: socket, TLS-less session, delivery, log.
//!
//! The whole server runs in this process on one core over real files and sockets; the client is another thread, whose
//! allocations are not counted. Everything that the core's thread does in the time is counted: timers, group commit,
//! applying. Run it with `cargo bench --bench allocations`.

use clap::Parser;
use ringpost::boot::cluster::{self, Plan};
use ringpost::boot::signal::StopRequest;
use ringpost::boot::{demo, listeners};
use ringpost::cli::{Arguments, Command, DemoArguments, PortOffset};
use ringpost::net::Backend;
use ringpost::runtime::Control;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Messages and commands counted.
const COUNT: u64 = 2_000;

/// Asked of the allocator by the server's core.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Found out by its name at a thread's first allocation.
    static IS_CORE: Cell<Option<bool>> = const { Cell::new(None) };
}

struct Counting;

fn count() {
    let is_core = IS_CORE.try_with(|is_core| match is_core.get() {
        Some(known) => known,
        None => {
            // Looking up the name may allocate: that must not ask again.
            is_core.set(Some(false));
            let found = thread::current()
                .name()
                .is_some_and(|name| name.starts_with("core-"));
            is_core.set(Some(found));
            found
        }
    });
    if is_core == Ok(true) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to mimalloc unchanged; counting touches an atomic and a thread-local.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { mimalloc::MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { mimalloc::MiMalloc.realloc(memory, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    println!("allocations on the server's core, {COUNT} of each on one connection");
    for (name, discard, network) in [
        ("tcp, discarding", true, Backend::Tcp),
        ("tcp, durable", false, Backend::Tcp),
        ("ring, discarding", true, Backend::Ring),
        ("ring, durable", false, Backend::Ring),
    ] {
        let figures = measure(discard, network);
        println!(
            "{name:17} {:.2} a command (NOOP), {:.2} a message of 4 KiB to one recipient",
            figures.0, figures.1
        );
    }
}

/// Allocations per command and per message.
fn measure(discard: bool, network: Backend) -> (f64, f64) {
    let mut words = vec!["ringpost", "demo"];
    words.extend(discard.then_some("--discard"));
    let Command::Demo(arguments) = Arguments::parse_from(words).command else {
        unreachable!("demo was asked for")
    };
    let data = tempfile::tempdir_in(".").expect("a directory to store in");
    let (stop, request) = StopRequest::by_hand();
    let (plan, port) = plan(&arguments, data.path().to_path_buf(), network, request);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let server = thread::spawn(move || {
        cluster::run(plan, move || ready.send(()).expect("somebody waits"))
            .expect("the server starts and ends");
    });
    is_ready.recv().expect("the server is ready");
    let figures = Client::connect(port).measure();
    stop.send_replace(true);
    server.join().expect("the server ended");
    figures
}

fn plan(
    arguments: &DemoArguments,
    data: std::path::PathBuf,
    network: Backend,
    stop: StopRequest,
) -> (Plan, u16) {
    let (listeners, ports) =
        listeners::bind_all(Ipv4Addr::LOCALHOST.into(), PortOffset::Auto, 1).expect("free ports");
    let plan = Plan {
        http: Vec::new(),
        https: Vec::new(),
        pages: axum::Router::new(),
        cores: 1,
        network,
        data: data.canonicalize().expect("it exists"),
        listeners,
        directory: demo::directory(arguments).expect("a directory"),
        accounts: None,
        main_domain: demo::main_domain().expect("a domain"),
        tls: demo::self_signed_tls().expect("a certificate"),
        settings: demo::settings(arguments),
        readers: ringpost::admin::default_readers(),
        failures: cluster::failures().expect("entropy"),
        store: ringpost::store::StoreOptions::default(),
        compaction: None,
        // Nobody gives any.
        undelete: tokio::sync::mpsc::channel(1).1,
        issuer: None,
        view: cluster::view(&data),
        control: Control::start().expect("a thread"),
        stop,
    };
    (plan, ports["smtp"])
}

struct Client {
    wire: BufReader<TcpStream>,
    reply: String,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        let mut client = Self {
            wire: BufReader::new(stream),
            reply: String::new(),
        };
        client.expect("220");
        client.say("EHLO bench.example\r\n", "250 ");
        client
    }

    fn measure(mut self) -> (f64, f64) {
        let body = format!(
            "Subject: allocations\r\n\r\n{}.\r\n",
            "0123456789abcdef0123456789\r\n".repeat(145)
        );
        for _ in 0..COUNT {
            self.message(&body);
        }
        let per_message = per_unit(|| (0..COUNT).for_each(|_| self.message(&body)));
        let per_command = per_unit(|| (0..COUNT).for_each(|_| self.say("NOOP\r\n", "250")));
        (per_command, per_message)
    }

    fn message(&mut self, body: &str) {
        self.say("MAIL FROM:<sender@example.net>\r\n", "250");
        self.say("RCPT TO:<user1@example.org>\r\n", "250");
        self.say("DATA\r\n", "354");
        self.say(body, "250");
    }

    fn say(&mut self, text: &str, expected: &str) {
        self.wire
            .get_mut()
            .write_all(text.as_bytes())
            .expect("the server reads");
        self.expect(expected);
    }

    fn expect(&mut self, code: &str) {
        loop {
            self.reply.clear();
            self.wire.read_line(&mut self.reply).expect("the server answers");
            if self.reply.as_bytes().get(3) != Some(&b'-') {
                assert!(
                    self.reply.starts_with(code),
                    "{code} expected, got {}",
                    self.reply
                );
                return;
            }
        }
    }
}

fn per_unit(work: impl FnOnce()) -> f64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / COUNT as f64
}
