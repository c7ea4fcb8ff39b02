//! Pages for users (password, app passwords, second factor, the settings to type in) and for admins (accounts, aliases).
//!
//! Over HTTPS only. Plain HTML without scripts: forms that answer with a page, so that they work by keyboard, in every
//! browser, and with nothing from elsewhere.
//! Invariants: whatever changes something is a POST from a page of this host with its session's token; what outlasts a
//! session (a password, an app password, the second factor) asks for the password again; what an admin may is asked of the
//! directory at each request, not remembered; a session ends with the password it began with; a refused login says and costs
//! the same whatever was wrong, and is counted with those of mail programs.
//! Limits: those of `sessions` and `auth::failures`; `FORM_BYTES_MAX`.
//! Failure: a directory that does not answer is a 503.
//! LIMITATION: quotas are shown, what is used of them is not: only the cores know.
//! Not here: automatic set-up (`discovery`), metrics.

mod account;
mod acting;
mod admin_forms;
mod admins;
mod html;
mod login;
mod sessions;
mod totp;

use crate::auth::failures::Failures;
use crate::directory::orders::{AccountView, Order, OrderError, Outcome};
use crate::directory::{Accounts, PasswordHash, Source};
use crate::discovery::Endpoint;
use crate::runtime::Control;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
pub use sessions::Sessions;

use login::own_stamp;
use sessions::{COOKIE, Known};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of a form, bytes.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// Of a form that is refused for its length, read and thrown away, so that the answer arrives: what nobody reads resets the
/// connection, and the answer with it. Beyond it nobody waits for one.
const THROWN_AWAY_BYTES_MAX: usize = 1024 * 1024;

/// For that.
const THROWING_AWAY: Duration = Duration::from_secs(5);

/// What the pages need.
pub struct Pages {
    pub directory: Accounts,
    /// The same, as sessions ask it.
    pub source: Arc<dyn Source>,
    pub control: Control,
    /// Of the whole process.
    pub failures: Arc<Failures>,
    /// Whether failures from loopback are limited too.
    pub limits_loopback: bool,
    /// See `auth::Authenticator`.
    pub dummy: PasswordHash,
    pub hostname: String,
    pub endpoints: Vec<Endpoint>,
    pub sessions: Sessions,
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
            Self::Forged => (
                StatusCode::FORBIDDEN,
                "This form is out of date. Please open the page again.".to_owned(),
            ),
            Self::Forbidden => (StatusCode::FORBIDDEN, "This is not yours to do.".to_owned()),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Please try again in a moment.".to_owned(),
            ),
            Self::Fault(why) => (StatusCode::BAD_REQUEST, why),
        };
        let body = format!(
            "<p class=\"fault\" role=\"alert\">{}</p>{back}",
            html::escaped(&text)
        );
        (status, Html(html::page("That did not work", &body))).into_response()
    }
}

type Answer = Result<Response, Refusal>;

/// The routes.
pub fn router(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/account") }))
        .route("/style.css", get(style))
        .route("/login", post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/account", get(account::show))
        .route("/account/password", post(account::change_password))
        .route("/account/app-password", post(account::add_app_password))
        .route("/account/app-password/delete", post(account::delete_app_password))
        .route("/account/totp/begin", post(account::begin_totp))
        .route("/account/totp", post(account::set_totp))
        .route("/account/totp/off", post(account::end_totp))
        .route("/admin", get(admins::show))
        .route("/admin/account", post(admin_forms::add_account))
        .route("/admin/account/set", post(admin_forms::set_account))
        .route("/admin/account/state", post(admin_forms::set_state))
        .route("/admin/domain-admin", post(admin_forms::set_domain_admin))
        .route("/admin/alias", post(admin_forms::add_alias))
        .route("/admin/alias/delete", post(admin_forms::delete_alias))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn(own_forms_only))
        .layer(from_fn(small_forms_only))
        .layer(map_response(with_headers))
        .with_state(pages)
}

/// A form that a page of somebody else sends is refused, the login's too, which has no token yet: browsers say where a form
/// comes from. Programs that are none say nothing, and nobody's cookies are with them.
async fn own_forms_only(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && !is_own_form(request.headers()) {
        return Refusal::Forged.into_response();
    }
    next.run(request).await
}

/// A form that says itself that it is too long.
async fn small_forms_only(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|length| length <= FORM_BYTES_MAX) {
        return next.run(request).await;
    }
    let mut pieces = request.into_body().into_data_stream();
    let throwing_away = async {
        let mut left = THROWN_AWAY_BYTES_MAX;
        while let Some(Ok(piece)) = pieces.next().await {
            match left.checked_sub(piece.len()) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(THROWING_AWAY, throwing_away).await;
    (StatusCode::PAYLOAD_TOO_LARGE, "The form is too long.\n").into_response()
}

fn is_own_form(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match (headers.get(header::ORIGIN), text("host")) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.to_str().is_ok_and(|origin| {
            origin
                .strip_prefix("https://")
                .is_some_and(|from| from.eq_ignore_ascii_case(host))
        }),
        (Some(_), None) => false,
    }
}

/// Nothing from elsewhere, in nobody's frame, in no cache.
async fn with_headers(mut response: Response) -> Response {
    let policy =
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers would then call the origin of our own forms `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    ];
    for (name, value) in fixed {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], html::STYLE)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
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
        let known = self
            .sessions
            .find(cookie, Instant::now())
            .ok_or(Refusal::NotLoggedIn)?;
        let record = self
            .source
            .login(&known.login)
            .await
            .map_err(|_| Refusal::Unavailable)?;
        let is_same = record.is_some_and(|record| {
            record.account.is_enabled
                && own_stamp(&record) == Some(known.stamp)
                && record
                    .account
                    .address
                    .to_string()
                    .eq_ignore_ascii_case(&known.address)
        });
        if !is_same {
            self.sessions.end(cookie);
            return Err(Refusal::NotLoggedIn);
        }
        let view = self.account(&known.address).await?;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_say_where_a_form_comes_from() {
        let is_own = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_own_form(&headers)
        };
        let host = ("host", "mail.x.test:8443");
        assert!(is_own(&[host]) && is_own(&[host, ("origin", "https://mail.x.test:8443")]));
        assert!(is_own(&[
            host,
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ]));
        for foreign in [
            "https://mail.x.test",
            "http://mail.x.test:8443",
            "null",
            "https://evil.test",
        ] {
            assert!(!is_own(&[host, ("origin", foreign)]), "{foreign}");
        }
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(
                !is_own(&[
                    host,
                    ("sec-fetch-site", site),
                    ("origin", "https://mail.x.test:8443")
                ]),
                "{site}"
            );
        }
        assert!(!is_own(&[("origin", "https://mail.x.test")]));
    }
}
