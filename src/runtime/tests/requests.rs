//! The mesh: nothing is lost, nothing waits for nothing.

use super::*;
use crate::runtime::mesh::INBOX_REQUESTS_MAX;
use parking_lot::Mutex;
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

/// Calls per core of the property test; `RINGPOST_MESH_CALLS` sets another number.
const CALLS: u64 = 30_000;

type Ends<Req, Rep> = Arc<Mutex<Vec<Option<Endpoint<Req, Rep>>>>>;

fn ends<Req: Send + 'static, Rep: Send + 'static>(cores: usize) -> Ends<Req, Rep> {
    Arc::new(Mutex::new(mesh(cores).into_iter().map(Some).collect()))
}

fn xorshift(state: &Cell<u64>) -> u64 {
    let mut x = state.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state.set(x);
    x
}

/// Runs `callers` tasks and waits for all.
async fn together<F: Future<Output = ()> + 'static>(callers: impl Iterator<Item = F>) {
    let mut ends = Vec::new();
    for caller in callers {
        let (sender, receiver) = crate::base::oneshot::channel();
        spawn_detached("caller", async move {
            caller.await;
            sender.send(());
        });
        ends.push(receiver);
    }
    for end in ends {
        end.await.expect("a caller panicked");
    }
}

#[test]
fn every_call_gets_its_own_reply() {
    let calls = std::env::var("RINGPOST_MESH_CALLS").map_or(CALLS, |text| text.parse().unwrap());
    let ends = ends::<u64, u64>(2);
    let done = Arc::new(tokio::sync::Semaphore::new(0));
    let results = run_cores(2, move |core| {
        let end = Rc::new(ends.lock()[core.id].take().unwrap());
        let done = done.clone();
        async move {
            let serving = end.clone();
            let random = Rc::new(Cell::new(0x9e37_79b9 + core.id as u64));
            let serve_random = random.clone();
            spawn_detached("serve", async move {
                let serve = move |n: u64| {
                    let turn = xorshift(&serve_random);
                    async move {
                        match turn % 16 {
                            0 => sleep(Duration::from_micros(turn % 64)).await,
                            1 => breathe().await,
                            _ => {}
                        }
                        n.wrapping_mul(3)
                    }
                };
                serving.serve(serve).await;
            });
            let callers = (0..64u64).map(|caller| {
                let (end, random) = (end.clone(), random.clone());
                async move {
                    for call in 0..calls / 64 {
                        let n = (caller << 32) | call;
                        let to = (xorshift(&random) % 2) as usize;
                        let answer = timeout(Duration::from_secs(60), end.call(to, n)).await;
                        assert_eq!(answer, Some(Ok(n.wrapping_mul(3))));
                    }
                }
            });
            together(callers).await;
            // Both serve until both have asked everything.
            done.add_permits(1);
            let _ = done.acquire_many(core.count as u32).await.unwrap();
        }
    });
    results.into_iter().for_each(|result| result.unwrap());
}

#[test]
fn more_callers_than_room_wait_and_are_all_answered() {
    let ends = ends::<usize, usize>(2);
    let results = run_cores(2, move |core| {
        let end = Rc::new(ends.lock()[core.id].take().unwrap());
        async move {
            if core.id == 1 {
                let serving = end.clone();
                // Late, so that the inbox is full when it begins.
                sleep(Duration::from_millis(100)).await;
                let asked = Rc::new(Cell::new(0));
                let count = asked.clone();
                let serve = move |n| {
                    count.set(count.get() + 1);
                    async move { n }
                };
                let closing = end.clone();
                spawn_detached("close", async move {
                    while asked.get() < INBOX_REQUESTS_MAX + 500 {
                        sleep(Duration::from_millis(5)).await;
                    }
                    closing.close();
                });
                // Returns after the close.
                serving.serve(serve).await;
                return;
            }
            let callers = (0..INBOX_REQUESTS_MAX + 500).map(|n| {
                let end = end.clone();
                async move { assert_eq!(end.call(1, n).await, Ok(n)) }
            });
            together(callers).await;
            // Sooner or later nothing is accepted any more, and says so.
            while end.call(1, 0).await == Ok(0) {}
        }
    });
    results.into_iter().for_each(|result| result.unwrap());
}

