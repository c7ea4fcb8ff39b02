//! Many passwords hashed at once, as an import in plain text needs it: one takes tens of milliseconds of a core.
//!
//! Limits: [`THREADS_MAX`] threads, each with the memory of one computation (19 MiB and more).
//! Failure: the first that cannot be hashed ends all; the others' hashes are thrown away.

use super::BootError;
use crate::auth::{scheme, scram};
use crate::directory::orders::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Threads at once, on a machine with more cores too: a server may be serving beside them.
pub const THREADS_MAX: usize = 16;

/// How often somebody who waits is told.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// A password to hash.
pub struct Password {
    pub text: String,
    /// Verifiers for SCRAM are kept beside the hash.
    pub keeps_scram: bool,
}

/// The hashes of each, in the order of the passwords. `progress` is called again and again with how many are done.
///
/// # Errors
/// [`BootError::Admin`] or [`BootError::System`] of one of them.
pub fn hash_all(passwords: &[Password], mut progress: impl FnMut(u64)) -> Result<Vec<Vec<Hash>>, BootError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(THREADS_MAX).min(passwords.len());
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let hashed = Mutex::new(vec![Vec::new(); passwords.len()]);
    let failed = Mutex::new(None);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(password) = passwords.get(at) else { return };
            match hash(password) {
                Ok(hashes) => lock(&hashed)[at] = hashes,
                Err(error) => {
                    lock(&failed).get_or_insert(error);
                    next.store(passwords.len(), Ordering::Relaxed);
                    return;
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let (ended, wait) = channel::<()>();
        for _ in 0..threads {
            let ended = ended.clone();
            scope.spawn(move || {
                work();
                drop(ended);
            });
        }
        // Until the last thread has dropped its end.
        drop(ended);
        while wait.recv_timeout(TOLD_EVERY) == Err(RecvTimeoutError::Timeout) {
            progress(done.load(Ordering::Relaxed));
        }
    });
    match failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(hashed
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The hash of one, with its verifiers.
///
/// # Errors
/// As [`hash_password`].
pub fn hash(password: &Password) -> Result<Vec<Hash>, BootError> {
    let mut hashes = vec![hash_password(&password.text)?];
    if password.keeps_scram {
        let verifiers = scram::hashes(&password.text).map_err(BootError::Admin)?;
        hashes.extend(verifiers.iter().map(|one| Hash(one.expose().to_owned())));
    }
    Ok(hashes)
}

/// Checks a new password and hashes it.
///
/// # Errors
/// [`BootError::Admin`] when it is too short or too long.
pub fn hash_password(password: &str) -> Result<Hash, BootError> {
    let hash = scheme::new_hash(password).map_err(BootError::Admin)?;
    Ok(Hash(hash.expose().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scheme;
    use crate::directory::PasswordHash;

    #[test]
    fn each_password_has_its_own_hash_in_its_place() {
        let password = |at: usize| Password {
            text: format!("correct horse {at}"),
            keeps_scram: at == 1,
        };
        let passwords: Vec<Password> = (0..5).map(password).collect();
        let hashed = hash_all(&passwords, |_| {}).expect("they are long enough");
        for (at, (password, hashes)) in passwords.iter().zip(&hashed).enumerate() {
            let own = PasswordHash::new(hashes[0].0.as_str());
            assert!(scheme::matches(&own, password.text.as_bytes()), "{at}");
            assert_eq!(hashes.len() > 1, at == 1);
            assert!(hashes[1..].iter().all(|hash| hash.0.starts_with("{SCRAM-")));
        }
        assert!(hash_all(&[], |_| {}).expect("nothing to do").is_empty());
        let short = Password {
            text: "short".to_owned(),
            keeps_scram: false,
        };
        assert!(hash_all(&[short], |_| {}).is_err());
    }
}
