//! Accounts and aliases, for site admins and, in their domains, for domain admins.
//!
//! Invariants: a domain admin sees nothing of other domains.
//! Limits: `ROWS_MAX` of each list, asked of the directory one domain at a time.
//! Not here: what the forms do (`admin_forms`).

use super::account::navigation;
use super::html::{escaped, field, form, group, hidden, page, table};
use super::{Answer, Fields, Pages, Refusal, take};
use crate::config::option::show_bytes;
use crate::directory::orders::{AccountView, AliasView, Order, Outcome};
use crate::model::{Domain, shown};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse};
use std::sync::Arc;

/// Rows of a page; the command line lists more.
const ROWS_MAX: u32 = 1_000;

/// In the form that the directory has; of what is no address nothing is a domain of ours.
pub(super) fn domain_of(address: &str) -> String {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    Domain::new(domain).map_or_else(|_| domain.to_ascii_lowercase(), |domain| domain.to_string())
}

fn is_any_admin(view: &AccountView) -> Result<(), Refusal> {
    let is_any = view.is_admin || !view.administers.is_empty();
    is_any.then_some(()).ok_or(Refusal::Forbidden)
}

/// `GET /admin`
pub async fn show(
    State(pages): State<Arc<Pages>>,
    headers: HeaderMap,
    Query(fields): Query<Fields>,
) -> Answer {
    let (known, view) = pages.known(&headers).await?;
    is_any_admin(&view)?;
    let domains = pages.domains(&view).await?;
    let wanted = Domain::new(take(&fields, "domain")).ok();
    let own = domain_of(&view.address);
    let is_wanted = |domain: &&String| wanted.as_ref().is_some_and(|wanted| wanted.as_str() == **domain);
    let preferred = domains.iter().find(is_wanted);
    let preferred = preferred.or_else(|| domains.iter().find(|domain| **domain == own));
    let Some(domain) = preferred.or(domains.first()) else {
        return Err(Refusal::Forbidden);
    };
    let body = [
        navigation(&view, &known.token),
        choice(&domains, domain),
        pages.accounts(domain, &known.token).await?,
        pages.aliases(domain, &known.token).await?,
        if view.is_admin {
            pages.administrators(domain, &known.token).await?
        } else {
            String::new()
        },
    ];
    Ok(Html(page(
        &format!("Accounts and aliases of {}", shown(domain)),
        &body.concat(),
    ))
    .into_response())
}

/// The domains to look at, if there is a choice.
fn choice(domains: &[String], current: &str) -> String {
    if domains.len() < 2 {
        return String::new();
    }
    let link = |domain: &String| {
        let mark = if domain == current {
            " aria-current=\"page\""
        } else {
            ""
        };
        let (key, name) = (escaped(domain), escaped(&shown(domain)));
        format!("<a href=\"/admin?domain={key}\"{mark}>{name}</a>")
    };
    let links: Vec<String> = domains.iter().take(ROWS_MAX as usize).map(link).collect();
    format!("<nav aria-label=\"Domains\">{}</nav>", links.concat())
}

impl Pages {
    async fn domains(&self, admin: &AccountView) -> Result<Vec<String>, Refusal> {
        if !admin.is_admin {
            return Ok(admin.administers.clone());
        }
        match self.directory.perform(Order::DomainList).await? {
            Outcome::Domains(views) => Ok(views.into_iter().map(|view| view.domain).collect()),
            _ => Err(Refusal::Unavailable),
        }
    }

