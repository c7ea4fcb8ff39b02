//! Certificates from an issuer that speaks ACME (RFC 8555): asked for, kept, renewed while the server runs, when the issuer
//! suggests it (RFC 9773) or at two thirds of their life.
//!
//! One certificate for each name, so that one whose DNS does not lead here keeps no other from its own.
//! Invariants: a certificate is kept only with the key that fits it, in one file that is replaced whole; the file of a name is
//! touched by nobody else; what failed is remembered across restarts, so that a restart asks no issuer sooner.
//! Limits: [`ATTEMPT_TIMEOUT`], [`ASK_TIMEOUT`]; pauses as in `schedule` and `renewal`; one name at a time.
//! Failure: said in the log and kept for `ringpost doctor`; the old certificate goes on until its end. An issuer that says
//! nothing of renewals, or is away, keeps no certificate from being renewed.
//! Not here: which certificate is shown to whom (`tls`), the files of the configuration (`boot`).

pub mod challenges;
pub mod files;
pub mod renewal;
pub mod schedule;

use crate::base::clock::{Clock as _, SystemClock};
use crate::disk::small;
use crate::model::Domain;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use challenges::{Challenges, Shown};
use files::{Files, State};
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, CertificateIdentifier, ChallengeType, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use renewal::{Answer, Suggestion};
use schedule::Window;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One certificate, from the first question to the last.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(300);

/// The question when to renew.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the issuer may look, and then make the certificate.
const POLL_TIMEOUT: Duration = Duration::from_secs(120);

/// Longest sleep: a clock that is set, or a machine that was asleep, is noticed by then.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The issuer's directory.
    pub directory: String,
    /// Who is told of trouble, an address; empty: nobody.
    pub contact: String,
    /// Of the issuer's own server; `None`: those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    pub challenge: Challenge,
    /// Each gets a certificate.
    pub names: Vec<Domain>,
    /// What ties the account to one that the issuer knows already.
    pub binding: Option<Binding>,
}

/// External account binding (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// By which the issuer knows the key.
    pub key_id: String,
    /// A file with the key, as the issuer gives it: base64url (RFC 4648 §5).
    pub key_file: PathBuf,
}

impl Binding {
    /// Whether its file holds a key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        self.key().map(|_| ())
    }

    fn key(&self) -> Result<ExternalAccountKey, String> {
        let told = |cause: String| format!("acme.eab_key_file: {}: {cause}", self.key_file.display());
        let text = small::read_text(&self.key_file).map_err(|why| format!("acme.eab_key_file: {why}"))?;
        let key = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
        let key = key.map_err(|_| told("it holds no base64url".to_owned()))?;
        if key.is_empty() {
            return Err(told("it is empty".to_owned()));
        }
        Ok(ExternalAccountKey::new(self.key_id.clone(), &key))
    }
}

/// How a name is shown to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    Http,
    TlsAlpn,
}

/// Told when a certificate has come; an error is what is wrong with it.
pub type Installed = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The one who asks.
pub struct Client {
    settings: Settings,
    files: Files,
    challenges: Challenges,
    installed: Installed,
}

impl Client {
    /// `files`: where certificates and the account are kept.
    #[must_use]
    pub fn new(settings: Settings, files: Files, challenges: Challenges, installed: Installed) -> Self {
        Self {
            settings,
            files,
            challenges,
            installed,
        }
    }

    /// Asks for what is due, again and again. Only on the control thread.
    pub async fn run(self) {
        // Each name has its own, and keeps it: otherwise the next look would move the time again.
        let chances: Vec<u32> = self.settings.names.iter().map(|_| chance()).collect();
        loop {
            let mut next = SLEEP_MAX;
            for (name, chance) in self.settings.names.iter().zip(&chances) {
                self.ask_when_to_renew(name).await;
                if self.files.due(name, *chance) <= SystemClock.now().seconds() {
                    self.attempt(name).await;
                }
                let asked = self.files.suggestion(name).map(|known| known.ask_at);
                let due = self.files.due(name, *chance).min(asked.unwrap_or(i64::MAX));
                let wait = u64::try_from(due.saturating_sub(SystemClock.now().seconds())).unwrap_or(0);
                next = next.min(Duration::from_secs(wait));
            }
            // A second at least: what is due at once and fails at once must not spin.
            tokio::time::sleep(next.max(Duration::from_secs(1))).await;
        }
    }

