//! What a chain of certificates is worth to whoever looks for a name: its order, its ends, and who vouches for it.
//!
//! First as most programs look, with the issuers that this machine trusts and the certificates in any order; then, where that
//! fails or where only some programs manage, what is wrong with it in words.
//! LIMITATION: revocation is not looked at.
//! Failure: without any issuer that this machine trusts, only the chain itself is looked at.
//! Standards: RFC 5280 §6 (paths), RFC 8446 §4.4.2 (order: its own certificate first, each one's issuer behind it).
//! Not here: the names and the end of the host's own certificate (`certificates`, `listeners`).

use super::Verdict;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

/// Seconds before its end at which a certificate should have been renewed.
pub const SOON_SECONDS: i64 = 14 * 86_400;

/// Whom this machine trusts.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    subjects: HashSet<Vec<u8>>,
}

impl Roots {
    /// These; what cannot be read is left out, as programs do.
    #[must_use]
    pub fn new(certificates: &[CertificateDer<'static>]) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        let subject = |der: &CertificateDer<'_>| {
            let (_, certificate) = parse_x509_certificate(der).ok()?;
            Some(certificate.subject().as_raw().to_vec())
        };
        Self {
            store: Arc::new(store),
            subjects: certificates.iter().filter_map(subject).collect(),
        }
    }

    fn has(&self, name: &X509Name<'_>) -> bool {
        self.subjects.contains(name.as_raw())
    }
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub verdict: Verdict,
    pub found: String,
    pub advised: String,
}

fn fault(verdict: Verdict, found: String, advised: impl Into<String>) -> Option<Fault> {
    Some(Fault {
        verdict,
        found,
        advised: advised.into(),
    })
}

/// What is wrong with a chain, the host's own certificate first, at `now` (Unix time). One that signs itself and stands alone
/// is no chain.
#[must_use]
pub fn judge(chain: &[CertificateDer<'_>], roots: &Roots, now: i64) -> Option<Fault> {
    let mut all = Vec::with_capacity(chain.len());
    for (at, der) in chain.iter().enumerate() {
        match parse_x509_certificate(der) {
            Ok((_, certificate)) => all.push(certificate),
            Err(error) => {
                let found = format!("certificate {} of the chain cannot be read: {error}", at + 1);
                return fault(Verdict::Problem, found, "a chain of certificates (PEM)");
            }
        }
    }
    let own = all.first()?;
    if all.len() == 1 && is_self_signed(own) {
        return None;
    }
    let path = path(&all);
    if let Some(found) = ended(&path[1..], now) {
        return Some(found);
    }
    match verified(chain, own, roots, now) {
        // The rest does not matter to programs that put a chain in order, which not all of them do.
        Some(Ok(())) => out_of_order(&all, &path, Verdict::Advice),
        other => out_of_order(&all, &path, Verdict::Problem)
            .or_else(|| missing(&path, roots))
            .or_else(|| match other {
                Some(Err(error)) => fault(
                    Verdict::Problem,
                    format!("the chain is not good: {error}"),
                    "the chain as its issuer gave it",
                ),
                _ => None,
            }),
    }
}

fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}

/// From the host's own certificate to the last one whose issuer is not among them, wherever they stand.
fn path<'a, 'b>(all: &'b [X509Certificate<'a>]) -> Vec<&'b X509Certificate<'a>> {
    let mut path: Vec<&X509Certificate<'a>> = all.first().into_iter().collect();
    while let Some(last) = path.last().copied().filter(|last| !is_self_signed(last)) {
        let is_next = |other: &&X509Certificate<'_>| {
            other.subject().as_raw() == last.issuer().as_raw()
                && path.iter().all(|known| known.serial != other.serial)
        };
        match all.iter().find(is_next) {
            Some(next) => path.push(next),
            None => break,
        }
    }
    path
}

/// As programs verify it, for a name that it has; `None`: there is nobody to vouch, or no name to ask for.
fn verified(
    chain: &[CertificateDer<'_>],
    own: &X509Certificate<'_>,
    roots: &Roots,
    now: i64,
) -> Option<Result<(), rustls::Error>> {
    use rustls::client::danger::ServerCertVerifier as _;
    let alternative = own.subject_alternative_name().ok().flatten()?;
    let name = alternative
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.replacen('*', "any", 1)),
            _ => None,
        })?;
    let name = ServerName::try_from(name).ok()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.store.clone(), provider);
    // It is not built without roots.
    let verifier = verifier.build().ok()?;
    let (first, others) = chain.split_first()?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.max(0).unsigned_abs()));
    let outcome = verifier.verify_server_cert(first, others, &name, &[], now);
    Some(outcome.map(|_| ()))
}

