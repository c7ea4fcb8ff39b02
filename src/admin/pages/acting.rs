//! A form of somebody who is logged in.
//!
//! Invariants: whoever handles it gets it only with the token of its session in it, and with the account as the directory has
//! it now.
//! Limits: `FORM_BYTES_MAX`.

use super::sessions::Known;
use super::{Answer, Fields, Pages, Refusal, cookie, take};
use crate::admin::http::Peer;
use crate::directory::orders::{AccountView, Order, Outcome};
use axum::Extension;
use axum::extract::{Form, FromRequest, FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Redirect, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// What a handler of a form gets.
pub(super) struct Acting {
    pub pages: Arc<Pages>,
    pub known: Known,
    /// Whose form it is.
    pub view: AccountView,
    /// Of the session, as the browser has it.
    pub cookie: String,
    pub peer: IpAddr,
    fields: Fields,
}

impl FromRequest<Arc<Pages>> for Acting {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Arc<Pages>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let peer = Extension::<Peer>::from_request_parts(&mut parts, pages).await;
        let Extension(Peer(peer)) = peer.map_err(axum::response::IntoResponse::into_response)?;
        let headers = parts.headers.clone();
        let form = Form::<Fields>::from_request(Request::from_parts(parts, body), pages).await;
        let Form(fields) = form.map_err(axum::response::IntoResponse::into_response)?;
        let known = pages.known(&headers).await;
        let (known, view) = known.map_err(Refusal::into_response)?;
        if !known.is_own(take(&fields, "token")) {
            return Err(Refusal::Forged.into_response());
        }
        Ok(Self {
            pages: pages.clone(),
            known,
            view,
            cookie: cookie(&headers).unwrap_or_default().to_owned(),
            peer,
            fields,
        })
    }
}

impl Acting {
    /// A field as it was typed; one that is not there is empty.
    pub fn take(&self, name: &str) -> &str {
        take(&self.fields, name)
    }

    /// A field without the space around it.
    pub fn trimmed(&self, name: &str) -> &str {
        self.take(name).trim()
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Carries an order out in the name of this account.
    pub async fn order(&self, order: Order) -> Result<Outcome, Refusal> {
        let by = format!("{} by the pages from {}", self.view.address, self.peer);
        Ok(self.pages.directory.perform_for(&by, order).await?)
    }

    /// The same, and back to a page.
    pub async fn order_and_show(&self, order: Order, page: &str) -> Answer {
        self.order(order).await?;
        Ok(Redirect::to(page).into_response())
    }
}
