//! SCRAM, the server's side (RFC 5802, 7677): a password is proven without being told, and the server proves that it
//! knows it too.
//!
//! Invariants: a proof is compared in constant time; with a channel binding it holds for this TLS channel only, and a
//! client that could have bound but was told that we cannot is refused (§6, downgrade); mandatory extensions are refused.
//! The nonce of this side comes with the verifier: nothing here is random.
//! Not here: base64 and cancelling (`exchange`), where verifiers are kept (`directory`).

use super::{Bindings, SaslError};
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;

/// Iterations for new verifiers: RFC 7677 asks for at least 4,096; more makes guessing from a stolen one dearer, and each
/// login of a client.
pub const ITERATIONS: u32 = 10_000;

/// Longest nonce a client may send, octets.
const NONCE_BYTES_MAX: usize = 256;

/// Which hash the mechanism is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// RFC 5802
    Sha1,
    /// RFC 7677
    Sha256,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }

    fn sign(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac(), key), message)
            .as_ref()
            .to_vec()
    }
}

/// What a server keeps of a password: enough to check a proof, and to be guessed from, but not to log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Of which mechanism.
    pub hash: Hash,
    /// Random, told to everybody who asks.
    pub salt: Vec<u8>,
    /// Of PBKDF2.
    pub iterations: NonZeroU32,
    /// H(ClientKey)
    pub stored_key: Vec<u8>,
    /// Proves that the server knows the password.
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// Of a password. Slow on purpose: not on a data core. `None`: the password has characters that SASLprep forbids
    /// (RFC 4013).
    #[must_use]
    pub fn of_password(hash: Hash, password: &str, salt: Vec<u8>, iterations: NonZeroU32) -> Option<Self> {
        let password = stringprep::saslprep(password).ok()?;
        let mut salted = vec![0; hash.digest().output_len()];
        pbkdf2::derive(hash.pbkdf2(), iterations, &salt, password.as_bytes(), &mut salted);
        let client_key = hash.sign(&salted, b"Client Key");
        let verifier = Self {
            hash,
            salt,
            iterations,
            stored_key: digest::digest(hash.digest(), &client_key).as_ref().to_vec(),
            server_key: hash.sign(&salted, b"Server Key"),
        };
        super::wipe(&mut salted);
        Some(verifier)
    }

    /// One that no password fits, for names that nobody has: `seed` is a keyed digest of the name, so that the same name
    /// is always told the same salt, as a real one would be. Thirty-two octets.
    #[must_use]
    pub fn of_nobody(hash: Hash, seed: &[u8; 32], iterations: NonZeroU32) -> Self {
        let length = hash.digest().output_len();
        Self {
            hash,
            salt: seed[..16].to_vec(),
            iterations,
            // A hash that has no known input.
            stored_key: hash.sign(seed, b"nobody's stored key")[..length].to_vec(),
            server_key: hash.sign(seed, b"nobody's server key")[..length].to_vec(),
        }
    }
}

/// How a client binds to the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    EndPoint,
    Exporter,
}

impl Binding {
    fn find(name: &str) -> Option<Self> {
        match name {
            "tls-server-end-point" => Some(Self::EndPoint),
            "tls-exporter" => Some(Self::Exporter),
            _ => None,
        }
    }

    fn of(self, bindings: &Bindings) -> Option<&[u8]> {
        match self {
            Self::EndPoint => bindings.end_point.as_deref(),
            Self::Exporter => bindings.exporter.as_deref(),
        }
    }
}

/// What the client's first message said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    /// What the client-final message repeats in front of the channel's name.
    gs2_header: Vec<u8>,
    binding: Option<Binding>,
    bare: String,
    nonce: String,
    pub login: Box<str>,
    pub authorization: Option<Box<str>>,
}

