//! Whose token is it: those of one issuer that the operator trusts, for OAUTHBEARER and XOAUTH2.
//!
//! A token that is a JWT is verified with the issuer's published keys; any other is shown to the issuer itself (RFC 7662), if
//! it has a place for that. Everything here runs on the control thread.
//! Invariants: only the configured issuer's word counts, for the configured audience, within the token's time; what cannot
//! be read, is not signed by a public key of the issuer, or names nobody, is nobody's; an issuer that does not answer is
//! [`Unavailable`], never a yes.
//! Limits: [`TOKEN_BYTES_MAX`], [`ASKED_AT_ONCE_MAX`], [`KEYS_LIFETIME`], [`KEYS_ASKED_EVERY`], [`KEYS_RETRIED_AFTER`]; those of
//! `http`.
//! Standards: RFC 7519 and 7515 (JWT, JWS), 7517 (JWK), 8414 and OpenID Connect Discovery (where keys are), 7662
//! (introspection), 8725 (what goes wrong with JWTs).
//! LIMITATION: a token taken back before its time goes on opening new sessions if it is a JWT: issuers keep their time short.
//! Not here: the exchange and its refusal (`proto::sasl`), whether the account may log in (`auth`).

mod http;
mod jwt;

pub use http::{AskError, Client, Url};

use crate::directory::Unavailable;
use crate::model::login_key;
use jsonwebtoken::jwk::JwkSet;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Longest token looked at, octets. Those of large directories are some 4 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Introspections under way at once; others wait.
pub const ASKED_AT_ONCE_MAX: usize = 32;

/// How long keys are believed.
pub const KEYS_LIFETIME: Duration = Duration::from_secs(3_600);

/// Between two fetches, whoever shows tokens with unknown keys.
pub const KEYS_ASKED_EVERY: Duration = Duration::from_secs(30);

/// Between a fetch that failed and the next, while no keys are known: anybody may show tokens, and an issuer that is down is
/// asked once for all of them.
pub const KEYS_RETRIED_AFTER: Duration = Duration::from_secs(5);

/// What the operator says of the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Its name, as it stands in tokens.
    pub issuer: String,
    /// Whom its tokens are for; empty: whoever may introspect them.
    pub audience: String,
    /// Where its keys are; `None`: where its metadata says.
    pub keys: Option<Url>,
    /// Where tokens are introspected.
    pub introspection: Option<Url>,
    pub client_id: String,
    pub client_secret: String,
    /// The claim that names the account.
    pub login_claim: String,
    /// What a token must allow; empty: nothing in particular.
    pub scope: String,
}

/// The issuer, and what is known of its keys.
pub struct Issuer {
    config: IssuerConfig,
    client: Client,
    keys: Mutex<Keys>,
    /// Held by the one fetch of keys that is under way.
    fetching: tokio::sync::Mutex<()>,
    places: Semaphore,
}

#[derive(Default)]
struct Keys {
    set: Option<Arc<JwkSet>>,
    fetched: Option<Instant>,
    /// Also when nothing came of it.
    asked: Option<Instant>,
    /// When nothing came of it, if nothing has since.
    failed: Option<Instant>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.config.issuer)
    }
}

impl Issuer {
    /// Nothing is asked of it yet.
    #[must_use]
    pub fn new(config: IssuerConfig, client: Client) -> Self {
        Self {
            config,
            client,
            keys: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            places: Semaphore::new(ASKED_AT_ONCE_MAX),
        }
    }