    /// If it is time to. Told once: that the issuer has moved the window, and that it cannot be heard.
    async fn ask_when_to_renew(&self, name: &Domain) {
        let Some((known, certificate)) = self.files.suggestion(name).zip(self.files.identifier(name)) else {
            return;
        };
        if !known.is_due(SystemClock.now().seconds()) {
            return;
        }
        let answer = match tokio::time::timeout(ASK_TIMEOUT, self.ask(&certificate)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("it did not answer within {ASK_TIMEOUT:?}")),
        };
        let after = known
            .clone()
            .after(&answer, SystemClock.now().seconds(), chance());
        tell_suggestion(name, &known, &answer);
        self.files.set_suggestion(name, after);
    }

    async fn ask(&self, certificate: &CertificateIdentifier<'_>) -> Result<Answer, String> {
        // Whoever has no account there has no certificate from there.
        let Some(account) = self.own_account().await? else {
            return Ok(Answer::Silent);
        };
        let (heard, pause) = match account.renewal_info(certificate).await {
            Ok(heard) => heard,
            Err(instant_acme::Error::Unsupported(_)) => return Ok(Answer::Silent),
            Err(error) => return Err(told("when to renew", &error)),
        };
        let window = Window {
            start: heard.suggested_window.start.unix_timestamp(),
            end: heard.suggested_window.end.unix_timestamp(),
        };
        renewal::suggested(window, pause, heard.explanation_url)
    }

    async fn attempt(&self, name: &Domain) {
        let obtained = match tokio::time::timeout(ATTEMPT_TIMEOUT, self.obtain(name)).await {
            Ok(obtained) => obtained,
            Err(_) => Err(format!("it was not done within {ATTEMPT_TIMEOUT:?}")),
        };
        let kept = obtained.and_then(|pem| self.files.keep(name, &pem));
        let outcome = kept.and_then(|()| (self.installed)());
        let before = self.files.state(name);
        match outcome {
            Ok(()) => {
                self.files.set_state(name, State::default());
                tracing::info!(%name, "a certificate was issued");
            }
            Err(cause) => {
                let failures = before.failures.saturating_add(1);
                let pause = schedule::pause(failures, chance());
                tracing::error!(%name, cause, failures, again_in_seconds = pause.as_secs(), "no certificate was issued");
                let state = State {
                    failures,
                    cause,
                    next_try: SystemClock.now().seconds() + i64::try_from(pause.as_secs()).unwrap_or(0),
                };
                self.files.set_state(name, state);
            }
        }
    }

    /// The chain and its key, in one PEM text.
    async fn obtain(&self, name: &Domain) -> Result<String, String> {
        let account = self.account().await?;
        let mut order = self.order(name, &account).await?;
        let shown = self.show(name, &mut order).await?;
        let policy = RetryPolicy::default().timeout(POLL_TIMEOUT);
        let status = order.poll_ready(&policy).await;
        let status = status.map_err(|error| told("the challenge", &error))?;
        if status != OrderStatus::Ready {
            return Err(format!(
                "the issuer did not find the name to be ours: {}",
                reason(&mut order).await
            ));
        }
        drop(shown);
        let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
        let parameters = rcgen::CertificateParams::new([name.as_str().to_owned()]);
        let request = parameters.and_then(|parameters| parameters.serialize_request(&key));
        let request = request.map_err(|error| error.to_string())?;
        let finalized = order.finalize_csr(request.der()).await;
        finalized.map_err(|error| told("the request", &error))?;
        let chain = order.poll_certificate(&policy).await;
        let chain = chain.map_err(|error| told("the certificate", &error))?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// An issuer that suggests when to renew is told which certificate it is that is renewed (RFC 9773 §5): it may then ask for
    /// less. One that takes that amiss is not told.
    async fn order(&self, name: &Domain, account: &Account) -> Result<Order, String> {
        let names = [Identifier::Dns(name.as_str().to_owned())];
        let known = self.files.suggestion(name);
        let replaced = match known.and_then(|known| known.window) {
            Some(_) => self.files.identifier(name),
            None => None,
        };
        if let Some(replaced) = replaced {
            match account.new_order(&NewOrder::new(&names).replaces(replaced)).await {
                Ok(order) => return Ok(order),
                Err(error) => tracing::info!(%name, %error, "ordered without naming the old certificate"),
            }
        }
        let order = account.new_order(&NewOrder::new(&names)).await;
        order.map_err(|error| told("the order", &error))
    }

    /// Shows all that the issuer asks for, and says so.
    async fn show(&self, name: &Domain, order: &mut Order) -> Result<Vec<Shown>, String> {
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| told("the authorization", &error))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(format!("the authorization is {other:?}")),
            }
            let kind = match self.settings.challenge {
                Challenge::Http => ChallengeType::Http01,
                Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
            };
            let Some(mut challenge) = authorization.challenge(kind) else {
                return Err("the issuer does not offer this challenge (acme.challenge)".to_owned());
            };
            let answer = challenge.key_authorization();
            shown.push(match self.settings.challenge {
                Challenge::Http => self.challenges.show_token(&challenge.token, answer.as_str())?,
                Challenge::TlsAlpn => self
                    .challenges
                    .show_certificate(name.as_str(), answer.digest().as_ref())?,
            });
            challenge
                .set_ready()
                .await
                .map_err(|error| told("the challenge", &error))?;
        }
        Ok(shown)
    }

    fn builder(&self) -> Result<AccountBuilder, String> {
        let builder = match &self.settings.ca_file {
            Some(roots) => Account::builder_with_root(roots),
            None => Account::builder(),
        };
        builder.map_err(|error| told("the connection", &error))
    }

    /// The account that this server has with the issuer.
    async fn own_account(&self) -> Result<Option<Account>, String> {
        let Some(credentials) = self.files.account(&self.settings.directory)? else {
            return Ok(None);
        };
        let account = self.builder()?.from_credentials(credentials).await;
        account.map(Some).map_err(|error| told("the account", &error))
    }

    /// The same, made if there is none yet.
    async fn account(&self) -> Result<Account, String> {
        if let Some(account) = self.own_account().await? {
            return Ok(account);
        }
        let contact = format!("mailto:{}", self.settings.contact);
        let contacts: &[&str] = if self.settings.contact.is_empty() {
            &[]
        } else {
            &[&contact]
        };
        let new = NewAccount {
            contact: contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let binding = self.settings.binding.as_ref().map(Binding::key).transpose()?;
        let made = self
            .builder()?
            .create(&new, self.settings.directory.clone(), binding.as_ref())
            .await;
        let (account, credentials) = made.map_err(|error| told("the account", &error))?;
        self.files.keep_account(&self.settings.directory, &credentials)?;
        Ok(account)
    }
}

fn tell_suggestion(name: &Domain, known: &Suggestion, answer: &Result<Answer, String>) {
    match answer {
        Ok(Answer::Suggested { window, reason, .. }) if known.window != Some(*window) => {
            let reason = reason.as_deref().map(short);
            tracing::info!(%name, from = window.start, to = window.end, reason, "the issuer suggests when to renew");
        }
        Err(error) if known.failures == 0 => {
            tracing::warn!(%name, error, "the issuer does not say when to renew; it is done in time all the same");
        }
        _ => {}
    }
}

/// What the issuer says of a challenge that failed.
async fn reason(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let problem = authorization
            .challenges
            .iter()
            .find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            return short(&problem.to_string());
        }
    }
    "it gives no reason".to_owned()
}

fn told(what: &str, error: &instant_acme::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    short(&format!("{what}: {text}"))
}

/// It goes into the log and a file, whatever the issuer says.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}

/// Without entropy everybody comes in time.
fn chance() -> u32 {
    getrandom::u32().unwrap_or(0)
}
