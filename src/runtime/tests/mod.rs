//! Executors, mesh and control thread on real threads.

mod compute;
mod containment;
mod requests;

use super::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn every_core_runs_on_its_own_thread_and_returns_its_result() {
    let results = run_cores(2, |core| async move {
        sleep(Duration::from_millis(1)).await;
        (core, std::thread::current().name().unwrap().to_owned())
    });
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    for (id, (core, name)) in results.into_iter().enumerate() {
        assert_eq!(core, Core { id, count: 2 });
        assert_eq!(name, format!("core-{id}"));
    }
}

#[test]
fn more_cores_than_cpus_run_unpinned() {
    let cores = std::thread::available_parallelism().unwrap().get() + 1;
    let results = run_cores(cores, |core| async move { core.id });
    let ids: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids, (0..cores).collect::<Vec<_>>());
}

#[test]
fn a_timeout_drops_the_task_and_a_ready_task_wins() {
    let results = run_cores(1, |_| async {
        let alive = Arc::new(());
        let held = alive.clone();
        let start = Instant::now();
        let late = timeout(Duration::from_millis(20), async move {
            sleep(Duration::from_secs(100)).await;
            drop(held);
        });
        assert_eq!(late.await, None);
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Some(7));
    });
    results.into_iter().for_each(|result| result.unwrap());
}

#[test]
fn control_and_compute_answer_and_contain_panics() {
    let control = Control::start().unwrap();
    let results = run_cores(2, move |core| {
        let control = control.clone();
        async move {
            let slept = control.run(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                core.id
            });
            assert_eq!(slept.await.unwrap(), core.id);
            assert_eq!(
                control.compute(Share::Local, move || core.id + 10).await.unwrap(),
                core.id + 10
            );
            // More panics than there are threads: they survive.
            for _ in 0..4 {
                assert!(
                    control
                        .compute(Share::Local, || -> u8 { panic!("as this test wants") })
                        .await
                        .is_err()
                );
                assert!(
                    control
                        .run(async { panic!("as this test wants") as () })
                        .await
                        .is_err()
                );
            }
            assert_eq!(control.compute(Share::Local, || 1).await.unwrap(), 1);
            assert_eq!(control.run(async { 1 }).await.unwrap(), 1);
        }
    });
    results.into_iter().for_each(|result| result.unwrap());
}

#[test]
fn a_breath_lets_a_request_of_another_core_in() {
    // Core 0 computes in slices of 0.5 ms; core 1 asks it things meanwhile. With a bare yield an answer takes 100 ms.
    const CALLS: usize = 50;
    let ends = Arc::new(parking_lot::Mutex::new(
        mesh::<u32, u32>(2).into_iter().map(Some).collect::<Vec<_>>(),
    ));
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let results = run_cores(2, move |core| {
        let end = std::rc::Rc::new(ends.lock()[core.id].take().unwrap());
        let asked = asked.clone();
        async move {
            if core.id == 0 {
                let serving = end.clone();
                spawn_detached(
                    "serve",
                    async move { serving.serve(|n| async move { n + 1 }).await },
                );
                while asked.load(Ordering::Relaxed) < CALLS {
                    let slice = Instant::now();
                    while slice.elapsed() < Duration::from_micros(500) {
                        std::hint::spin_loop();
                    }
                    breathe().await;
                }
                return Vec::new();
            }
            let mut waits = Vec::new();
            for _ in 0..CALLS {
                let start = Instant::now();
                assert_eq!(end.call(0, 1).await, Ok(2));
                waits.push(start.elapsed());
                asked.fetch_add(1, Ordering::Relaxed);
            }
            waits
        }
    });
    let mut waits: Vec<Duration> = results.into_iter().flat_map(Result::unwrap).collect();
    waits.sort();
    // The median only, and with room: tests share two CPUs.
    assert!(waits[CALLS / 2] < Duration::from_millis(40), "{waits:?}");
}

#[test]
fn a_breath_that_is_over_before_it_began_still_gives_others_a_turn() {
    let results = run_cores(1, |_| async {
        let mut breath = std::pin::pin!(breathe());
        // Longer than a breath: its timer is over when it is looked at first.
        let made = Instant::now();
        while made.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        let was_over_at_once = futures_util::future::poll_immediate(breath.as_mut())
            .await
            .is_some();
        if !was_over_at_once {
            breath.await;
        }
        was_over_at_once
    });
    let over_at_once: Vec<bool> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(over_at_once, [false]);
}