    /// Whose `token` is at `now` (Unix seconds); `None`: nobody's.
    ///
    /// # Errors
    /// [`Unavailable`] when the issuer has to be asked and does not answer.
    pub async fn owner(&self, token: &str, now: i64) -> Result<Option<String>, Unavailable> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        match jwt::key_of(token) {
            Some(wanted) if self.has_keys() => self.owner_of_jwt(token, &wanted, now).await,
            _ if self.config.introspection.is_some() => self.introspect(token, now).await,
            _ => Ok(None),
        }
    }

    fn has_keys(&self) -> bool {
        self.config.keys.is_some() || self.config.introspection.is_none()
    }

    async fn owner_of_jwt(
        &self,
        token: &str,
        wanted: &jwt::Wanted,
        now: i64,
    ) -> Result<Option<String>, Unavailable> {
        let mut set = self.keys().await?;
        if wanted.find(&set).is_none() {
            // A new one is published before it is used: perhaps since the last fetch.
            set = self.newer_keys(&set).await?;
        }
        let Some(key) = wanted.find(&set) else {
            return Ok(None);
        };
        Ok(jwt::owner(token, key, &self.config, now))
    }

    async fn keys(&self) -> Result<Arc<JwkSet>, Unavailable> {
        let known = {
            let keys = self.keys.lock();
            let is_young = keys.fetched.is_some_and(|at| at.elapsed() < KEYS_LIFETIME);
            keys.set.clone().map(|set| (set, is_young))
        };
        match known {
            Some((set, true)) => Ok(set),
            // Old keys are better than none while the issuer is down.
            Some((set, false)) => Ok(self.newer_keys(&set).await.unwrap_or(set)),
            None => self.fetch().await,
        }
    }

    /// Fetches them, unless that was tried a moment ago.
    async fn newer_keys(&self, known: &Arc<JwkSet>) -> Result<Arc<JwkSet>, Unavailable> {
        let is_due = self
            .keys
            .lock()
            .asked
            .is_none_or(|at| at.elapsed() >= KEYS_ASKED_EVERY);
        if is_due {
            self.fetch().await
        } else {
            Ok(known.clone())
        }
    }

    async fn fetch(&self) -> Result<Arc<JwkSet>, Unavailable> {
        let began = Instant::now();
        let _turn = self.fetching.lock().await;
        {
            let mut keys = self.keys.lock();
            // Whoever had the turn before may have done it for this one too.
            if let (Some(set), true) = (&keys.set, keys.fetched >= Some(began)) {
                return Ok(set.clone());
            }
            if keys.failed.is_some_and(|at| at.elapsed() < KEYS_RETRIED_AFTER) {
                return Err(Unavailable);
            }
            keys.asked = Some(Instant::now());
        }
        let fetched = self.ask_for_keys().await;
        let mut keys = self.keys.lock();
        match fetched {
            Ok(set) => {
                (keys.fetched, keys.failed) = (Some(Instant::now()), None);
                Ok(keys.set.insert(Arc::new(set)).clone())
            }
            Err(Unavailable) => {
                keys.failed = Some(Instant::now());
                Err(Unavailable)
            }
        }
    }

    async fn ask_for_keys(&self) -> Result<JwkSet, Unavailable> {
        let url = match &self.config.keys {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let body = self
            .client
            .get(&url)
            .await
            .map_err(|error| self.complain(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.complain(&error))
    }

    /// OpenID Connect Discovery §4.
    async fn discover(&self) -> Result<Url, Unavailable> {
        let place = format!(
            "{}/.well-known/openid-configuration",
            self.config.issuer.trim_end_matches('/')
        );
        let url = Url::parse(&place).map_err(|error| self.complain(&error))?;
        let body = self
            .client
            .get(&url)
            .await
            .map_err(|error| self.complain(&error))?;
        let metadata: Value = serde_json::from_slice(&body).map_err(|error| self.complain(&error))?;
        if metadata["issuer"] != self.config.issuer.as_str() {
            return Err(self.complain(&"its metadata is another issuer's"));
        }
        let keys = metadata["jwks_uri"].as_str().unwrap_or_default();
        Url::parse(keys).map_err(|error| self.complain(&error))
    }

    async fn introspect(&self, token: &str, now: i64) -> Result<Option<String>, Unavailable> {
        let Some(url) = &self.config.introspection else {
            return Ok(None);
        };
        let _place = self.places.acquire().await.map_err(|_| Unavailable)?;
        let fields = [("token", token), ("token_type_hint", "access_token")];
        let answer = self
            .client
            .post(url, &fields, &self.config.client_id, &self.config.client_secret)
            .await;
        let body = answer.map_err(|error| self.complain(&error))?;
        let claims: Value = serde_json::from_slice(&body).map_err(|error| self.complain(&error))?;
        if claims["active"] != true {
            return Ok(None);
        }
        Ok(named_by(&claims, &self.config, now, Evidence::Introspected))
    }

    fn complain(&self, error: &dyn std::fmt::Display) -> Unavailable {
        tracing::warn!(issuer = self.config.issuer, %error, "the issuer of tokens cannot be asked");
        Unavailable
    }
}

/// Who vouches for claims.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// They are signed, and say everything themselves.
    Signed,
    /// The issuer has answered: what it leaves out (RFC 7662 §2.2) it has looked at.
    Introspected,
}

/// Seconds that clocks may differ.
const LEEWAY_SECONDS: i64 = 60;

