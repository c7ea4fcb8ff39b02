//! The store on a real file system, through glommio.

use bytes::Bytes;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use ringpost::base::clock::{Clock, SystemClock, UnixMillis};
use ringpost::disk::file::FileDisk;
use ringpost::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, WriteBuffer};
use ringpost::model::{AccountId, MailboxName};
use ringpost::proto::imap::types::InternalDate;
use ringpost::store::*;
use smallvec::smallvec;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;

#[derive(Clone)]
struct RealEnvironment(FileDisk);

impl Environment for RealEnvironment {
    type Disk = FileDisk;
    type Clock = SystemClock;
    fn disk(&self) -> &FileDisk {
        &self.0
    }
    fn clock(&self) -> &SystemClock {
        &SystemClock
    }
    fn random_u64(&self) -> u64 {
        SystemClock.now().0.cast_unsigned()
    }
}

fn on_executor<T: Send + 'static, F: Future<Output = T> + 'static>(
    main: impl FnOnce() -> F + Send + 'static,
) -> T {
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1024 * 1024)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(main)
        .expect("this machine has io_uring")
        .join()
        .expect("the executor ends well")
}

/// Not on a tmpfs, which has no direct I/O.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

fn environment(path: &Path) -> RealEnvironment {
    RealEnvironment(FileDisk::new(path).expect("the directory can be made"))
}

fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 1024 * 1024,
        reserve_bytes: 0,
        ..StoreOptions::default()
    }
}

fn delivery(account: AccountId, body: Body) -> Delivery {
    Delivery {
        recipients: vec![LocalRecipient {
            account,
            mailbox: MailboxName::inbox(),
            prefix: b"Return-Path: <>\r\n".to_vec(),
            asked: bytes::Bytes::new(),
            quota: ringpost::model::Quota::NONE,
            may_exceed_quota: false,
        }],
        body,
        internal_date: InternalDate {
            at: UnixMillis(0),
            zone_minutes: 0,
        },
        key: None,
    }
}

fn text(index: u64, len: usize) -> Vec<u8> {
    format!("<{index}>").bytes().cycle().take(len).collect()
}

/// Delivers 100 messages of growing length, the last one long, then reads all of them.
async fn session(env: RealEnvironment, expected_before: usize) {
    let recovered = recover_with(&env, 1, options()).await.expect("it opens");
    assert_eq!(recovered.report.messages as usize, expected_before);
    let seed = recovered.seeds.into_iter().next().expect("one core");
    let store = Store::start(env, seed).await.expect("it starts");
    let writer = glommio::spawn_local(store.clone().run_writer()).detach();
    let account = AccountId(7);
    let deliveries = (0..100).map(|i| {
        let body = Body::from_memory(smallvec![Bytes::from(text(i, 1_000 * i as usize))]);
        store.deliver(delivery(account, body))
    });
    for done in futures::future::join_all(deliveries).await {
        done.expect("it commits");
    }
    let mut long = store.body_writer();
    for piece in text(100, 700_000).chunks(16_384) {
        long.push(Bytes::copy_from_slice(piece))
            .await
            .expect("it takes it");
    }
    let long = long.finish().await.expect("it is durable");
    store.deliver(delivery(account, long)).await.expect("it commits");
    check(&store, account, expected_before + 101).await;
    store.shutdown().await;
    writer.await;
}

async fn check(store: &Store<RealEnvironment>, account: AccountId, count: usize) {
    let _pin = store.load(account).await.expect("it is read");
    let rows = store
        .account(account, |a| a.mailboxes[&INBOX_ID].rows.clone())
        .expect("it exists");
    assert_eq!(rows.len(), count);
    for (index, row) in rows.iter().enumerate() {
        let message = store.open_message(account, row).await.expect("it reads");
        let octets = store
            .read_message(&message, 0..message.size)
            .await
            .expect("it reads")
            .concat();
        let index = index as u64 % 101;
        let len = if index == 100 {
            700_000
        } else {
            1_000 * index as usize
        };
        assert!(
            octets == [b"Return-Path: <>\r\n".to_vec(), text(index, len)].concat(),
            "message {index}"
        );
    }
}

#[test]
fn messages_come_back_from_a_real_disk_also_after_restarts() {
    let directory = directory();
    let path = directory.path().to_owned();
    for round in 0..3 {
        let path = path.clone();
        on_executor(move || session(environment(&path), round * 101));
    }
}

