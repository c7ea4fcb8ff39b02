//! `discovery` over HTTP: what mail programs and senders ask without logging in.
//!
//! Limits: `BODY_TIMEOUT`, [`BODY_BYTES_MAX`].
//! Failure: a directory that cannot name its domains is a 503, so that nobody keeps a wrong answer.

use crate::directory::Source;
use crate::directory::embedded::Embedded;
use crate::directory::orders::{Order, Outcome};
use crate::discovery::{self, BODY_BYTES_MAX, Document, Endpoint, MtaSts, Offer};
use crate::model::Domain;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A request's body is there by then: the largest are a few hundred octets.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What there is to tell, some of which changes.
#[derive(Debug)]
pub struct Found {
    pub hostname: Domain,
    pub domains: Domains,
    pub endpoints: Vec<Endpoint>,
    /// Exchanged by a reload.
    pub mta_sts: RwLock<Option<MtaSts>>,
    /// The domains as they were when the directory was of this generation: whoever may ask, strangers all, must not make it
    /// list them each time.
    pub known: Mutex<Option<(u64, Arc<[Domain]>)>>,
}

/// Where the domains are known.
pub enum Domains {
    Fixed(Vec<Domain>),
    /// With the one that is named first.
    Embedded(Embedded, Domain),
    /// In a directory that cannot list them: those of a request are asked for. With the one that is named first.
    Asked(Arc<dyn Source>, Domain),
}

impl std::fmt::Debug for Domains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(domains) => domains.fmt(f),
            Self::Embedded(_, main) | Self::Asked(_, main) => write!(f, "{main} and others"),
        }
    }
}

/// The pages, as what answers when no other route does.
pub fn router(found: Arc<Found>) -> Router {
    Router::new().fallback(answer).with_state(found)
}

async fn answer(State(found): State<Arc<Found>>, request: Request) -> Response {
    let is_post = request.method() == Method::POST;
    if !is_post && request.method() != Method::GET && request.method() != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let uri = request.uri().clone();
    // Before the directory is asked for anything.
    if !discovery::has_page(uri.path()) {
        return not_found();
    }
    let body = timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY_BYTES_MAX));
    let body = match body.await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let request = discovery::Request {
        is_post,
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        body: &body,
    };
    let Some(offer) = found.offer(request).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match discovery::answer(&offer, request) {
        Some(document) => response(document),
        None => not_found(),
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "There is no such page.\n").into_response()
}

fn response(document: Document) -> Response {
    let status = StatusCode::from_u16(document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (
        status,
        [
            (header::CONTENT_TYPE, document.content_type),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        document.text,
    )
        .into_response();
    let name = document
        .file_name
        .map(|name| format!("attachment; filename=\"{name}\""));
    if let Some(value) = name.and_then(|name| name.parse().ok()) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

impl Found {
    async fn offer(&self, request: discovery::Request<'_>) -> Option<Offer> {
        let domains = match &self.domains {
            Domains::Fixed(domains) => domains.clone(),
            Domains::Embedded(directory, main) => self.listed(directory, main).await?.to_vec(),
            Domains::Asked(source, main) => {
                let mut domains = vec![main.clone()];
                for named in discovery::domains_in(request) {
                    if named != *main && source.domain(named.as_str()).await.ok()?.is_some() {
                        domains.push(named);
                    }
                }
                domains
            }
        };
        Some(Offer {
            hostname: self.hostname.clone(),
            domains,
            endpoints: self.endpoints.clone(),
            mta_sts: self.mta_sts.read().clone(),
        })
    }

    async fn listed(&self, directory: &Embedded, main: &Domain) -> Option<Arc<[Domain]>> {
        // Before the question: what changes meanwhile is asked for again.
        let generation = directory.generation();
        let known = self.known.lock().clone();
        if let Some((_, domains)) = known.filter(|(of, _)| *of == generation) {
            return Some(domains);
        }
        let Ok(Outcome::Domains(views)) = directory.perform(Order::DomainList).await else {
            return None;
        };
        let others = views.iter().filter_map(|view| Domain::new(&view.domain).ok());
        let others = others.filter(|domain| domain != main);
        let domains: Arc<[Domain]> = std::iter::once(main.clone()).chain(others).collect();
        *self.known.lock() = Some((generation, domains.clone()));
        Some(domains)
    }
}
