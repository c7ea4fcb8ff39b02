//! What admins send by the forms of their page, for site admins and, in their domains, for domain admins.
//!
//! Invariants: a domain admin changes nothing outside of their domains, and nothing of the account of somebody who may do
//! more: whoever sets a password can become its owner. Who looks after a domain is for site admins to say.
//! Not here: the page (`admins`).

use super::acting::Acting;
use super::admins::domain_of;
use super::{Answer, Refusal};
use crate::config::option::parse_bytes;
use crate::directory::orders::{AccountSettings, AccountView, NewAccount, Order};
use crate::runtime::Share;

impl Acting {
    /// Whether the domain of `address` is theirs.
    fn may(&self, address: &str) -> Result<(), Refusal> {
        let is_own = self.view.is_admin || self.view.administers.contains(&domain_of(address));
        is_own.then_some(()).ok_or(Refusal::Forbidden)
    }

    /// The address that the form is about, in a domain of theirs.
    fn own_address(&self) -> Result<&str, Refusal> {
        let address = self.trimmed("address");
        self.may(address)?;
        Ok(address)
    }

    /// The account that the form is about, which may do nothing that they may not do already.
    async fn own_account(&self) -> Result<AccountView, Refusal> {
        let target = self.pages.account(self.own_address()?).await?;
        // As the directory has it: that is what is changed.
        self.may(&target.address)?;
        let mut above = target.administers.iter();
        let is_above = target.is_admin || above.any(|domain| !self.view.administers.contains(domain));
        if is_above && !self.view.is_admin {
            return Err(Refusal::Forbidden);
        }
        Ok(target)
    }

    async fn order_about(&self, address: &str, order: Order) -> Answer {
        // What is not a domain's name was refused by the directory.
        let page = format!("/admin?domain={}", domain_of(address));
        self.order_and_show(order, &page).await
    }
}

fn set(address: &str, set: AccountSettings) -> Order {
    Order::AccountSet {
        address: address.to_owned(),
        set,
        is_forced: false,
    }
}

fn quota(text: &str) -> Result<Option<u64>, Refusal> {
    match text.trim() {
        "" => Ok(None),
        text => match parse_bytes(text) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(Refusal::Fault(
                "A quota is a size such as 500 MiB or 5 GiB.".to_owned(),
            )),
        },
    }
}

/// `POST /admin/account`
pub async fn add_account(acting: Acting) -> Answer {
    let address = acting.own_address()?;
    let account = NewAccount {
        address: address.to_owned(),
        hashes: acting
            .pages
            .hashes(Share::Administration, address, acting.take("password"))
            .await?,
        set: AccountSettings {
            name: Some(acting.take("name").to_owned()),
            quota_bytes: quota(acting.take("quota"))?,
            ..AccountSettings::default()
        },
        id: None,
    };
    acting.order_about(address, Order::AccountAdd { account }).await
}

/// `POST /admin/account/set`
pub async fn set_account(acting: Acting) -> Answer {
    let target = acting.own_account().await?;
    let quota_bytes = quota(acting.take("quota"))?;
    let password = acting.take("password");
    if !password.is_empty() {
        let order = Order::AccountPassword {
            address: target.address.clone(),
            hashes: acting
                .pages
                .hashes(Share::Administration, &target.address, password)
                .await?,
            is_forced: false,
        };
        acting.order(order).await?;
        acting.pages.sessions.end_all_of(&target.address);
    }
    let settings = AccountSettings {
        quota_bytes,
        ..AccountSettings::default()
    };
    acting
        .order_about(&target.address, set(&target.address, settings))
        .await
}

/// `POST /admin/account/state`
pub async fn set_state(acting: Acting) -> Answer {
    let target = acting.own_account().await?;
    if target.id == acting.view.id {
        return Err(Refusal::Fault("Nobody disables themselves here.".to_owned()));
    }
    let is_enabled = acting.take("state") == "on";
    if !is_enabled {
        acting.pages.sessions.end_all_of(&target.address);
    }
    let settings = AccountSettings {
        is_enabled: Some(is_enabled),
        ..AccountSettings::default()
    };
    acting
        .order_about(&target.address, set(&target.address, settings))
        .await
}

/// `POST /admin/alias`
pub async fn add_alias(acting: Acting) -> Answer {
    let address = acting.own_address()?;
    let targets = acting.take("targets").split([' ', ',']);
    let order = Order::AliasAdd {
        address: address.to_owned(),
        targets: targets
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    acting.order_about(address, order).await
}

/// `POST /admin/alias/delete`
pub async fn delete_alias(acting: Acting) -> Answer {
    let address = acting.own_address()?;
    let order = Order::AliasDelete {
        address: address.to_owned(),
        is_forced: false,
    };
    acting.order_about(address, order).await
}

/// `POST /admin/domain-admin`: whether an account, of this domain or of another one, looks after a domain.
pub async fn set_domain_admin(acting: Acting) -> Answer {
    if !acting.view.is_admin {
        return Err(Refusal::Forbidden);
    }
    let (domain, address) = (acting.trimmed("domain"), acting.trimmed("address"));
    let order = Order::DomainAdmin {
        domain: domain.to_owned(),
        address: address.to_owned(),
        is_admin: acting.take("state") == "on",
    };
    acting.order_about(&format!("@{domain}"), order).await
}