#[test]
fn a_core_that_ends_answers_everybody() {
    // By a close, by returning while requests are under way, and by a panic.
    for how in 0..3 {
        let ends = ends::<(), ()>(2);
        let results = run_cores(2, move |core| {
            let end = Rc::new(ends.lock()[core.id].take().unwrap());
            async move {
                if core.id == 1 {
                    let serving = end.clone();
                    let taken = crate::base::wait::Notify::new();
                    let (tell, mut told) = (taken.clone(), taken.waiter());
                    spawn_detached("serve", async move {
                        let serve = move |()| {
                            tell.notify_all();
                            async { sleep(Duration::from_secs(1000)).await }
                        };
                        serving.serve(serve).await;
                    });
                    told.changed().await;
                    match how {
                        0 => end.close(),
                        1 => {}
                        _ => panic!("as this test wants"),
                    }
                    return;
                }
                let callers = (0..10).map(|_| {
                    let end = end.clone();
                    async move {
                        let answer = timeout(Duration::from_secs(20), end.call(1, ())).await;
                        assert_eq!(answer, Some(Err(CoreGone)));
                    }
                });
                together(callers).await;
            }
        });
        assert!(results[0].is_ok());
        assert_eq!(results[1].is_err(), how == 2);
    }
}

#[test]
fn a_request_that_panics_answers_its_caller_and_harms_nobody() {
    let ends = ends::<u32, u32>(2);
    let done = Arc::new(tokio::sync::Notify::new());
    let results = run_cores(2, move |core| {
        let end = Rc::new(ends.lock()[core.id].take().unwrap());
        let done = done.clone();
        async move {
            let serving = end.clone();
            spawn_detached("serve", async move {
                serving
                    .serve(|n| async move { 100u32.checked_div(n).expect("as this test wants") })
                    .await;
            });
            if core.id == 1 {
                return done.notified().await;
            }
            // The other core and the own one.
            for to in [1, 0] {
                // The first own call may come before the own core serves; it waits in the inbox then.
                assert_eq!(end.call(to, 4).await, Ok(25));
                assert_eq!(end.call(to, 0).await, Err(CoreGone));
                assert_eq!(end.call(to, 5).await, Ok(20));
            }
            done.notify_one();
        }
    });
    results.into_iter().for_each(|result| result.unwrap());
    assert!(task_panics() >= 2);
}

#[test]
fn a_call_that_is_dropped_is_still_carried_out() {
    let ends = ends::<(), ()>(2);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let carried_out = Arc::new(tokio::sync::Semaphore::new(0));
    let results = run_cores(2, move |core| {
        let end = Rc::new(ends.lock()[core.id].take().unwrap());
        let (gate, carried_out) = (gate.clone(), carried_out.clone());
        async move {
            let (serving, closed, count) = (end.clone(), gate.clone(), carried_out.clone());
            spawn_detached("serve", async move {
                let serve = move |()| {
                    let (closed, count) = (closed.clone(), count.clone());
                    async move {
                        closed.acquire().await.unwrap().forget();
                        count.add_permits(1);
                    }
                };
                serving.serve(serve).await;
            });
            // The own core serves by then.
            breathe().await;
            if core.id == 0 {
                for to in 0..2 {
                    assert_eq!(timeout(Duration::from_millis(5), end.call(to, ())).await, None);
                }
                gate.add_permits(2);
            }
            let both = timeout(Duration::from_secs(20), carried_out.acquire_many(2)).await;
            assert!(both.is_some());
        }
    });
    results.into_iter().for_each(|result| result.unwrap());
}
