//! A disk whose power can be cut, under a real file system: `disk` is the disk, `fuse` shows it to the kernel, `mount`
//! puts a loop device with ext4 or XFS on it.
//!
//! A shutdown of a file system over an ordinary disk (`xfs_io -x -c shutdown`) is no power cut: writes that went past the
//! page cache survive it, synced or not.

pub mod disk;
pub mod fuse;
pub mod mount;
