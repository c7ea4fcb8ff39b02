//! Who is it: the login of the pages, and the password and the code that are asked for again.
//!
//! Invariants: an unknown login costs what a wrong password costs and is told the same; a code of the second factor is looked
//! at only behind the right password, and is good once, across restarts too; every failure is counted by (account, network),
//! with those of mail programs.
//! Failure: a directory or a helper thread that does not answer is a 503, never a yes.

use super::acting::Acting;
use super::html::{field, form, page};
use super::sessions::{self, COOKIE, Known, stamp};
use super::{Answer, Fields, Pages, Refusal, take, totp};
use crate::admin::http::Peer;
use crate::auth::scheme;
use crate::base::clock::{Clock, SystemClock};
use crate::directory::{LoginRecord, PasswordHash};
use crate::model::login_key;
use crate::runtime::Share;
use axum::Extension;
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Whose credentials were right.
struct Owner {
    address: String,
    /// By what they were found, which another directory may have beside the address.
    login: String,
    stamp: sessions::Stamp,
}

/// What somebody says to prove who they are; of the fields that are not asked for nothing is looked at.
pub(super) struct Proof<'a> {
    pub password: Option<&'a str>,
    /// Of the second factor, where there is one.
    pub code: Option<&'a str>,
}

/// What changes with the account's own password; `None`: it has none.
/// LIMITATION: where another directory checks passwords itself, nobody here sees one change: sessions go on to their end.
pub(super) fn own_stamp(record: &LoginRecord) -> Option<sessions::Stamp> {
    if let Some(reference) = &record.checked_by {
        return Some(stamp(reference));
    }
    let own: Vec<&str> = own_hashes(record).map(PasswordHash::expose).collect();
    (!own.is_empty()).then(|| stamp(&own.concat()))
}

fn own_hashes(record: &LoginRecord) -> impl Iterator<Item = &PasswordHash> {
    record
        .hashes
        .iter()
        .filter(|hash| scheme::is_known(hash.expose()))
}

impl Pages {
    /// Whether `proof` is the owner's. All that is no is the same no.
    async fn check(&self, login: &str, proof: &Proof<'_>, share: Share) -> Result<Option<Owner>, Refusal> {
        let record = self.source.login(login).await.map_err(|_| Refusal::Unavailable)?;
        let record = record.filter(|record| record.account.is_enabled);
        let is_right = match proof.password {
            Some(password) => self.is_password(record.as_deref(), password, share).await?,
            None => true,
        };
        let stamp = record.as_deref().and_then(own_stamp);
        let (Some(record), Some(stamp), true) = (record, stamp, is_right) else {
            return Ok(None);
        };
        if let (Some(secret), Some(code)) = (&record.totp_secret, proof.code)
            && !self.use_code(record.account.id.0, secret.expose(), code).await?
        {
            return Ok(None);
        }
        Ok(Some(Owner {
            // As it is stored: another spelling of it would be another session's.
            address: record.account.address.to_string().to_ascii_lowercase(),
            login: login.to_owned(),
            stamp,
        }))
    }

    async fn is_password(
        &self,
        record: Option<&LoginRecord>,
        password: &str,
        share: Share,
    ) -> Result<bool, Refusal> {
        let candidate = password.as_bytes().to_vec();
        if let Some(reference) = record.and_then(|record| record.checked_by.as_deref()) {
            let checked = self.source.check_password(reference, &candidate).await;
            if checked.map_err(|_| Refusal::Unavailable)? {
                return Ok(true);
            }
        }
        let mut hashes: Vec<PasswordHash> = record
            .filter(|record| record.checked_by.is_none())
            .into_iter()
            .flat_map(|record| own_hashes(record).cloned())
            .collect();
        let is_known = !hashes.is_empty();
        if !is_known {
            hashes.push(self.dummy.clone());
        }
        let matching = self.control.compute(share, move || {
            hashes.iter().any(|hash| scheme::matches(hash, &candidate))
        });
        let is_right = matching.await.map_err(|_| Refusal::Unavailable)?;
        Ok(is_right && is_known)
    }