impl ClientFirst {
    /// `is_plus`: the mechanism is a bound one. `bindings`: the names of the channel, without which none such was offered.
    pub fn parse(message: &[u8], is_plus: bool, bindings: &Bindings) -> Result<Self, SaslError> {
        let text = std::str::from_utf8(message).map_err(|_| SaslError::Syntax)?;
        let (flag, rest) = text.split_once(',').ok_or(SaslError::Syntax)?;
        let (authorization, bare) = rest.split_once(',').ok_or(SaslError::Syntax)?;
        let binding = match flag {
            "n" => None,
            // The client thinks that we cannot bind. If we can, somebody has changed our offer (§6).
            "y" if bindings.is_any() => return Err(SaslError::Binding),
            "y" => None,
            _ => {
                let name = flag.strip_prefix("p=").ok_or(SaslError::Syntax)?;
                let found = Binding::find(name).filter(|binding| binding.of(bindings).is_some());
                Some(found.ok_or(SaslError::Binding)?)
            }
        };
        if binding.is_some() != is_plus {
            return Err(SaslError::Binding);
        }
        let authorization = match authorization {
            "" => None,
            named => Some(sasl_name(named.strip_prefix("a=").ok_or(SaslError::Syntax)?)?),
        };
        let mut attributes = bare.split(',');
        // `m=` would stand first: a mandatory extension, of which there are none.
        let name = attributes.next().and_then(|name| name.strip_prefix("n="));
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let (Some(name), Some(nonce)) = (name, nonce) else {
            return Err(SaslError::Syntax);
        };
        let is_nonce =
            (1..=NONCE_BYTES_MAX).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_graphic());
        if !is_nonce {
            return Err(SaslError::Syntax);
        }
        let login = sasl_name(name)?;
        Ok(Self {
            gs2_header: text.as_bytes()[..text.len() - bare.len()].to_vec(),
            binding,
            nonce: nonce.to_owned(),
            // Acting as oneself is no delegation.
            authorization: authorization.filter(|wanted| *wanted != login),
            login,
            bare: bare.to_owned(),
        })
    }
}

/// Undoes `=2C` and `=3D`; prepared as RFC 5802 §5.1 says.
fn sasl_name(text: &str) -> Result<Box<str>, SaslError> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        name.push_str(&rest[..at]);
        name.push(match rest.get(at..at + 3) {
            Some("=2C") => ',',
            Some("=3D") => '=',
            _ => return Err(SaslError::Syntax),
        });
        rest = &rest[at + 3..];
    }
    name.push_str(rest);
    let name = stringprep::saslprep(&name).map_err(|_| SaslError::Syntax)?;
    super::parse_name(name.as_bytes())?.ok_or(SaslError::Syntax)
}

/// The exchange behind the first message.
#[derive(Clone)]
pub(super) struct Server {
    first: ClientFirst,
    verifier: Verifier,
    /// Client's and server's.
    nonce: String,
    server_first: String,
}

