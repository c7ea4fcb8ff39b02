//! The issuer of tokens that a configuration names.

use super::BootError;
use crate::auth::oauth::{Client, Issuer, IssuerConfig, Url, refusal};
use crate::config::{Config, Oauth};
use crate::disk::small;
use crate::proto::sasl::TokenRefusal;
use std::path::Path;
use std::sync::Arc;

/// The issuer, and what those are told whose tokens are refused. Nothing is asked of it: it may be down when we start.
///
/// # Errors
/// [`BootError::Admin`] for a file that cannot be used.
pub fn of(config: &Config) -> Result<Option<(Arc<Issuer>, TokenRefusal)>, BootError> {
    let Some(oauth) = &config.oauth else {
        return Ok(None);
    };
    let client =
        Client::new(oauth.ca.as_deref()).map_err(|why| BootError::Admin(format!("oauth.ca: {why}")))?;
    let config = described(oauth)?;
    let told = TokenRefusal(refusal(&config).into());
    Ok(Some((Arc::new(Issuer::new(config, client)), told)))
}

fn described(oauth: &Oauth) -> Result<IssuerConfig, BootError> {
    let url = |key: &str, text: &str| match text {
        "" => Ok(None),
        text => Url::parse(text)
            .map(Some)
            .map_err(|why| BootError::Admin(format!("{key}: {why}"))),
    };
    let secret = match &oauth.client_secret_file {
        Some(path) => read("oauth.client_secret_file", path)?,
        None => Vec::new(),
    };
    let secret = String::from_utf8(secret)
        .map_err(|_| BootError::Admin("oauth.client_secret_file: it is no text".to_owned()))?;
    Ok(IssuerConfig {
        issuer: oauth.issuer.clone(),
        audience: oauth.audience.clone(),
        keys: url("oauth.keys", &oauth.keys)?,
        introspection: url("oauth.introspection", &oauth.introspection)?,
        client_id: oauth.client_id.clone(),
        client_secret: secret.trim_end().to_owned(),
        login_claim: oauth.login_claim.clone(),
        scope: oauth.scope.clone(),
    })
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, BootError> {
    small::read(path).map_err(|why| BootError::Admin(format!("{key}: {why}")))
}
