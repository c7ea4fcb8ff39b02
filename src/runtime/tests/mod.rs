//! Executors, mesh and control thread on real threads.

mod compute;
mod containment;
mod requests;

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    // Core 0 computes in slices of 0.5 ms; core 1 asks it things meanwhile, each with the number of slices so far. What counts
    // is how many more there are when it is served: none pass while core 0 has to wait for its CPU.
    const CALLS: usize = 50;
    // With a bare yield it takes 100 ms, which are 200.
    const SLICES_MAX: u64 = 20;
    let ends = Arc::new(parking_lot::Mutex::new(
        mesh::<u64, u64>(2).into_iter().map(Some).collect::<Vec<_>>(),
    ));
    let asked = Arc::new(AtomicUsize::new(0));
    let slices = Arc::new(AtomicU64::new(0));
    let results = run_cores(2, move |core| {
        let end = std::rc::Rc::new(ends.lock()[core.id].take().unwrap());
        let (asked, slices) = (asked.clone(), slices.clone());
        async move {
            if core.id == 0 {
                let (serving, passed) = (end.clone(), slices.clone());
                spawn_detached("serve", async move {
                    let serve = move |at: u64| std::future::ready(passed.load(Ordering::Relaxed) - at);
                    serving.serve(serve).await;
                });
                while asked.load(Ordering::Relaxed) < CALLS {
                    let slice = Instant::now();
                    while slice.elapsed() < Duration::from_micros(500) {
                        std::hint::spin_loop();
                    }
                    slices.fetch_add(1, Ordering::Relaxed);
                    breathe().await;
                }
                return Vec::new();
            }
            let mut waits = Vec::new();
            for _ in 0..CALLS {
                let at = slices.load(Ordering::Relaxed);
                waits.push(end.call(0, at).await.unwrap());
                asked.fetch_add(1, Ordering::Relaxed);
            }
            waits
        }
    });
    let mut waits: Vec<u64> = results.into_iter().flat_map(Result::unwrap).collect();
    waits.sort();
    // The median only: core 1 may have to wait for its CPU between the look at the slices and the call.
    assert!(waits[CALLS / 2] <= SLICES_MAX, "{waits:?}");
}

/// Every slice outlasts the breath that was made before it, as one does in a slow build or on a thread that waited for its CPU.
#[test]
fn every_breath_of_a_long_computation_gives_its_neighbour_a_turn() {
    const BREATHS: u32 = 200;
    let results = run_cores(1, |_| async {
        let turns = std::rc::Rc::new(std::cell::Cell::new(0_u32));
        let counted = turns.clone();
        spawn_detached("neighbour", async move {
            loop {
                // Due again by the end of the next slice.
                sleep(Duration::from_micros(50)).await;
                counted.set(counted.get() + 1);
            }
        });
        // It waits by now.
        sleep(Duration::from_millis(1)).await;
        let before = turns.get();
        for _ in 0..BREATHS {
            let breath = breathe();
            let slice = Instant::now();
            while slice.elapsed() < Duration::from_micros(200) {
                std::hint::spin_loop();
            }
            breath.await;
        }
        turns.get() - before
    });
    let turns: Vec<u32> = results.into_iter().map(Result::unwrap).collect();
    assert!(turns[0] >= BREATHS, "{turns:?}");
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
