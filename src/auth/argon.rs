//! argon2 in memory of its own, which goes back to the system with the computation.
//!
//! One computation works in 19 MiB and more. From the allocator they would stay with the process for as long as nobody needs
//! them again, and be most of what an idle server takes.
//! Failure: when the system maps no memory the allocator is asked, as it would be without this.
//! Standards: RFC 9106.
//! Not here: which hashes are computed at all (`scheme`).

use argon2::password_hash::{Error, Output, ParamsString, PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;

/// `password` by argon2id with the crate's parameters, in the notation of PHC.
pub(super) fn hash(password: &[u8], salt: &SaltString) -> Result<String, Error> {
    let argon2 = Argon2::default();
    let mut octets = [0; 64];
    let octets = salt.as_salt().decode_b64(&mut octets)?;
    let output = Output::init_with(Params::DEFAULT_OUTPUT_LEN, |out| {
        Ok(compute(&argon2, password, octets, out)?)
    })?;
    let hash = PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(salt.as_salt()),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

/// Whether `password` is the one that `hash` was made of. Takes the same time wherever they differ.
pub(super) fn matches(hash: &PasswordHash<'_>, password: &[u8]) -> bool {
    let Some(expected) = hash.hash else { return false };
    output_of(hash, password, expected.len())
        .is_ok_and(|output| verify_slices_are_equal(output.as_bytes(), expected.as_bytes()).is_ok())
}

fn output_of(hash: &PasswordHash<'_>, password: &[u8], length: usize) -> Result<Output, Error> {
    let algorithm = Algorithm::try_from(hash.algorithm)?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
    let argon2 = Argon2::new(algorithm, version, Params::try_from(hash)?);
    let mut octets = [0; 64];
    let octets = hash.salt.ok_or(Error::PhcStringField)?.decode_b64(&mut octets)?;
    Output::init_with(length, |out| Ok(compute(&argon2, password, octets, out)?))
}

fn compute(argon2: &Argon2<'_>, password: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), argon2::Error> {
    match WorkMemory::new(argon2.params().block_count()) {
        Ok(mut memory) => argon2.hash_password_into_with_memory(password, salt, out, memory.blocks()),
        Err(_) => argon2.hash_password_into(password, salt, out),
    }
}

/// Pages that are the process's only as long as this lives.
struct WorkMemory {
    blocks: NonNull<Block>,
    count: usize,
}

impl WorkMemory {
    fn new(count: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                count * size_of::<Block>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(mapped.cast()) {
            Some(blocks) if mapped != libc::MAP_FAILED => Ok(Self { blocks, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn blocks(&mut self) -> &mut [Block] {
        // SAFETY: the mapping holds `count` blocks, is page aligned, zeroed (a block is an array of integers), and of this
        // value alone.
        unsafe { slice::from_raw_parts_mut(self.blocks.as_ptr(), self.count) }
    }
}

impl Drop for WorkMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.blocks.as_ptr().cast(), self.count * size_of::<Block>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordVerifier;

    /// The crate's own way, in the allocator's memory, is the judge of both.
    #[test]
    fn hashes_are_those_of_the_crate() {
        let salt = SaltString::encode_b64(b"sixteen octets!!").expect("a salt");
        let text = hash(b"correct horse", &salt).expect("argon2 has computed");
        let parsed = PasswordHash::new(&text).expect("in the notation of PHC");
        assert!(
            Argon2::default()
                .verify_password(b"correct horse", &parsed)
                .is_ok()
        );
        assert!(matches(&parsed, b"correct horse"));
        assert!(!matches(&parsed, b"correct house"));
        // argon2i, other costs, two lanes and a shorter output.
        let theirs = "$argon2i$v=19$m=64,t=2,p=2$c2l4dGVlbiBvY3RldHMhIQ$";
        let bare = PasswordHash::new(theirs.trim_end_matches('$')).expect("without a hash");
        let output = output_of(&bare, b"x", 24).expect("argon2 has computed");
        let whole = format!("{theirs}{output}");
        let whole = PasswordHash::new(&whole).expect("with one");
        assert!(Argon2::default().verify_password(b"x", &whole).is_ok());
        assert!(matches(&whole, b"x"));
    }
}