/// An intermediate certificate that is not good now, or not for long.
fn ended(intermediates: &[&X509Certificate<'_>], now: i64) -> Option<Fault> {
    intermediates.iter().find_map(|certificate| {
        let name = called(certificate.subject());
        let validity = certificate.validity();
        if validity.not_after.timestamp() <= now {
            let found = format!("the intermediate certificate {name} has ended");
            return fault(
                Verdict::Problem,
                found,
                "the intermediate certificate that its issuer has now",
            );
        }
        if validity.not_before.timestamp() > now {
            let found = format!("the intermediate certificate {name} is not good yet");
            return fault(
                Verdict::Problem,
                found,
                "the right time of this machine, or another chain",
            );
        }
        if validity.not_after.timestamp() - now < SOON_SECONDS {
            let found = format!("the intermediate certificate {name} ends soon");
            return fault(
                Verdict::Advice,
                found,
                "the intermediate certificate that its issuer has now",
            );
        }
        None
    })
}

fn out_of_order(
    all: &[X509Certificate<'_>],
    path: &[&X509Certificate<'_>],
    verdict: Verdict,
) -> Option<Fault> {
    const ADVISED: &str = "the host's own certificate first, behind each one its issuer's";
    let own = all.first()?;
    let host = all.iter().find(|other| !other.is_ca());
    if let Some(host) = host.filter(|_| own.is_ca() && !is_self_signed(own)) {
        let found = format!(
            "wrong order: the chain begins with an issuer, {}, and not with the certificate of {}",
            called(own.subject()),
            called(host.subject())
        );
        return fault(Verdict::Problem, found, ADVISED);
    }
    let is_same = |one: &X509Certificate<'_>, other: &X509Certificate<'_>| one.serial == other.serial;
    let at = path
        .iter()
        .zip(all)
        .position(|(wanted, found)| !is_same(wanted, found))?;
    let found = format!(
        "wrong order: {} stands elsewhere than at place {}",
        called(path[at].subject()),
        at + 1
    );
    fault(verdict, found, ADVISED)
}

/// Who should vouch for the last one and does not.
fn missing(path: &[&X509Certificate<'_>], roots: &Roots) -> Option<Fault> {
    let last = path.last()?;
    if roots.subjects.is_empty() || roots.has(last.issuer()) {
        return None;
    }
    let issuer = called(last.issuer());
    if is_self_signed(last) {
        let found = format!("vouched for by {issuer}, whom this machine does not trust");
        return fault(
            Verdict::Advice,
            found,
            "an issuer that the world trusts, if not all who come here know that one",
        );
    }
    let found = format!(
        "an intermediate certificate is missing: {} is signed by {issuer}, which is neither in the chain nor trusted by this machine",
        called(last.subject())
    );
    fault(
        Verdict::Problem,
        found,
        format!("the certificate of {issuer} at the end of the chain's file (issuers call it fullchain)"),
    )
}

fn called(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    let text = common.map_or_else(|| name.to_string(), str::to_owned);
    let printable: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    if printable.is_empty() {
        "without a name".to_owned()
    } else {
        format!("{printable:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    const NOW: i64 = 1_800_000_000;

    fn parameters(name: &str, is_ca: bool, years: (i32, i32)) -> CertificateParams {
        let names = if is_ca {
            Vec::new()
        } else {
            vec!["mail.example.org".to_owned()]
        };
        let mut made = CertificateParams::new(names).expect("names");
        made.distinguished_name.push(DnType::CommonName, name);
        made.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        made.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        if is_ca {
            made.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        made
    }

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn root(name: &str) -> Authority {
        let key = KeyPair::generate().expect("entropy");
        CertifiedIssuer::self_signed(parameters(name, true, (2000, 2100)), key).expect("a root")
    }

    fn between(by: &Authority, name: &str, years: (i32, i32)) -> Authority {
        let key = KeyPair::generate().expect("entropy");
        CertifiedIssuer::signed_by(parameters(name, true, years), key, by).expect("an intermediate")
    }

    fn host(by: &Authority) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("entropy");
        let made = parameters("mail.example.org", false, (2000, 2100)).signed_by(&key, by);
        made.expect("a certificate").der().clone()
    }

    #[test]
    fn what_is_wrong_with_a_chain_is_told() {
        let top = root("Top");
        let upper = between(&top, "Upper", (2000, 2100));
        let lower = between(&upper, "Lower", (2000, 2100));
        let own = host(&lower);
        let der = |authority: &Authority| authority.der().clone();
        let trusted = Roots::new(&[der(&top)]);
        let nobody = Roots::new(&[]);
        let told = |chain: &[CertificateDer<'static>], roots: &Roots| judge(chain, roots, NOW);
        let whole = [own.clone(), der(&lower), der(&upper)];
        assert_eq!(told(&whole, &trusted), None);
        assert_eq!(told(&whole, &nobody), None);
        assert_eq!(
            told(&[&whole[..], &[der(&top)]].concat(), &trusted),
            None,
            "with its root"
        );

        let expect = |chain: &[CertificateDer<'static>], roots: &Roots, verdict, words: &str| {
            let fault = told(chain, roots).unwrap_or_else(|| panic!("{words}: nothing is told"));
            assert!(
                fault.verdict == verdict && fault.found.contains(words),
                "{words}: {fault:?}"
            );
            assert!(!fault.advised.is_empty());
        };
        let alone = &[own.clone()][..];
        expect(
            alone,
            &trusted,
            Verdict::Problem,
            "signed by \"Lower\", which is neither",
        );
        expect(
            &[own.clone(), der(&lower)],
            &trusted,
            Verdict::Problem,
            "signed by \"Upper\", which is neither",
        );
        expect(
            &[own.clone(), der(&upper)],
            &trusted,
            Verdict::Problem,
            "signed by \"Lower\", which is neither",
        );
        expect(
            &[own.clone(), der(&upper), der(&lower)],
            &trusted,
            Verdict::Advice,
            "wrong order: \"Lower\" stands elsewhere",
        );
        expect(
            &[der(&lower), own.clone(), der(&upper)],
            &trusted,
            Verdict::Problem,
            "wrong order: the chain begins",
        );
        let other = Roots::new(&[der(&root("Other"))]);
        expect(
            &[&whole[..], &[der(&top)]].concat(),
            &other,
            Verdict::Advice,
            "does not trust",
        );
        expect(&whole, &other, Verdict::Problem, "signed by \"Top\"");
        // Of the right name, by another key.
        let forged = host(&between(&upper, "Lower", (2000, 2100)));
        expect(
            &[forged, der(&lower), der(&upper)],
            &trusted,
            Verdict::Problem,
            "not good",
        );
        expect(
            &[own, CertificateDer::from(vec![1, 2])],
            &trusted,
            Verdict::Problem,
            "certificate 2",
        );
    }

    #[test]
    fn an_intermediate_has_its_own_end() {
        let top = root("Top");
        let trusted = Roots::new(&[top.der().clone()]);
        for (years, verdict, words) in [
            ((2000, 2020), Verdict::Problem, "has ended"),
            ((2090, 2100), Verdict::Problem, "not good yet"),
        ] {
            let old = between(&top, "Old", years);
            let fault = judge(&[host(&old), old.der().clone()], &trusted, NOW).expect("it is told");
            assert!(
                fault.verdict == verdict && fault.found.contains(words),
                "{fault:?}"
            );
        }
        let short = between(&top, "Short", (2000, 2030));
        let soon = 1_893_456_000 - SOON_SECONDS + 1;
        let fault = judge(&[host(&short), short.der().clone()], &trusted, soon).expect("it is told");
        assert_eq!(fault.verdict, Verdict::Advice, "{fault:?}");
    }

    #[test]
    fn what_signs_itself_and_stands_alone_is_no_chain() {
        let alone = crate::tls::self_signed(&["mail.example.org".to_owned()]).expect("a certificate");
        assert_eq!(judge(&alone.chain, &Roots::new(&[]), NOW), None);
        assert_eq!(judge(&[], &Roots::new(&[]), NOW), None);
    }
}