#[test]
fn files_have_their_length_are_read_unaligned_and_end_where_they_end() {
    let directory = directory();
    let path = directory.path().to_owned();
    on_executor(move || async move {
        let disk = FileDisk::new(&path).expect("the directory can be made");
        let file = disk
            .create("segments/00000001.seg", 5 * BLOCK_BYTES as u64)
            .await
            .expect("created");
        let mut buffer = file.buffer(2 * BLOCK_BYTES);
        for (index, byte) in buffer.bytes_mut().iter_mut().enumerate() {
            *byte = index as u8;
        }
        buffer.truncate(BLOCK_BYTES);
        file.write_at(Rc::new(buffer), 4 * BLOCK_BYTES as u64)
            .await
            .expect("written");
        file.sync().await.expect("synced");
        disk.sync_directory().await.expect("synced");
        let read = file.read_at(4 * BLOCK_BYTES as u64 + 3, 10).await.expect("read");
        assert_eq!(read.as_ref(), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let read = file.read_at(5 * BLOCK_BYTES as u64 - 2, 100).await.expect("read");
        assert_eq!(read.as_ref().len(), 2);
        let read = file.read_at(9 * BLOCK_BYTES as u64, 100).await.expect("read");
        assert_eq!(read.as_ref().len(), 0);
        let listed = disk.list().await.expect("listed");
        assert_eq!(
            listed,
            [("segments/00000001.seg".to_owned(), 5 * BLOCK_BYTES as u64)]
        );
        let again = disk.create("segments/00000001.seg", 4096).await;
        assert!(matches!(again, Err(DiskError::AlreadyExists { .. })));
        assert!(matches!(
            disk.open("STORE").await,
            Err(DiskError::NotFound { .. })
        ));
        disk.remove("segments/00000001.seg").await.expect("removed");
        assert!(disk.list().await.expect("listed").is_empty());
        assert!(disk.free_bytes().await.expect("asked") > 0);
    });
}

#[test]
fn a_cached_read_sees_every_write_that_is_over() {
    const BLOCKS: usize = 64;
    let directory = directory();
    let path = directory.path().to_owned();
    on_executor(move || async move {
        let disk = FileDisk::new(&path).expect("the directory can be made");
        let file = disk.create("STORE", (BLOCKS * BLOCK_BYTES) as u64).await;
        let file = file.expect("it is created");
        for round in 1..20_u8 {
            // The whole file is in the page cache when one block of it is written past it.
            let all = file.read_cached_at(0, BLOCKS * BLOCK_BYTES).await;
            assert_eq!(all.expect("it reads").as_ref().len(), BLOCKS * BLOCK_BYTES);
            let mut buffer = file.buffer(BLOCK_BYTES);
            buffer.bytes_mut().fill(round);
            let start = u64::from(round) * BLOCK_BYTES as u64;
            file.write_at(Rc::new(buffer), start)
                .await
                .expect("it is written");
            let read = file.read_cached_at(start - 1, 8).await.expect("it reads");
            assert_eq!(read.as_ref(), [&[round - 1][..], &[round; 7]].concat());
        }
        let end = (BLOCKS * BLOCK_BYTES) as u64;
        let read = file.read_cached_at(end - 6, 10).await.expect("it reads");
        assert_eq!(read.as_ref(), [0; 6]);
    });
}

#[test]
fn a_store_whose_segments_are_not_mounted_is_no_new_one() {
    let directory = directory();
    let path = directory.path().to_owned();
    let used = path.clone();
    on_executor(move || session(environment(&used), 0));
    let segments = path.join("segments");
    std::fs::remove_dir_all(&segments).expect("it is there");
    let refused = FileDisk::new(&path).expect_err("the directory is lost");
    assert!(refused.to_string().contains("not mounted"), "{refused}");
    assert!(!segments.exists());
    // A mount point that is empty.
    std::fs::create_dir(&segments).expect("it can be made");
    let found = on_executor(move || async move {
        let recovered = recover_with(&environment(&path), 1, options()).await;
        recovered
            .map(|recovered| recovered.report)
            .map_err(|error| error.to_string())
    });
    let error = found.expect_err("everything is gone");
    assert!(error.contains("1 logs at least, 0 of them"), "{error}");
    assert!(error.contains("ringpost store salvage"), "{error}");
}