    /// Whether `code` is one of `secret` that was not used before; it is used now.
    pub(super) async fn use_code(&self, account: u64, secret: &str, code: &str) -> Result<bool, Refusal> {
        let Some(step) = totp::verify(secret, code, SystemClock.now().seconds()) else {
            return Ok(false);
        };
        let taken = self.directory.take_totp_step(account, step).await;
        taken.map_err(|_| Refusal::Unavailable)
    }

    /// `None`: somebody on this machine, whom no limit is meant for.
    pub(super) fn limited(&self, peer: IpAddr) -> Option<IpAddr> {
        (self.limits_loopback || !peer.to_canonical().is_loopback()).then_some(peer)
    }

    /// [`check`](Self::check) in its time: failures make further ones wait.
    async fn checked(&self, login: &str, proof: &Proof<'_>, peer: IpAddr) -> Result<Option<Owner>, Refusal> {
        let limited = self.limited(peer);
        let keys = limited.map(|peer| self.failures.keys(login.as_bytes(), peer));
        if let Some(keys) = keys {
            tokio::time::sleep(self.failures.delay_before(keys, Instant::now())).await;
        }
        let checked = self.check(login, proof, Share::from(limited)).await?;
        match (&checked, keys) {
            (Some(_), Some(keys)) => self.failures.succeeded(keys),
            (None, Some(keys)) => tokio::time::sleep(self.failures.failed(keys, Instant::now())).await,
            _ => {}
        }
        Ok(checked)
    }

    /// Whoever is logged in proves it again.
    pub(super) async fn confirm(
        &self,
        known: &Known,
        proof: &Proof<'_>,
        peer: IpAddr,
    ) -> Result<(), Refusal> {
        let owner = self.checked(&known.login, proof, peer).await?;
        let what = if proof.password.is_some() {
            "password"
        } else {
            "code"
        };
        let is_owner = owner.is_some_and(|owner| owner.address == known.address);
        is_owner
            .then_some(())
            .ok_or_else(|| Refusal::Fault(format!("That {what} is not right.")))
    }
}

/// For those who are not known yet.
pub fn login_form() -> String {
    let fields = [
        field(
            "Address",
            "login",
            "email",
            "required autofocus autocomplete=\"username\"",
        ),
        field(
            "Password",
            "password",
            "password",
            "required autocomplete=\"current-password\"",
        ),
        field(
            "Code of the second factor, if you have one",
            "code",
            "text",
            "inputmode=\"numeric\" autocomplete=\"one-time-code\" maxlength=\"7\"",
        ),
    ];
    form("/login", "", &fields.concat(), "Log in")
}
/// `POST /login`
pub(super) async fn log_in(
    State(pages): State<Arc<Pages>>,
    Extension(Peer(peer)): Extension<Peer>,
    Form(fields): Form<Fields>,
) -> Answer {
    let login = login_key(take(&fields, "login").trim());
    let proof = Proof {
        password: Some(take(&fields, "password")),
        code: Some(take(&fields, "code")),
    };
    let Some(owner) = pages.checked(&login, &proof, peer).await? else {
        tracing::info!(login, %peer, "login to the pages refused");
        let body = format!(
            "<p class=\"fault\" role=\"alert\">That login, password or code is not right.</p>{}",
            login_form()
        );
        return Ok((StatusCode::FORBIDDEN, Html(page("Log in", &body))).into_response());
    };
    let begun = pages
        .sessions
        .begin(&owner.address, &owner.login, owner.stamp, Instant::now());
    let cookie = begun.map_err(|_| Refusal::Unavailable)?;
    let cookie = format!("{COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/account")).into_response())
}

/// `POST /logout`
pub(super) async fn log_out(acting: Acting) -> Answer {
    acting.pages.sessions.end(&acting.cookie);
    let gone = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/account")).into_response())
}
