//! Ports that must be known before the server that listens there runs: another program's configuration names them.
//!
//! They lie below the range from which the kernel takes the ports of connections and of listeners that name none, so
//! nobody gets one by chance between its choice and its use; a locked file for each keeps test programs that run at once
//! apart. A server of ours that nobody must know before takes port 0 instead.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Above the ports of well-known services and what developers' machines run; Linux's default range begins at 32,768.
const CHOICE: std::ops::Range<u16> = 20_000..32_000;

/// The locks of this program's ports, held until it ends.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1, free for TCP and UDP, that no other caller gets while this program runs.
///
/// # Panics
/// When none is free.
pub fn reserve() -> u16 {
    let directory = std::env::temp_dir().join("ringpost-test-ports");
    fs::create_dir_all(&directory).expect("room for empty files");
    for port in CHOICE {
        let lock = File::create(directory.join(port.to_string())).expect("room for an empty file");
        if lock.try_lock().is_ok() && is_free(port) {
            TAKEN.lock().expect("nobody panics with it").push(lock);
            return port;
        }
    }
    panic!("no port of {CHOICE:?} is free on 127.0.0.1");
}

fn is_free(port: u16) -> bool {
    let at = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}