/// The account that claims name, if they hold now and here.
fn named_by(claims: &Value, config: &IssuerConfig, now: i64, evidence: Evidence) -> Option<String> {
    let may_lack = evidence == Evidence::Introspected;
    let is_issuer = match &claims["iss"] {
        Value::Null => may_lack,
        issuer => *issuer == config.issuer.as_str(),
    };
    let is_audience = match &claims["aud"] {
        _ if config.audience.is_empty() => may_lack,
        Value::Null => may_lack,
        Value::Array(all) => all.iter().any(|one| *one == config.audience.as_str()),
        one => *one == config.audience.as_str(),
    };
    let is_before_end = match claims["exp"].as_f64() {
        Some(end) => now as f64 - (LEEWAY_SECONDS as f64) < end,
        None => may_lack && claims["exp"].is_null(),
    };
    let has_begun = match claims["nbf"].as_f64() {
        Some(begin) => begin <= (now + LEEWAY_SECONDS) as f64,
        None => claims["nbf"].is_null(),
    };
    let mut scopes = claims["scope"].as_str().unwrap_or_default().split(' ');
    let has_scope = config.scope.is_empty() || scopes.any(|scope| scope == config.scope);
    // An address that anybody may have typed in is nobody's proof.
    let is_verified = config.login_claim != "email" || claims["email_verified"] != false;
    let holds = is_issuer && is_audience && is_before_end && has_begun && has_scope && is_verified;
    let login = claims[config.login_claim.as_str()].as_str()?;
    (holds && !login.is_empty()).then(|| login_key(login))
}

/// What a client is told with a refused token (RFC 7628 §3.2.2): where to get a good one.
#[must_use]
pub fn refusal(config: &IssuerConfig) -> Vec<u8> {
    let mut told = serde_json::json!({
        "status": "invalid_token",
        "openid-configuration":
            format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/')),
    });
    if !config.scope.is_empty() {
        told["scope"] = config.scope.as_str().into();
    }
    told.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(super) fn config() -> IssuerConfig {
        IssuerConfig {
            issuer: "https://login.example".to_owned(),
            audience: "mail".to_owned(),
            keys: None,
            introspection: None,
            client_id: String::new(),
            client_secret: String::new(),
            login_claim: "email".to_owned(),
            scope: "imap".to_owned(),
        }
    }

    /// A token that could be signed by a key of the issuer's.
    fn signed() -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let header = json!({ "alg": "ES256", "kid": "1" }).to_string();
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    #[tokio::test]
    async fn an_issuer_that_is_down_is_asked_once_for_all_who_show_tokens() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let keys = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                drop(connection);
            }
        });
        let config = IssuerConfig {
            keys: Some(Url::parse(&keys).expect("loopback")),
            ..config()
        };
        let issuer = Issuer::new(config, Client::new(None).expect("a client"));
        let token = signed();
        let all = futures::future::join_all((0..8).map(|_| issuer.owner(&token, 900))).await;
        assert!(all.iter().all(|owner| owner.is_err()));
        assert!(issuer.owner(&token, 900).await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn claims_hold_for_one_issuer_audience_time_and_scope() {
        let good = json!({
            "iss": "https://login.example", "aud": ["other", "mail"], "exp": 1_000, "nbf": 500, "scope": "a imap",
            "email": "Bob@x.test", "email_verified": true,
        });
        let of = |claims: &Value, evidence| named_by(claims, &config(), 900, evidence);
        assert_eq!(of(&good, Evidence::Signed).as_deref(), Some("bob@x.test"));
        for (name, value) in [
            ("iss", json!("https://evil.example")),
            ("iss", json!(["https://login.example"])),
            ("aud", json!("others")),
            ("exp", json!(800)),
            ("exp", json!("tomorrow")),
            ("nbf", json!(1_000)),
            ("nbf", json!("x")),
            ("scope", json!("imaps")),
            ("email", json!("")),
            ("email", json!(7)),
            ("email_verified", json!(false)),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            for evidence in [Evidence::Signed, Evidence::Introspected] {
                assert_eq!(of(&bad, evidence), None, "{bad}");
            }
        }
        for name in ["iss", "aud", "exp"] {
            let mut less = good.clone();
            less.as_object_mut().expect("an object").remove(name);
            assert_eq!(of(&less, Evidence::Signed), None, "{name} is missing");
            assert!(
                of(&less, Evidence::Introspected).is_some(),
                "the issuer has looked at {name}"
            );
        }
    }

    #[test]
    fn a_refusal_says_where_tokens_come_from() {
        let told: Value = serde_json::from_slice(&refusal(&config())).expect("JSON");
        assert_eq!(told["status"], "invalid_token");
        assert_eq!(told["scope"], "imap");
        assert_eq!(
            told["openid-configuration"],
            "https://login.example/.well-known/openid-configuration"
        );
    }
}
