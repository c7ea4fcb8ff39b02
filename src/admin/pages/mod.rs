//! Pages for users (password, app passwords, second factor, the settings to type in) and for admins (accounts, aliases).
//!
//! Over HTTPS only. Plain HTML without scripts: forms that answer with a page, so that they work by keyboard, in every
//! browser, and with nothing from elsewhere.
//! Invariants: whatever changes something is a POST with its session's token; what an admin may is asked of the directory at
//! each request, not remembered; a session ends with the password it began with; a refused login says and costs the same
//! whatever was wrong.
//! Limits: those of `sessions` and `auth::failures`; [`FORM_BYTES_MAX`].
//! Failure: a directory that does not answer is a 503.
//! LIMITATION: quotas are shown, what is used of them is not: only the cores know.
//! Not here: automatic set-up (`discovery`), metrics.

mod account;
mod admins;
mod html;
mod sessions;
mod totp;

use super::http::Peer;
use crate::auth::failures::Failures;
use crate::auth::scheme;
use crate::base::clock::{Clock, SystemClock};
use crate::directory::embedded::Embedded;
use crate::directory::orders::{AccountView, Order, OrderError, Outcome};
use crate::directory::{PasswordHash, Source as _};
use crate::discovery::Endpoint;
use crate::runtime::Control;
use axum::extract::{DefaultBodyLimit, Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use parking_lot::Mutex;
use sessions::{COOKIE, Known, Sessions, stamp};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Of a form, bytes.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// What the pages need.
pub struct Pages {
    pub directory: Embedded,
    pub control: Control,
    pub failures: Arc<Failures>,
    /// See `auth::Authenticator`.
    pub dummy: PasswordHash,
    pub hostname: String,
    pub endpoints: Vec<Endpoint>,
    sessions: Sessions,
    /// The last code of each account: it is good once.
    used_codes: Mutex<HashMap<String, i64>>,
}

type Fields = HashMap<String, String>;

/// What a request came to, when not to a page.
enum Refusal {
    NotLoggedIn,
    /// A form of another page or session.
    Forged,
    /// Not theirs to do.
    Forbidden,
    Unavailable,
    /// Something to change, in words.
    Fault(String),
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(why) => Self::Fault(why),
            OrderError::Failed(_) => Self::Unavailable,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let back = "<p><a href=\"/account\">Back</a></p>";
        let (status, text) = match self {
            Self::NotLoggedIn => return Redirect::to("/account").into_response(),
            Self::Forged => (StatusCode::FORBIDDEN, "This form is out of date. Please open the page again.".to_owned()),
            Self::Forbidden => (StatusCode::FORBIDDEN, "This is not yours to do.".to_owned()),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Please try again in a moment.".to_owned()),
            Self::Fault(why) => (StatusCode::BAD_REQUEST, why),
        };
        let body = format!("<p class=\"fault\" role=\"alert\">{}</p>{back}", html::escaped(&text));
        (status, Html(html::page("That did not work", &body))).into_response()
    }
}

type Answer = Result<Response, Refusal>;

impl Pages {
    /// With nobody logged in.
    #[must_use]
    pub fn new(
        directory: Embedded,
        control: Control,
        failures: Arc<Failures>,
        dummy: PasswordHash,
        hostname: String,
        endpoints: Vec<Endpoint>,
    ) -> Self {
        Self {
            directory,
            control,
            failures,
            dummy,
            hostname,
            endpoints,
            sessions: Sessions::default(),
            used_codes: Mutex::default(),
        }
    }
}

/// The routes.
pub fn router(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/account") }))
        .route("/style.css", get(style))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/account", get(account::show))
        .route("/account/password", post(account::change_password))
        .route("/account/app-password", post(account::add_app_password))
        .route("/account/app-password/delete", post(account::delete_app_password))
        .route("/account/totp/begin", post(account::begin_totp))
        .route("/account/totp", post(account::set_totp))
        .route("/account/totp/off", post(account::end_totp))
        .route("/admin", get(admins::show))
        .route("/admin/account", post(admins::add_account))
        .route("/admin/account/state", post(admins::set_state))
        .route("/admin/alias", post(admins::add_alias))
        .route("/admin/alias/delete", post(admins::delete_alias))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(map_response(with_headers))
        .with_state(pages)
}

/// Nothing from elsewhere, in nobody's frame, in no cache.
async fn with_headers(mut response: Response) -> Response {
    let policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], html::STYLE)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split("; "))
        .find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('='))
}

fn take<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

