//! HTTP for those who look after the server: is it well, and what does it do.
//!
//! `GET /health/live`: 200 as long as the process answers. `GET /health/ready`: 200 when mail is taken, else 503 and one line for
//! each reason. `GET /metrics`: Prometheus text.
//! Invariants: nothing here is asked of a core; what is shown is read from meters that the cores write for themselves
//! (`base::meter`), so that watching the server costs its cores nothing. Nothing here changes anything.
//! Other pages are routes of their own, merged with [`router`].
//! Not here: the listener and its limits (`http`).

pub mod discovery;
mod exposition;
pub mod http;
mod metrics;
pub mod pages;
pub mod socket;
pub mod view;

pub use view::{CoreMeters, Phase, View};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;

/// The routes above.
pub fn router(view: Arc<View>) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(view)
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(view): State<Arc<View>>) -> (StatusCode, String) {
    let reasons = view.unready();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

async fn metrics(State(view): State<Arc<View>>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::render(&view))
}
