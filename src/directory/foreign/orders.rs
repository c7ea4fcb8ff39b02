//! What an admin may ask about accounts that another directory has: one account as it is shown, and the credentials that are
//! kept here. Everything else is that directory's own business, and is refused with its name.
//!
//! LIMITATION: nothing is listed: the site's queries answer for one key each.

use super::{Failure, Foreign, Inner};
use crate::directory::embedded::CredentialView;
use crate::directory::orders::{AccountView, Order, OrderError, Outcome};
use crate::directory::{Recipient, Unavailable, key, key_text};
use crate::model::{AccountId, AddrSpec};
use std::sync::Arc;

impl Foreign {
    /// Carries one order out. May be awaited on any executor.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub async fn perform(&self, order: Order) -> Result<Outcome, OrderError> {
        let backend = self.backend();
        match &order {
            Order::AccountShow { address } => Ok(Outcome::Accounts(vec![self.show(address).await?])),
            Order::AppPasswordAdd { address, .. }
            | Order::AppPasswordDelete { address, .. }
            | Order::AccountTotp { address, .. } => {
                let (id, _) = self.find(address).await?;
                self.0.ids.perform_for(id, order).await
            }
            Order::AccountList { .. } => Err(OrderError::Refused(format!(
                "accounts are in {backend} (directory.backend), which is asked for one at a time: list them there, and \
                 `ringpost account show ADDRESS` tells what this server makes of one"
            ))),
            _ => Err(elsewhere(backend)),
        }
    }

    /// Names the directory.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.0.tables.name()
    }

    /// See `Embedded::take_totp_step`.
    ///
    /// # Errors
    /// [`OrderError::Failed`].
    pub async fn take_totp_step(&self, id: u64, step: i64) -> Result<bool, OrderError> {
        self.0.ids.take_totp_step(id, step).await
    }

    async fn find(&self, text: &str) -> Result<(AccountId, Recipient), OrderError> {
        let backend = self.backend();
        let address = AddrSpec::parse(text)
            .map_err(|e| OrderError::Refused(format!("{text:?}: {e} (local-part@domain is wanted)")))?;
        let asked = key_text(&key(&address)).to_owned();
        let found = self
            .ask(move |inner| async move { inner.account(&asked).await })
            .await;
        found
            .map_err(|Unavailable| {
                OrderError::Failed(format!("{backend} cannot answer just now; the log says why"))
            })?
            .ok_or_else(|| OrderError::Refused(format!("{backend} has no account {address}")))
    }

    async fn show(&self, address: &str) -> Result<AccountView, OrderError> {
        let (id, recipient) = self.find(address).await?;
        let ids = self.0.ids.clone();
        let reading = async move { ids.credential_view(id).await };
        let own = self.0.control.run(reading).await.unwrap_or(Err(Unavailable));
        let own = own.map_err(|error| OrderError::Failed(error.to_string()))?;
        Ok(view(&recipient, own, self.backend()))
    }
}

/// Whatever would be changed here would have no effect.
#[must_use]
pub fn elsewhere(backend: &str) -> OrderError {
    OrderError::Refused(format!(
        "accounts, aliases and domains are in {backend} (directory.backend): they are looked after there; app passwords are kept \
         here (`ringpost account app-password-add`)"
    ))
}

impl Inner {
    async fn account(self: Arc<Self>, asked: &str) -> Result<Option<(AccountId, Recipient)>, Failure> {
        let Some(row) = self.tables.account(asked).await? else {
            return Ok(None);
        };
        let (id, address) = self.identify(&row, asked).await?;
        Ok(Some((id, row.recipient(id, address)?)))
    }
}

fn view(recipient: &Recipient, own: CredentialView, backend: &str) -> AccountView {
    let account = &recipient.account;
    AccountView {
        id: account.id.0,
        address: account.address.to_string(),
        name: None,
        is_enabled: account.is_enabled,
        is_admin: false,
        protocols: account.protocols.to_string(),
        quota_bytes: account.quota_bytes,
        quota_messages: account.quota_messages,
        pop3_deletion: account.pop3_deletion.name().to_owned(),
        retention_days: account.retention_days,
        keeps_copy: recipient.keeps_copy,
        takes_details: recipient.takes_details,
        forward: recipient.forward.iter().map(AddrSpec::to_string).collect(),
        password_scheme: Some(format!("in {backend}")),
        has_totp: own.has_totp,
        app_passwords: own.app_passwords,
        administers: Vec::new(),
    }
}
