//! HTTP for those who look after the server: is it well, and what does it do.
//!
//! `GET /health/live`: 200 as long as the process answers. `GET /health/ready`: 200 when mail is taken, else 503 and one line for
//! each reason. `GET /metrics`: Prometheus text, for the networks that the operator names; for others there is no such page.
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

pub use view::{CoreMeters, LogEnd, Phase, View};

use crate::base::network::Network;
use crate::config::options::METRICS_FROM;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::Peer;
use parking_lot::RwLock;
use std::sync::Arc;

/// Who may read metrics; exchanged by a reload.
pub type Readers = Arc<RwLock<Vec<Network>>>;

/// Who may unless the operator says otherwise.
///
/// # Panics
/// Never: they are networks.
#[must_use]
pub fn default_readers() -> Readers {
    let networks = METRICS_FROM.iter().map(|text| text.parse().expect("a network"));
    Arc::new(RwLock::new(networks.collect()))
}

/// The routes above.
pub fn router(view: Arc<View>, readers: Readers) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state((view, readers))
}

async fn live() -> &'static str {
    "live\n"
}

type Shown = (Arc<View>, Readers);

async fn ready(State((view, _)): State<Shown>) -> (StatusCode, String) {
    let reasons = view.unready();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

async fn metrics(State((view, readers)): State<Shown>, Extension(Peer(peer)): Extension<Peer>) -> Response {
    let peer = peer.to_canonical();
    if !readers.read().iter().any(|network| network.contains(peer)) {
        return (StatusCode::NOT_FOUND, "There is no such page.\n").into_response();
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::render(&view)).into_response()
}