impl Server {
    /// `nonce` is this side's: printable ASCII without commas, never used before.
    pub fn new(first: ClientFirst, verifier: Verifier, nonce: &str) -> Self {
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(&verifier.salt),
            verifier.iterations
        );
        Self {
            first,
            verifier,
            nonce,
            server_first,
        }
    }

    /// The server-first-message.
    pub fn challenge(&self) -> Vec<u8> {
        self.server_first.clone().into_bytes()
    }

    /// Who it is about.
    pub fn into_names(self) -> (Box<str>, Option<Box<str>>) {
        (self.first.login, self.first.authorization)
    }

    /// Checks the client-final-message; `Ok` has the server-final-message, if the proof was right. `bindings`: the names
    /// of the channel.
    pub fn prove(&self, message: &[u8], bindings: &Bindings) -> Result<Option<Vec<u8>>, SaslError> {
        let text = std::str::from_utf8(message).map_err(|_| SaslError::Syntax)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(SaslError::Syntax)?;
        let proof = STANDARD.decode(proof).map_err(|_| SaslError::Syntax)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|binding| binding.strip_prefix("c="));
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(SaslError::Syntax);
        };
        self.check_binding(binding, bindings)?;
        let hash = self.verifier.hash;
        if nonce != self.nonce || proof.len() != hash.digest().output_len() {
            return Err(SaslError::Syntax);
        }
        let auth_message = format!("{},{},{without_proof}", self.first.bare, self.server_first);
        let signature = hash.sign(&self.verifier.stored_key, auth_message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let stored_key = digest::digest(hash.digest(), &client_key);
        let is_right =
            constant_time::verify_slices_are_equal(stored_key.as_ref(), &self.verifier.stored_key).is_ok();
        let signature = hash.sign(&self.verifier.server_key, auth_message.as_bytes());
        Ok(is_right.then(|| format!("v={}", STANDARD.encode(signature)).into_bytes()))
    }

    fn check_binding(&self, said: &str, bindings: &Bindings) -> Result<(), SaslError> {
        let said = STANDARD.decode(said).map_err(|_| SaslError::Syntax)?;
        let mut meant = self.first.gs2_header.clone();
        if let Some(binding) = self.first.binding {
            meant.extend_from_slice(binding.of(bindings).ok_or(SaslError::Binding)?);
        }
        (said == meant).then_some(()).ok_or(SaslError::Binding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iterations() -> NonZeroU32 {
        NonZeroU32::new(4096).expect("not zero")
    }

    fn verifier(hash: Hash, salt: &str) -> Verifier {
        let salt = STANDARD.decode(salt).expect("base64");
        Verifier::of_password(hash, "pencil", salt, iterations()).expect("plain letters")
    }

    /// The exchange of an RFC: what the client says, and what must come back.
    fn exchange(verifier: Verifier, nonce: &str, messages: [&str; 4]) {
        let [first, challenge, last, end] = messages;
        let first = ClientFirst::parse(first.as_bytes(), false, &Bindings::default()).expect("of an RFC");
        assert_eq!(&*first.login, "user");
        let server = Server::new(first, verifier, nonce);
        assert_eq!(server.challenge(), challenge.as_bytes());
        assert_eq!(
            server.prove(last.as_bytes(), &Bindings::default()),
            Ok(Some(end.into()))
        );
        let (without_proof, proof) = last.split_once("p=").expect("a proof");
        let wrong = format!("{without_proof}p=A{}", &proof[1..]);
        assert_eq!(server.prove(wrong.as_bytes(), &Bindings::default()), Ok(None));
    }

    #[test]
    fn the_exchanges_of_the_rfcs_come_out_as_printed() {
        exchange(
            verifier(Hash::Sha1, "QSXCR+Q6sek8bf92"),
            "3rfcNHYJY1ZVvWVs7j",
            [
                "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ],
        );
        exchange(
            verifier(Hash::Sha256, "W22ZaJ0SNY7soEsUEjb6gQ=="),
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            [
                "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ],
        );
    }

    /// A client: the final message for what the server said.
    fn client_final(
        hash: Hash,
        password: &str,
        first_bare: &str,
        server_first: &str,
        binding: &[u8],
    ) -> String {
        let part = |name: &str| {
            let parts = server_first.split(',');
            parts
                .clone()
                .find_map(|part| part.strip_prefix(name))
                .expect("said")
                .to_owned()
        };
        let salt = STANDARD.decode(part("s=")).expect("base64");
        let iterations = part("i=").parse().expect("a number");
        let mut salted = vec![0; hash.digest().output_len()];
        pbkdf2::derive(hash.pbkdf2(), iterations, &salt, password.as_bytes(), &mut salted);
        let client_key = hash.sign(&salted, b"Client Key");
        let stored_key = digest::digest(hash.digest(), &client_key);
        let without_proof = format!("c={},r={}", STANDARD.encode(binding), part("r="));
        let auth_message = format!("{first_bare},{server_first},{without_proof}");
        let signature = hash.sign(stored_key.as_ref(), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    fn named(end_point: &str, exporter: &str) -> Bindings {
        let name = |text: &str| (!text.is_empty()).then(|| text.as_bytes().into());
        Bindings {
            end_point: name(end_point),
            exporter: name(exporter),
        }
    }

    #[test]
    fn a_proof_holds_for_its_password_and_its_channel_only() {
        let bare = "n=a=2Cb=3Dc,r=abc";
        for (kind, name) in [("tls-server-end-point", "here"), ("tls-exporter", "this")] {
            let bindings = named("here", "this");
            let header = format!("p={kind},a=boss,");
            let first = ClientFirst::parse(format!("{header}{bare}").as_bytes(), true, &bindings);
            let first = first.expect("well-formed");
            assert_eq!(
                (&*first.login, first.authorization.as_deref()),
                ("a,b=c", Some("boss"))
            );
            let server = Server::new(first, verifier(Hash::Sha256, "W22ZaJ0SNY7soEsUEjb6gQ=="), "xyz");
            let server_first = String::from_utf8(server.challenge()).expect("ASCII");
            let last = |password, bound: &str| {
                client_final(Hash::Sha256, password, bare, &server_first, bound.as_bytes())
            };
            let prove = |message: &str, bindings: &Bindings| server.prove(message.as_bytes(), bindings);
            let right = last("pencil", &format!("{header}{name}"));
            assert!(matches!(prove(&right, &bindings), Ok(Some(_))));
            for other in [
                named("elsewhere", "another"),
                named("this", "here"),
                named("", ""),
            ] {
                assert_eq!(prove(&right, &other), Err(SaslError::Binding));
            }
            let wrong = last("pencils", &format!("{header}{name}"));
            assert_eq!(prove(&wrong, &bindings), Ok(None));
            assert_eq!(prove(&last("pencil", "n,,"), &bindings), Err(SaslError::Binding));
        }
    }

    #[test]
    fn downgrades_and_what_is_not_scram_are_refused() {
        let parse = |text: &str, is_plus, bindings: &Bindings| {
            ClientFirst::parse(text.as_bytes(), is_plus, bindings).map(|first| first.login)
        };
        let (none, both) = (Bindings::default(), named("a", "b"));
        assert!(parse("y,,n=u,r=a", false, &none).is_ok() && parse("n,,n=u,r=a", false, &both).is_ok());
        assert!(parse("p=tls-exporter,,n=u,r=a", true, &both).is_ok());
        for (text, is_plus, bindings) in [
            ("y,,n=u,r=a", false, &both),
            ("y,,n=u,r=a", true, &both),
            ("n,,n=u,r=a", true, &both),
            ("p=tls-server-end-point,,n=u,r=a", false, &both),
            ("p=tls-server-end-point,,n=u,r=a", true, &named("", "b")),
            ("p=tls-exporter,,n=u,r=a", true, &named("a", "")),
            ("p=tls-exporter,,n=u,r=a", true, &none),
            ("p=tls-unique,,n=u,r=a", true, &both),
        ] {
            assert_eq!(parse(text, is_plus, bindings), Err(SaslError::Binding), "{text}");
        }
        for text in [
            "",
            "n",
            "n,,",
            "n,,n=u",
            "n,,m=x,n=u,r=a",
            "n,,n=,r=a",
            "n,,n=u=2,r=a",
            "n,,n=u,r=",
            "x,,n=u,r=a",
            "n,b,n=u,r=a",
            "n,,r=a,n=u",
        ] {
            assert_eq!(parse(text, false, &none), Err(SaslError::Syntax), "{text}");
        }
    }

    #[test]
    fn nobody_is_told_the_same_salt_each_time_and_has_no_password() {
        let of = |seed: u8| Verifier::of_nobody(Hash::Sha1, &[seed; 32], iterations());
        assert!(of(1) == of(1) && of(1).salt != of(2).salt);
        assert_eq!(of(1).stored_key.len(), 20);
    }
}
