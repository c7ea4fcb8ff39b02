//! Accounts and aliases, for site admins and, in their domains, for domain admins.
//!
//! Invariants: a domain admin changes nothing of a site admin's account, and nothing outside of their domains.

use super::account::navigation;
use super::html::{field, form, group, hidden, page, table};
use super::{Answer, Fields, Pages, Refusal, take};
use crate::directory::orders::{AccountSettings, AccountView, NewAccount, Order, Outcome};
use axum::extract::{Form, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect};
use std::sync::Arc;

/// Rows of a page; the command line lists more.
const ROWS_MAX: usize = 1_000;

fn domain_of(address: &str) -> String {
    address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase()
}

fn may(admin: &AccountView, address: &str) -> Result<(), Refusal> {
    let is_own = admin.is_admin || admin.administers.contains(&domain_of(address));
    is_own.then_some(()).ok_or(Refusal::Forbidden)
}

fn is_any_admin(view: &AccountView) -> Result<(), Refusal> {
    let is_any = view.is_admin || !view.administers.is_empty();
    is_any.then_some(()).ok_or(Refusal::Forbidden)
}

/// `GET /admin`
pub async fn show(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Answer {
    let (known, view) = pages.known(&headers).await?;
    is_any_admin(&view)?;
    let body = [
        navigation(&view, &known.token),
        "<p><a href=\"/health/ready\">State</a> · <a href=\"/metrics\">Metrics</a></p>".to_owned(),
        pages.accounts(&view, &known.token).await?,
        pages.aliases(&view, &known.token).await?,
    ];
    Ok(Html(page("Accounts and aliases", &body.concat())).into_response())
}

impl Pages {
    async fn accounts(&self, admin: &AccountView, token: &str) -> Result<String, Refusal> {
        let Outcome::Accounts(views) = self.directory.perform(Order::AccountList { domain: None }).await? else {
            return Err(Refusal::Unavailable);
        };
        let row = |view: &AccountView| {
            let (state, next, button) = if view.is_enabled {
                ("enabled", "off", "Disable")
            } else {
                ("disabled", "on", "Enable")
            };
            let cells = vec![view.address.clone(), view.name.clone().unwrap_or_default(), state.to_owned()];
            let inside = hidden("address", &view.address) + &hidden("state", next);
            (cells, form("/admin/account/state", token, &inside, button))
        };
        let own = views.iter().filter(|view| may(admin, &view.address).is_ok());
        let rows: Vec<_> = own.take(ROWS_MAX).map(row).collect();
        let fields = [
            field("Address", "address", "email", "required"),
            field("Name", "name", "text", ""),
            field("Password", "password", "password", "required minlength=\"8\" autocomplete=\"new-password\""),
        ];
        let list = table(&["Address", "Name", "State", ""], &rows);
        Ok(group("Accounts", &list)
            + &group("A new account", &form("/admin/account", token, &fields.concat(), "Make it")))
    }

    async fn aliases(&self, admin: &AccountView, token: &str) -> Result<String, Refusal> {
        let Outcome::Aliases(views) = self.directory.perform(Order::AliasList { domain: None }).await? else {
            return Err(Refusal::Unavailable);
        };
        let own = views.iter().filter(|view| may(admin, &view.address).is_ok());
        let rows: Vec<_> = own
            .take(ROWS_MAX)
            .map(|view| {
                let cells = vec![view.address.clone(), view.targets.join(", ")];
                (cells, form("/admin/alias/delete", token, &hidden("address", &view.address), "Remove"))
            })
            .collect();
        let fields = [
            field("Address", "address", "email", "required"),
            field("Leads to (addresses with spaces between)", "targets", "text", "required"),
        ];
        let list = table(&["Address", "Leads to", ""], &rows);
        Ok(group("Aliases", &list)
            + &group("A new alias", &form("/admin/alias", token, &fields.concat(), "Make it")))
    }

    async fn order_of_admin(&self, order: Order) -> Answer {
        self.directory.perform(order).await?;
        Ok(Redirect::to("/admin").into_response())
    }
}

/// `POST /admin/account`
pub async fn add_account(State(pages): State<Arc<Pages>>, headers: HeaderMap, Form(fields): Form<Fields>) -> Answer {
    let (_, admin) = pages.acting(&headers, &fields).await?;
    let address = take(&fields, "address").trim();
    may(&admin, address)?;
    let account = NewAccount {
        address: address.to_owned(),
        hashes: pages.hashes(address, take(&fields, "password")).await?,
        set: AccountSettings {
            name: Some(take(&fields, "name").to_owned()),
            ..AccountSettings::default()
        },
        id: None,
    };
    pages.order_of_admin(Order::AccountAdd { account }).await
}

/// `POST /admin/account/state`
pub async fn set_state(State(pages): State<Arc<Pages>>, headers: HeaderMap, Form(fields): Form<Fields>) -> Answer {
    let (_, admin) = pages.acting(&headers, &fields).await?;
    let address = take(&fields, "address");
    may(&admin, address)?;
    let target = pages.account(address).await?;
    if target.is_admin && !admin.is_admin {
        return Err(Refusal::Forbidden);
    }
    if target.id == admin.id {
        return Err(Refusal::Fault("Nobody disables themselves here.".to_owned()));
    }
    let is_enabled = take(&fields, "state") == "on";
    if !is_enabled {
        pages.sessions.end_all_of(&target.address);
    }
    let order = Order::AccountSet {
        address: target.address,
        set: AccountSettings {
            is_enabled: Some(is_enabled),
            ..AccountSettings::default()
        },
    };
    pages.order_of_admin(order).await
}

/// `POST /admin/alias`
pub async fn add_alias(State(pages): State<Arc<Pages>>, headers: HeaderMap, Form(fields): Form<Fields>) -> Answer {
    let (_, admin) = pages.acting(&headers, &fields).await?;
    let address = take(&fields, "address").trim().to_owned();
    may(&admin, &address)?;
    let targets = take(&fields, "targets").split([' ', ',']).filter(|text| !text.is_empty());
    let targets = targets.map(str::to_owned).collect();
    pages.order_of_admin(Order::AliasAdd { address, targets }).await
}

/// `POST /admin/alias/delete`
pub async fn delete_alias(State(pages): State<Arc<Pages>>, headers: HeaderMap, Form(fields): Form<Fields>) -> Answer {
    let (_, admin) = pages.acting(&headers, &fields).await?;
    let address = take(&fields, "address").to_owned();
    may(&admin, &address)?;
    pages.order_of_admin(Order::AliasDelete { address }).await
}