    async fn accounts(&self, domain: &str, token: &str) -> Result<String, Refusal> {
        let order = Order::AccountList {
            domain: Some(domain.to_owned()),
            limit: Some(ROWS_MAX),
        };
        let Outcome::Accounts(views) = self.directory.perform(order).await? else {
            return Err(Refusal::Unavailable);
        };
        let row = |view: &AccountView| {
            let (state, next, button) = if view.is_enabled {
                ("enabled", "off", "Disable")
            } else {
                ("disabled", "on", "Enable")
            };
            let cells = vec![
                shown(&view.address).into_owned(),
                view.name.clone().unwrap_or_default(),
                view.quota_bytes.map_or_else(|| "no limit".to_owned(), show_bytes),
                state.to_owned(),
            ];
            let inside = hidden("address", &view.address) + &hidden("state", next);
            (cells, form("/admin/account/state", token, &inside, button))
        };
        let rows: Vec<_> = views.iter().map(row).collect();
        let address = field("Address", "address", "email", "required");
        let quota = |label| field(label, "quota", "text", "placeholder=\"5 GiB\"");
        let password = |label, extra: &str| {
            field(
                label,
                "password",
                "password",
                &format!("{extra} minlength=\"8\" autocomplete=\"new-password\""),
            )
        };
        let new = [
            address.clone(),
            field("Name", "name", "text", ""),
            quota("Quota (empty: no limit)"),
            password("Password", "required"),
        ];
        let change = [
            address,
            quota("Quota (empty: as it is, 0: no limit)"),
            password("New password (empty: as it is)", ""),
        ];
        let list = table(&["Address", "Name", "Quota", "State", ""], &rows);
        Ok([
            group("Accounts", &(list + &cut(rows.len()))),
            group(
                "A new account",
                &form("/admin/account", token, &new.concat(), "Make it"),
            ),
            group(
                "Change an account",
                &form("/admin/account/set", token, &change.concat(), "Change it"),
            ),
        ]
        .concat())
    }

    /// Who looks after the domain beside site admins, who alone see and change it.
    async fn administrators(&self, domain: &str, token: &str) -> Result<String, Refusal> {
        let order = Order::DomainShow {
            domain: domain.to_owned(),
        };
        let Outcome::Domains(views) = self.directory.perform(order).await? else {
            return Err(Refusal::Unavailable);
        };
        let of_domain = hidden("domain", domain);
        let row = |address: &String| {
            let inside = [
                of_domain.clone(),
                hidden("address", address),
                hidden("state", "off"),
            ];
            let remove = form("/admin/domain-admin", token, &inside.concat(), "Not any more");
            (vec![shown(address).into_owned()], remove)
        };
        let rows: Vec<_> = views.iter().flat_map(|view| &view.admins).map(row).collect();
        let list = if rows.is_empty() {
            "<p>Nobody beside the admins of the whole site.</p>".to_owned()
        } else {
            table(&["Address", ""], &rows)
        };
        let address = field(
            "Address, of this domain or another one here",
            "address",
            "email",
            "required",
        );
        let fields = of_domain + &hidden("state", "on") + &address;
        let new = form("/admin/domain-admin", token, &fields, "Let them");
        Ok(group("Who looks after this domain", &(list + &new)))
    }

    async fn aliases(&self, domain: &str, token: &str) -> Result<String, Refusal> {
        let order = Order::AliasList {
            domain: Some(domain.to_owned()),
            limit: Some(ROWS_MAX),
        };
        let Outcome::Aliases(views) = self.directory.perform(order).await? else {
            return Err(Refusal::Unavailable);
        };
        let row = |view: &AliasView| {
            let targets: Vec<_> = view.targets.iter().map(|target| shown(target)).collect();
            let cells = vec![shown(&view.address).into_owned(), targets.join(", ")];
            (
                cells,
                form(
                    "/admin/alias/delete",
                    token,
                    &hidden("address", &view.address),
                    "Remove",
                ),
            )
        };
        let rows: Vec<_> = views.iter().map(row).collect();
        let fields = [
            field("Address", "address", "email", "required"),
            field(
                "Leads to (addresses with spaces between)",
                "targets",
                "text",
                "required",
            ),
        ];
        let list = table(&["Address", "Leads to", ""], &rows);
        Ok(group("Aliases", &(list + &cut(rows.len())))
            + &group(
                "A new alias",
                &form("/admin/alias", token, &fields.concat(), "Make it"),
            ))
    }
}

fn cut(rows: usize) -> String {
    if rows < ROWS_MAX as usize {
        return String::new();
    }
    format!("<p>These are the first {ROWS_MAX}; the command line lists them all.</p>")
}
