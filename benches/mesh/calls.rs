//! Calls between two cores: over Ringpost's mesh, and over channels of tokio.

use crate::{Local, MEASURED, histogram, print_quantiles};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use ringpost::runtime::{Core, mesh, run_cores, sleep, spawn_detached};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

pub fn measure() {
    println!("mesh: round trips between two cores");
    for in_flight in [1, 32] {
        report_calls("ringpost mesh", in_flight, over_mesh(in_flight));
        report_calls("tokio mpsc + oneshot", in_flight, over_tokio(in_flight));
    }
}

fn report_calls(name: &str, in_flight: usize, times: Histogram<u64>) {
    let rate = times.len() as f64 / MEASURED.as_secs_f64();
    print!("  {in_flight:>2} in flight, {name:<22} {rate:>9.0} calls/s  ");
    print_quantiles(&times);
}

/// Keeps `in_flight` calls under way for the time measured.
async fn call_for_a_while(in_flight: usize, call: Rc<dyn Fn() -> Local<()>>) -> Histogram<u64> {
    let times = Rc::new(RefCell::new(histogram()));
    let running = Rc::new(Cell::new(in_flight));
    let until = Instant::now() + MEASURED;
    for _ in 0..in_flight {
        let (times, running, call) = (times.clone(), running.clone(), call.clone());
        spawn_detached("caller", async move {
            while Instant::now() < until {
                let start = Instant::now();
                call().await;
                times
                    .borrow_mut()
                    .saturating_record(start.elapsed().as_nanos() as u64);
            }
            running.set(running.get() - 1);
        });
    }
    while running.get() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    times.replace(histogram())
}

/// Runs the caller on core 0 and the server on core 1; the server ends when `stop` is called.
fn two_cores(
    main: impl Fn(Core) -> Local<Option<Histogram<u64>>> + Clone + Send + 'static,
) -> Histogram<u64> {
    let results = run_cores(2, main);
    let times = results
        .into_iter()
        .find_map(|result| result.expect("no core fails"));
    times.expect("core 0 measures")
}

fn over_mesh(in_flight: usize) -> Histogram<u64> {
    let ends = Arc::new(Mutex::new(
        mesh::<u64, u64>(2).into_iter().map(Some).collect::<Vec<_>>(),
    ));
    let stop = Arc::new(Notify::new());
    two_cores(move |core| {
        let end = Rc::new(ends.lock()[core.id].take().expect("taken once"));
        let stop = stop.clone();
        Box::pin(async move {
            if core.id == 1 {
                let serving = end.clone();
                spawn_detached(
                    "serve",
                    async move { serving.serve(|n| async move { n + 1 }).await },
                );
                stop.notified().await;
                return None;
            }
            let call: Rc<dyn Fn() -> Local<()>> = Rc::new(move || {
                let end = end.clone();
                Box::pin(async move { assert_eq!(end.call(1, 1).await, Ok(2)) })
            });
            let times = call_for_a_while(in_flight, call).await;
            stop.notify_one();
            Some(times)
        })
    })
}

fn over_tokio(in_flight: usize) -> Histogram<u64> {
    let (sender, receiver) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(4096);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let sender = Arc::new(Mutex::new(Some(sender)));
    two_cores(move |core| {
        let (receiver, sender) = (receiver.clone(), sender.clone());
        Box::pin(async move {
            if core.id == 1 {
                let mut receiver = receiver.lock().take().expect("taken once");
                while let Some((n, reply)) = receiver.recv().await {
                    // A task per request, as the mesh has it.
                    spawn_detached("request", async move {
                        let _ = reply.send(n + 1);
                    });
                }
                return None;
            }
            let sender = sender.lock().take().expect("taken once");
            let call: Rc<dyn Fn() -> Local<()>> = Rc::new(move || {
                let sender = sender.clone();
                Box::pin(async move {
                    let (reply, replied) = oneshot::channel();
                    sender.send((1, reply)).await.expect("served");
                    assert_eq!(replied.await, Ok(2));
                })
            });
            Some(call_for_a_while(in_flight, call).await)
        })
    })
}