impl Pages {
    /// Whose request this is, as the directory has them now.
    async fn known(&self, headers: &HeaderMap) -> Result<(Known, AccountView), Refusal> {
        let cookie = cookie(headers).ok_or(Refusal::NotLoggedIn)?;
        let known = self.sessions.find(cookie, Instant::now()).ok_or(Refusal::NotLoggedIn)?;
        let record = self.directory.login(&known.address).await.map_err(|_| Refusal::Unavailable)?;
        let is_same = record.is_some_and(|record| {
            record.account.is_enabled && record.hashes.first().is_some_and(|hash| stamp(hash.expose()) == known.stamp)
        });
        if !is_same {
            self.sessions.end(cookie);
            return Err(Refusal::NotLoggedIn);
        }
        let view = self.account(&known.address).await?;
        Ok((known, view))
    }

    /// The same for a form, whose token has to be its session's.
    async fn acting(&self, headers: &HeaderMap, fields: &Fields) -> Result<(Known, AccountView), Refusal> {
        let (known, view) = self.known(headers).await?;
        if !known.is_own(take(fields, "token")) {
            return Err(Refusal::Forged);
        }
        Ok((known, view))
    }

    async fn account(&self, address: &str) -> Result<AccountView, Refusal> {
        let order = Order::AccountShow {
            address: address.to_owned(),
        };
        match self.directory.perform(order).await? {
            Outcome::Accounts(mut views) if views.len() == 1 => Ok(views.remove(0)),
            _ => Err(Refusal::Unavailable),
        }
    }

    /// Whether the credentials are right; the stamp of the password. All that is no is the same no.
    async fn check(&self, login: &str, password: &str, code: &str) -> Result<Option<sessions::Stamp>, Refusal> {
        let record = self.directory.login(login).await.map_err(|_| Refusal::Unavailable)?;
        let record = record.filter(|record| record.account.is_enabled);
        let own = record.as_ref().and_then(|record| {
            record.hashes.iter().find(|hash| scheme::is_known(hash.expose())).cloned()
        });
        let (hash, is_somebody) = (own.clone().unwrap_or_else(|| self.dummy.clone()), own.is_some());
        let candidate = password.as_bytes().to_vec();
        let is_right = self.control.compute(move || scheme::matches(&hash, &candidate)).await;
        let is_right = is_right.map_err(|_| Refusal::Unavailable)? && is_somebody;
        let secret = record.as_ref().and_then(|record| record.totp_secret.as_ref());
        let is_second_right = secret.is_none_or(|secret| is_right && self.use_code(login, secret.expose(), code));
        Ok(own.filter(|_| is_right && is_second_right).map(|hash| stamp(hash.expose())))
    }

    /// Whether `code` is one of `secret` that was not used before; it is used now.
    fn use_code(&self, login: &str, secret: &str, code: &str) -> bool {
        let now = SystemClock.now().seconds();
        let mut used = self.used_codes.lock();
        let Some(step) = totp::verify(secret, code, now, used.get(login).copied()) else {
            return false;
        };
        used.insert(login.to_owned(), step);
        true
    }

    async fn checked(
        &self,
        login: &str,
        password: &str,
        code: &str,
        peer: IpAddr,
    ) -> Result<Option<sessions::Stamp>, Refusal> {
        let keys = (!peer.to_canonical().is_loopback()).then(|| self.failures.keys(login.as_bytes(), peer));
        if let Some(keys) = keys {
            tokio::time::sleep(self.failures.delay_before(keys, Instant::now())).await;
        }
        let checked = self.check(login, password, code).await?;
        match (checked, keys) {
            (Some(_), Some(keys)) => self.failures.succeeded(keys),
            (None, Some(keys)) => tokio::time::sleep(self.failures.failed(keys, Instant::now())).await,
            _ => {}
        }
        Ok(checked)
    }
}

async fn log_in(
    State(pages): State<Arc<Pages>>,
    Extension(Peer(peer)): Extension<Peer>,
    Form(fields): Form<Fields>,
) -> Answer {
    let login = take(&fields, "login").trim().to_ascii_lowercase();
    let (password, code) = (take(&fields, "password"), take(&fields, "code"));
    let Some(stamp) = pages.checked(&login, password, code, peer).await? else {
        let body = format!(
            "<p class=\"fault\" role=\"alert\">That login, password or code is not right.</p>{}",
            account::login_form()
        );
        return Ok((StatusCode::FORBIDDEN, Html(html::page("Log in", &body))).into_response());
    };
    let begun = pages.sessions.begin(&login, stamp, Instant::now());
    let cookie = begun.map_err(|_| Refusal::Unavailable)?;
    let cookie = format!("{COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/account")).into_response())
}

async fn log_out(State(pages): State<Arc<Pages>>, headers: HeaderMap, Form(fields): Form<Fields>) -> Answer {
    let _ = pages.acting(&headers, &fields).await?;
    if let Some(cookie) = cookie(&headers) {
        pages.sessions.end(cookie);
    }
    let gone = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/account")).into_response())
}
