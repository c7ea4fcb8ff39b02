//! Panics, executors that do not start, cores that hang.

use super::*;
use crate::base::oneshot;

#[test]
fn a_panic_ends_one_task_only() {
    let results = run_cores(1, |_| async {
        let before = task_panics();
        let (sender, receiver) = oneshot::channel::<()>();
        spawn_detached("panics", async move {
            let _held = sender;
            breathe().await;
            panic!("as this test wants");
        });
        // Its values are dropped.
        assert_eq!(receiver.await, Err(oneshot::Dropped));
        sleep(Duration::from_millis(1)).await;
        assert!(task_panics() > before);
        7
    });
    assert_eq!(results.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [7]);
}

#[test]
fn a_core_that_panics_is_reported_and_the_others_run_on() {
    let results = run_cores(2, |core| async move {
        breathe().await;
        assert_ne!(core.id, 1, "as this test wants");
        sleep(Duration::from_millis(20)).await;
        core.id
    });
    assert_eq!(*results[0].as_ref().unwrap(), 0);
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.core, 1);
    assert!(error.cause.contains("as this test wants"), "{error}");
}

#[test]
fn a_core_that_cannot_start_lets_none_begin() {
    const TEST: &str = "runtime::tests::containment::a_core_that_cannot_start_lets_none_begin";
    crate::testing::in_own_process(TEST, || {
        // Rings need descriptors; there are enough for the first executor and not for thirty.
        let limit = libc::rlimit {
            rlim_cur: 60,
            rlim_max: 60,
        };
        // SAFETY: only this process is limited, which runs this test alone.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(limited, 0);
        let results = run_cores(30, |_| async { unreachable!("no main may run") });
        let causes: Vec<_> = results
            .into_iter()
            .map(|result: Result<(), _>| result.unwrap_err().cause)
            .collect();
        assert!(
            causes
                .iter()
                .any(|cause| cause.contains("another core could not start")),
            "{causes:?}"
        );
        assert!(
            causes.iter().any(|cause| cause.contains("Too many open files")),
            "{causes:?}"
        );
    });
}

#[test]
fn a_core_that_hangs_ends_the_process_loudly() {
    const TEST: &str = "runtime::tests::containment::a_core_that_hangs_ends_the_process_loudly";
    let output = crate::testing::output_of_own_process(TEST, || {
        let _ = run_cores(1, |_| async {
            sleep(Duration::from_millis(300)).await;
            // Blocks the executor's thread.
            std::thread::sleep(Duration::from_secs(60));
        });
    });
    let Some(output) = output else { return };
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("core 0 has not answered for 10000 ms"), "{text}");
    assert!(text.contains("sleeps or is blocked"), "{text}");
}
