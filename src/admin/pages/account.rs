//! What everybody with an account finds here.

use super::acting::Acting;
use super::html::{escaped, field, form, group, hidden, page, table};
use super::login::{Proof, login_form};
use super::{Answer, Pages, Refusal, totp};
use crate::auth::{scheme, scram};
use crate::base::clock::{Clock, SystemClock};
use crate::config::option::show_bytes;
use crate::directory::orders::{AccountView, Hash, NewAppPassword, Order, Outcome};
use crate::discovery::{Protocol, Security};
use crate::model::{ClientProtocol, Protocols, shown};
use crate::runtime::Share;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse};
use std::sync::Arc;

/// Asked again for whatever outlasts the session: a browser that was left open must not become a way in that stays.
fn password_field() -> String {
    field(
        "Your password",
        "old",
        "password",
        "required autocomplete=\"current-password\"",
    )
}

/// `GET /account`
pub async fn show(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Answer {
    let (known, view) = match pages.known(&headers).await {
        Err(Refusal::NotLoggedIn) => return Ok(Html(page("Log in", &login_form())).into_response()),
        known => known?,
    };
    let body = [
        navigation(&view, &known.token),
        settings(&pages, &view),
        password_form(&pages, &known.token),
        app_passwords(&view, &known.token),
        second_factor(&view, &known.token),
    ];
    Ok(Html(page(&shown(&view.address), &body.concat())).into_response())
}

/// The way to the other pages, and out.
pub fn navigation(view: &AccountView, token: &str) -> String {
    let is_any_admin = view.is_admin || !view.administers.is_empty();
    let admin = if is_any_admin {
        "<a href=\"/admin\">Accounts and aliases</a>"
    } else {
        ""
    };
    format!(
        "<nav aria-label=\"Pages\"><a href=\"/account\">My account</a>{admin}{}</nav>",
        form("/logout", token, "", "Log out")
    )
}

/// What to type into a mail program that does not find it by itself.
fn settings(pages: &Pages, view: &AccountView) -> String {
    let row = |endpoint: &crate::discovery::Endpoint| {
        let protocol = match endpoint.protocol {
            Protocol::Imap => "IMAP (reading)",
            Protocol::Pop3 => "POP3 (reading)",
            Protocol::Submission => "SMTP (sending)",
        };
        let security = match endpoint.security {
            Security::Tls => "TLS",
            Security::StartTls => "STARTTLS",
        };
        let cells = vec![
            protocol.to_owned(),
            pages.hostname.clone(),
            endpoint.port.to_string(),
        ];
        (cells, security.to_owned())
    };
    let rows: Vec<_> = pages.endpoints.iter().map(row).collect();
    let quota = view.quota_bytes.map_or_else(|| "no limit".to_owned(), show_bytes);
    let text = format!(
        "{}<p>Your login is <code>{}</code>. You may keep: {quota}.</p>",
        table(&["For", "Server", "Port", "Encryption"], &rows),
        escaped(&shown(&view.address))
    );
    group("Settings for mail programs", &text)
}

fn password_form(pages: &Pages, token: &str) -> String {
    if let Some(backend) = pages.directory.elsewhere() {
        let text = format!(
            "<p>It is kept in your organisation's directory ({}), and changed there.</p>",
            escaped(backend)
        );
        return group("Your password", &text);
    }
    let fields = [
        password_field(),
        field(
            "New password",
            "new",
            "password",
            "required minlength=\"8\" autocomplete=\"new-password\"",
        ),
        field(
            "New password again",
            "again",
            "password",
            "required autocomplete=\"new-password\"",
        ),
    ];
    group(
        "Change the password",
        &form("/account/password", token, &fields.concat(), "Change it"),
    )
}

fn app_passwords(view: &AccountView, token: &str) -> String {
    let day = |at: Option<i64>| {
        let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
        at.map_or_else(|| "never".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
    };
    let row = |password: &crate::directory::orders::AppPasswordView| {
        let cells = vec![
            password.name.clone(),
            password.protocols.clone(),
            day(password.last_used_at),
            day(password.expires_at),
        ];
        let remove = form(
            "/account/app-password/delete",
            token,
            &hidden("name", &password.name),
            "Remove",
        );
        (cells, remove)
    };
    let rows: Vec<_> = view.app_passwords.iter().map(row).collect();
    let scope = |protocol: ClientProtocol| {
        let name = protocol.name();
        format!("<label><input type=\"checkbox\" name=\"{name}\" value=\"on\" checked> {name}</label>")
    };
    let fields = field(
        "Name, such as \"phone\"",
        "name",
        "text",
        "required maxlength=\"100\"",
    ) + &ClientProtocol::ALL.map(scope).concat()
        + &field(
            "Days until it ends (empty: never)",
            "days",
            "number",
            "min=\"1\" max=\"3650\"",
        )
        + &password_field();
    let list = if rows.is_empty() {
        "<p>There are none yet.</p>".to_owned()
    } else {
        table(&["Name", "Opens", "Last used", "Ends", ""], &rows)
    };
    group(
        "Passwords for programs",
        &(list + &form("/account/app-password", token, &fields, "Make one")),
    )
}

fn second_factor(view: &AccountView, token: &str) -> String {
    let inside = if view.has_totp {
        let fields = field(
            "Code",
            "code",
            "text",
            "required inputmode=\"numeric\" autocomplete=\"one-time-code\"",
        );
        "<p>It is on: mail programs need passwords of their own.</p>".to_owned()
            + &form("/account/totp/off", token, &fields, "Switch it off")
    } else {
        "<p>It is off. When it is on, these pages ask for a code, and mail programs need passwords of their own.</p>".to_owned()
            + &form("/account/totp/begin", token, &password_field(), "Switch it on")
    };
    group("Second factor", &inside)
}

/// `POST /account/password`
pub async fn change_password(acting: Acting) -> Answer {
    let new = acting.take("new");
    if new != acting.take("again") {
        return Err(Refusal::Fault("The two new passwords differ.".to_owned()));
    }
    acting.confirm(&acting.password()).await?;
    let share = Share::from(acting.pages.limited(acting.peer));
    let order = Order::AccountPassword {
        address: acting.known.address.clone(),
        hashes: acting.pages.hashes(share, &acting.known.address, new).await?,
        is_forced: false,
    };
    acting.order(order).await?;
    acting.pages.sessions.end_all_of(&acting.known.address);
    let body = "<p class=\"notice\" role=\"status\">Your password is another one now.</p>".to_owned()
        + &login_form();
    Ok(Html(page("Log in", &body)).into_response())
}

impl Pages {
    /// What is kept of a new password.
    pub(super) async fn hashes(
        &self,
        share: Share,
        address: &str,
        password: &str,
    ) -> Result<Vec<Hash>, Refusal> {
        let domain = address
            .rsplit_once('@')
            .map_or("", |(_, domain)| domain)
            .to_owned();
        let shown = self.directory.perform(Order::DomainShow { domain }).await?;
        let keeps_scram =
            matches!(&shown, Outcome::Domains(views) if views.iter().any(|view| view.keeps_scram));
        let password = password.to_owned();
        let hashing = self.control.compute(share, move || {
            let mut hashes = vec![scheme::new_hash(&password)?];
            if keeps_scram {
                hashes.extend(scram::hashes(&password)?);
            }
            Ok::<_, String>(hashes)
        });
        let hashes = hashing
            .await
            .map_err(|_| Refusal::Unavailable)?
            .map_err(Refusal::Fault)?;
        Ok(hashes.iter().map(|hash| Hash(hash.expose().to_owned())).collect())
    }
}

/// `POST /account/app-password`
pub async fn add_app_password(acting: Acting) -> Answer {
    let chosen = ClientProtocol::ALL
        .into_iter()
        .filter(|protocol| acting.has(protocol.name()));
    let protocols = chosen.fold(Protocols::NONE, Protocols::with);
    let days = match acting.take("days") {
        "" => None,
        text => Some(
            text.parse::<u16>()
                .map_err(|_| Refusal::Fault("Days are a number.".to_owned()))?,
        ),
    };
    acting.confirm(&acting.password()).await?;
    let password = scheme::random_password().map_err(|_| Refusal::Unavailable)?;
    let hash = scheme::fast_hash(password.as_bytes()).map_err(|_| Refusal::Unavailable)?;
    let name = acting.take("name").trim().to_owned();
    let new = NewAppPassword {
        name: name.clone(),
        hash: Hash(hash.expose().to_owned()),
        protocols: protocols.to_string(),
        expires_at: days.map(|days| SystemClock.now().seconds() + i64::from(days) * 86_400),
    };
    let order = Order::AppPasswordAdd {
        address: acting.known.address.clone(),
        password: new,
    };
    acting.order(order).await?;
    let body = format!(
        "<p class=\"notice\" role=\"status\">The password for {} is <code id=\"password\">{password}</code>. It is shown this \
         once.</p><p><a href=\"/account\">Back</a></p>",
        escaped(&name)
    );
    Ok(Html(page("A new password", &body)).into_response())
}

/// `POST /account/app-password/delete`
pub async fn delete_app_password(acting: Acting) -> Answer {
    let order = Order::AppPasswordDelete {
        address: acting.known.address.clone(),
        name: acting.take("name").to_owned(),
    };
    acting.order_and_show(order, "/account").await
}

/// `POST /account/totp/begin`
pub async fn begin_totp(acting: Acting) -> Answer {
    acting.confirm(&acting.password()).await?;
    let secret = totp::new_secret().map_err(|_| Refusal::Unavailable)?;
    acting.pages.sessions.offer(&acting.cookie, &secret);
    let attributes = "required autofocus inputmode=\"numeric\" autocomplete=\"one-time-code\"";
    let inside = field("Code that it shows", "code", "text", attributes);
    let body = format!(
        "<p>Type this into your authenticator program: <code id=\"secret\">{secret}</code></p>{}",
        form("/account/totp", &acting.known.token, &inside, "Switch it on")
    );
    Ok(Html(page("Second factor", &body)).into_response())
}

/// `POST /account/totp`
pub async fn set_totp(acting: Acting) -> Answer {
    let offered = acting.pages.sessions.offered(&acting.cookie);
    // One that is on is switched off by its own code before there is another.
    let Some(secret) = offered.filter(|_| !acting.view.has_totp) else {
        return Err(Refusal::Fault("Please begin again.".to_owned()));
    };
    if !acting
        .pages
        .use_code(acting.view.id, &secret, acting.take("code"))
        .await?
    {
        return Err(Refusal::Fault(
            "That code is not right. Please try the next one.".to_owned(),
        ));
    }
    acting.set_secret(Some(Hash(secret))).await
}

/// `POST /account/totp/off`
pub async fn end_totp(acting: Acting) -> Answer {
    let proof = Proof {
        password: None,
        code: Some(acting.take("code")),
    };
    acting.confirm(&proof).await?;
    acting.set_secret(None).await
}

impl Acting {
    /// Whoever is logged in proves it again.
    async fn confirm(&self, proof: &Proof<'_>) -> Result<(), Refusal> {
        self.pages.confirm(&self.known, proof, self.peer).await
    }

    /// By the password, which is asked for again for whatever outlasts the session.
    fn password(&self) -> Proof<'_> {
        Proof {
            password: Some(self.take("old")),
            code: None,
        }
    }

    async fn set_secret(&self, secret: Option<Hash>) -> Answer {
        let order = Order::AccountTotp {
            address: self.known.address.clone(),
            secret,
        };
        self.order_and_show(order, "/account").await
    }
}
