//! Tokens that prove themselves: JWTs signed by a public key of the issuer.
//!
//! Invariants: the key decides what it may be used for, not the token (RFC 8725 §3.1): a secret is no public key, and the
//! algorithm has to be one of the key's kind.

use super::{Evidence, IssuerConfig, named_by};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

/// What a token says of the key it is signed with.
pub struct Wanted {
    key_id: Option<String>,
    algorithm: Algorithm,
}

/// What `token` is signed with, if it is a JWT that could be.
pub fn key_of(token: &str) -> Option<Wanted> {
    if token.split('.').count() != 3 {
        return None;
    }
    let header = decode_header(token).ok()?;
    Some(Wanted {
        key_id: header.kid,
        algorithm: header.alg,
    })
}

impl Wanted {
    /// The key of a set. Without a name there must be one only that could be meant.
    pub fn find<'a>(&self, set: &'a JwkSet) -> Option<&'a Jwk> {
        let mut fitting = set.keys.iter().filter(|key| self.fits(key));
        let found = fitting.next()?;
        (self.key_id.is_some() || fitting.next().is_none()).then_some(found)
    }

    fn fits(&self, key: &Jwk) -> bool {
        use Algorithm as A;
        let is_named = self.key_id.is_none() || self.key_id == key.common.key_id;
        let is_for_signatures =
            !matches!(&key.common.public_key_use, Some(usage) if *usage != PublicKeyUse::Signature);
        let is_kind = match &key.algorithm {
            AlgorithmParameters::RSA(_) => matches!(
                self.algorithm,
                A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512
            ),
            AlgorithmParameters::EllipticCurve(_) => matches!(self.algorithm, A::ES256 | A::ES384),
            AlgorithmParameters::OctetKeyPair(_) => self.algorithm == A::EdDSA,
            AlgorithmParameters::OctetKey(_) => false,
        };
        is_named && is_for_signatures && is_kind
    }
}

/// Whose `token` is, signed by `key`.
pub fn owner(token: &str, key: &Jwk, config: &IssuerConfig, now: i64) -> Option<String> {
    let wanted = key_of(token)?;
    let key = DecodingKey::from_jwk(key).ok()?;
    let mut validation = Validation::new(wanted.algorithm);
    // Time, issuer and audience are looked at below, alike for tokens of both kinds.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = decode::<serde_json::Value>(token, &key, &validation).ok()?.claims;
    named_by(&claims, config, now, Evidence::Signed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            let document =
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
            let document = document.expect("entropy");
            Self(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
                    .expect("just made"),
            )
        }

        fn jwk(&self, id: &str) -> serde_json::Value {
            let point = self.0.public_key().as_ref();
            let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y})
        }

        fn token(&self, header: &serde_json::Value, claims: &serde_json::Value) -> String {
            let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let text = format!("{}.{}", part(header), part(claims));
            let signature = self
                .0
                .sign(&SystemRandom::new(), text.as_bytes())
                .expect("entropy");
            format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
        }
    }

    fn set(keys: &[serde_json::Value]) -> JwkSet {
        serde_json::from_value(json!({ "keys": keys })).expect("keys")
    }

    fn owner_in(set: &JwkSet, token: &str) -> Option<String> {
        let wanted = key_of(token)?;
        owner(token, wanted.find(set)?, &config(), 900)
    }

    #[test]
    fn a_token_is_good_by_the_key_it_names_and_by_no_other() {
        let (first, second) = (Signer::new(), Signer::new());
        let keys = set(&[first.jwk("1"), second.jwk("2")]);
        let claims = json!({
            "iss": "https://login.example", "aud": "mail", "exp": 1_000, "scope": "imap", "email": "bob@x.test"
        });
        let header = |id: &str| json!({"alg": "ES256", "kid": id});
        assert_eq!(
            owner_in(&keys, &first.token(&header("1"), &claims)).as_deref(),
            Some("bob@x.test")
        );
        assert_eq!(
            owner_in(&keys, &first.token(&header("2"), &claims)),
            None,
            "another key"
        );
        assert_eq!(
            owner_in(&keys, &first.token(&header("3"), &claims)),
            None,
            "an unknown key"
        );
        let nameless = first.token(&json!({"alg": "ES256"}), &claims);
        assert_eq!(owner_in(&keys, &nameless), None, "two could be meant");
        assert!(owner_in(&set(&[first.jwk("1")]), &nameless).is_some());
        let good = first.token(&header("1"), &claims);
        let (signed, signature) = good.rsplit_once('.').expect("three parts");
        let (head, _) = signed.split_once('.').expect("three parts");
        let other = URL_SAFE_NO_PAD.encode(claims.to_string().replace("bob", "eve"));
        assert_eq!(owner_in(&keys, &format!("{head}.{other}.{signature}")), None);
        let nobody = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for bad in [
            "",
            "a",
            "a.b.c",
            "...",
            &format!("{nobody}.{other}."),
            &format!("{signed}."),
        ] {
            assert_eq!(owner_in(&keys, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_published_key_is_no_shared_secret() {
        let signer = Signer::new();
        let mut secret = signer.jwk("1");
        secret["kty"] = "oct".into();
        secret["k"] = "c2VjcmV0".into();
        let claims =
            json!({"iss": "https://login.example", "aud": "mail", "exp": 1_000, "email": "bob@x.test"});
        let header = jsonwebtoken::Header {
            kid: Some("1".to_owned()),
            ..jsonwebtoken::Header::new(Algorithm::HS256)
        };
        let token = jsonwebtoken::encode(
            &header,
            &claims,
            &jsonwebtoken::EncodingKey::from_secret(b"secret"),
        );
        let token = token.expect("a token");
        for keys in [set(&[secret]), set(&[signer.jwk("1")])] {
            assert_eq!(owner_in(&keys, &token), None);
        }
    }
}
