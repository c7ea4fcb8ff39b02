//! The domain's DNS: what is there, against what `discovery::records` says should be.
//!
//! Invariants: a name server that does not answer makes a finding unknown, never missing; when nobody answers at all, that is
//! said once.
//! Limits: [`LOOKUP_TIMEOUT`] for each question.
//! Standards: RFC 7208 §3.2 (one SPF record), RFC 1912 §2.1 (addresses lead back to names).

use super::{Finding, Verdict};
use crate::discovery::records::Record;
use crate::model::Domain;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// What one question may take.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What DNS says: values as zone files have them, none if there is no such record; an error if nobody can tell.
type Answer = Result<Vec<String>, String>;

/// What is asked.
#[derive(Debug)]
pub struct Expected {
    pub hostname: Domain,
    /// As `discovery::records` makes them.
    pub records: Vec<Record>,
    /// This machine's own addresses, as far as it knows them.
    pub addresses: Vec<IpAddr>,
    /// Whether a policy for MTA-STS is served.
    pub has_mta_sts: bool,
}

/// Asks for everything. `server`: whom; without one, whom the machine asks.
pub async fn examine(expected: &Expected, server: Option<SocketAddr>) -> Vec<Finding> {
    let resolver = match resolver(server) {
        Ok(resolver) => resolver,
        Err(cause) => return vec![Finding::unknown("DNS", cause, WHY_ADDRESS)],
    };
    let dns = Dns(resolver);
    let hostname = expected.hostname.to_string();
    let addresses = dns.addresses(&hostname).await;
    if let Some(silence) = dns.silence(&addresses, &expected.records).await {
        return vec![silence];
    }
    let mut findings = vec![of_hostname(&hostname, &addresses, &expected.addresses)];
    for address in addresses.iter().flatten() {
        if let Ok(address) = address.parse() {
            findings.push(of_reverse(&hostname, address, &dns.names(address).await));
        }
    }
    for record in &expected.records {
        let is_policy = record.name.starts_with("_mta-sts.") || record.name.starts_with("mta-sts.");
        if is_policy && !expected.has_mta_sts {
            continue;
        }
        match record.kind {
            // Above, whatever this machine believes to be.
            "A" | "AAAA" => {}
            "CNAME" => {
                let found = dns.addresses(&record.name).await;
                findings.push(of_alias(record, &found, &addresses));
            }
            kind => {
                let found = dns.values(&record.name, kind).await;
                findings.push(of_record(record, &found));
            }
        }
    }
    findings
}

struct Dns(TokioResolver);

fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let builder = match server {
        Some(server) => {
            let on_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
            let server = NameServerConfig::new(server.ip(), true, connections);
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
    };
    builder.build().map_err(|error| error.to_string())
}

impl Dns {
    async fn lookup(&self, name: Name, kind: RecordType) -> Answer {
        let asked = tokio::time::timeout(LOOKUP_TIMEOUT, self.0.lookup(name, kind)).await;
        match asked {
            Err(_) => Err("no name server answered".to_owned()),
            Ok(Err(error)) if error.is_no_records_found() => Ok(Vec::new()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(lookup)) => {
                let of_kind = lookup
                    .answers()
                    .iter()
                    .filter(|record| record.record_type() == kind);
                Ok(of_kind.map(|record| shown(&record.data)).collect())
            }
        }
    }

    async fn values(&self, name: &str, kind: &str) -> Answer {
        let name = absolute(name)?;
        let kind = RecordType::from_str(kind).map_err(|error| error.to_string())?;
        self.lookup(name, kind).await
    }

    /// Of both families. One that cannot be told hides nothing of the other.
    async fn addresses(&self, name: &str) -> Answer {
        let name = absolute(name)?;
        let v4 = self.lookup(name.clone(), RecordType::A).await;
        let v6 = self.lookup(name, RecordType::AAAA).await;
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok([v4, v6].concat()),
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => Ok(some),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Nobody can tell the host's addresses and where mail goes: nothing more is asked, and it is said once.
    async fn silence(&self, addresses: &Answer, records: &[Record]) -> Option<Finding> {
        let cause = addresses.as_ref().err()?;
        let mx = records.iter().find(|record| record.kind == "MX")?;
        self.values(&mx.name, mx.kind).await.err()?;
        let found = format!(
            "no name server answers ({cause}): of {} records none could be looked at",
            records.len()
        );
        let advised = "a route to a name server (/etc/resolv.conf), or --resolver ADDRESS:PORT";
        Some(Finding::unknown("DNS", found, WHY_ADDRESS).but(Verdict::Unknown, advised))
    }

    async fn names(&self, address: IpAddr) -> Answer {
        self.lookup(Name::from(address), RecordType::PTR).await
    }
}

fn absolute(name: &str) -> Result<Name, String> {
    Name::from_ascii(format!("{name}.")).map_err(|error| error.to_string())
}

fn shown(data: &RData) -> String {
    match data {
        RData::TXT(text) => {
            let octets: Vec<u8> = text
                .txt_data
                .iter()
                .flat_map(|piece| piece.iter().copied())
                .collect();
            String::from_utf8_lossy(&octets).into_owned()
        }
        other => other.to_string(),
    }
}

const WHY_ADDRESS: &str =
    "others find this machine by its name, and take mail only from one whose address leads back to it";

fn listed(values: &[String]) -> String {
    match values {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    }
}

fn of_hostname(hostname: &str, found: &Answer, own: &[IpAddr]) -> Finding {
    let what = "DNS: address";
    match found {
        Err(cause) => Finding::unknown(what, format!("{hostname}: {cause}"), WHY_ADDRESS),
        Ok(found) if found.is_empty() => Finding::good(what, format!("{hostname} has none"), WHY_ADDRESS)
            .but(
                Verdict::Problem,
                "A and AAAA records with this machine's public addresses",
            ),
        Ok(found) => {
            let finding = Finding::good(what, format!("{hostname} is {}", listed(found)), WHY_ADDRESS);
            let is_ours = |address: &String| {
                address
                    .parse()
                    .is_ok_and(|address: IpAddr| own.contains(&address))
            };
            if found.iter().any(is_ours) {
                return finding;
            }
            let own: Vec<String> = own.iter().map(ToString::to_string).collect();
            let advised = format!("this machine is {}: is that translated to it?", listed(&own));
            finding.but(Verdict::Advice, advised)
        }
    }
}

fn of_reverse(hostname: &str, address: IpAddr, found: &Answer) -> Finding {
    let what = "DNS: reverse";
    match found {
        Err(cause) => Finding::unknown(what, format!("{address}: {cause}"), WHY_ADDRESS),
        Ok(names) => {
            let finding = Finding::good(what, format!("{address} is {}", listed(names)), WHY_ADDRESS);
            if names.iter().any(|name| is_name(name, hostname)) {
                return finding;
            }
            let advised = format!("a PTR record with {hostname}. (whoever gave you the address makes it)");
            finding.but(Verdict::Advice, advised)
        }
    }
}

fn is_name(found: &str, name: &str) -> bool {
    found
        .trim_end_matches('.')
        .eq_ignore_ascii_case(name.trim_end_matches('.'))
}

/// A name that should lead to where the host is, by whatever records.
fn of_alias(record: &Record, found: &Answer, host: &Answer) -> Finding {
    let what = "DNS: alias";
    let (Ok(found), Ok(host)) = (found, host) else {
        let cause = found.as_ref().err().or(host.as_ref().err());
        let cause = cause.map_or("", String::as_str);
        return Finding::unknown(what, format!("{}: {cause}", record.name), record.purpose);
    };
    let finding = Finding::good(
        what,
        format!("{} is {}", record.name, listed(found)),
        record.purpose,
    );
    let set = |values: &[String]| values.iter().cloned().collect::<BTreeSet<String>>();
    if !found.is_empty() && set(found).is_subset(&set(host)) {
        return finding;
    }
    finding.but(Verdict::Advice, record.to_string())
}

fn of_record(record: &Record, found: &Answer) -> Finding {
    let what = match record.kind {
        "MX" => "DNS: MX",
        "SRV" => "DNS: service",
        _ => "DNS: text",
    };
    let found = match found {
        Ok(found) => found,
        Err(cause) => return Finding::unknown(what, format!("{}: {cause}", record.name), record.purpose),
    };
    let wanted = texts(&record.value);
    let same_kind = relevant(&wanted, found);
    let finding = Finding::good(
        what,
        format!("{}: {}", record.name, short(&same_kind)),
        record.purpose,
    );
    let verdict = match record.kind {
        // Mail does not come in at all.
        "MX" if !found.iter().any(|value| leads_to(value, &record.value)) => Verdict::Problem,
        "SRV" if !found.iter().any(|value| leads_to(value, &record.value)) => Verdict::Advice,
        "TXT" => of_text(&wanted, &same_kind),
        _ => Verdict::Good,
    };
    match verdict {
        Verdict::Good => finding,
        verdict => finding.but(verdict, record.to_string()),
    }
}

/// A text without the quotes and pieces of a zone file.
fn texts(value: &str) -> String {
    let pieces: Vec<&str> = value.split('"').skip(1).step_by(2).collect();
    if pieces.is_empty() {
        value.to_owned()
    } else {
        pieces.concat()
    }
}

/// Texts of the same use: a name may have others, such as proofs of ownership.
fn relevant(wanted: &str, found: &[String]) -> Vec<String> {
    let Some((version, _)) = wanted
        .split_once([';', ' '])
        .filter(|(version, _)| version.starts_with("v="))
    else {
        return found.to_vec();
    };
    let is_one = |text: &&String| {
        let is_dkim = version == "v=DKIM1" && text.contains("p=");
        is_dkim
            || text
                .to_ascii_lowercase()
                .starts_with(&version.to_ascii_lowercase())
    };
    found.iter().filter(is_one).cloned().collect()
}

/// Policies are the admin's: that there is exactly one is what counts. A key has to be this one.
fn of_text(wanted: &str, found: &[String]) -> Verdict {
    let key = |text: &str| {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        compact
            .split(';')
            .find_map(|tag| tag.strip_prefix("p=").map(str::to_owned))
    };
    match found {
        [] => Verdict::Advice,
        [one] if wanted.starts_with("v=DKIM1") && key(one) != key(wanted) => Verdict::Problem,
        [_] => Verdict::Good,
        // Readers take none of them then.
        _ => Verdict::Problem,
    }
}

/// The last word of both is the same name; of services the port before it too.
fn leads_to(found: &str, wanted: &str) -> bool {
    let tail = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let port = if words.len() == 4 { words[2] } else { "" };
        let name = words.last().copied().unwrap_or_default();
        (port.to_owned(), name.trim_end_matches('.').to_ascii_lowercase())
    };
    tail(found) == tail(wanted)
}

fn short(values: &[String]) -> String {
    let text = listed(values);
    let cut: String = text.chars().take(100).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &'static str, value: &str) -> Record {
        Record {
            name: "example.org".to_owned(),
            kind,
            value: value.to_owned(),
            purpose: "a test",
        }
    }

    fn found(values: &[&str]) -> Answer {
        Ok(values.iter().map(|&value| value.to_owned()).collect())
    }

    fn verdict(kind: &'static str, wanted: &str, values: &[&str]) -> Verdict {
        of_record(&record(kind, wanted), &found(values)).verdict
    }

    #[test]
    fn mail_has_to_lead_here() {
        let wanted = "10 mail.example.org.";
        assert_eq!(verdict("MX", wanted, &["20 MAIL.example.org."]), Verdict::Good);
        assert_eq!(
            verdict("MX", wanted, &["10 a.example.net.", "20 mail.example.org."]),
            Verdict::Good
        );
        assert_eq!(verdict("MX", wanted, &["10 a.example.net."]), Verdict::Problem);
        assert_eq!(verdict("MX", wanted, &[]), Verdict::Problem);
        let answer = Err("no name server answered".to_owned());
        assert_eq!(
            of_record(&record("MX", wanted), &answer).verdict,
            Verdict::Unknown
        );
    }

    #[test]
    fn services_have_a_port_too() {
        let wanted = "0 1 993 mail.example.org.";
        assert_eq!(
            verdict("SRV", wanted, &["5 0 993 mail.example.org."]),
            Verdict::Good
        );
        assert_eq!(
            verdict("SRV", wanted, &["0 1 143 mail.example.org."]),
            Verdict::Advice
        );
    }

    #[test]
    fn a_policy_is_there_once_whatever_it_says() {
        let wanted = "\"v=spf1 mx -all\"";
        assert_eq!(
            verdict("TXT", wanted, &["proof=1", "v=spf1 a ~all"]),
            Verdict::Good
        );
        assert_eq!(verdict("TXT", wanted, &["proof=1"]), Verdict::Advice);
        assert_eq!(
            verdict("TXT", wanted, &["v=spf1 a", "v=spf1 mx"]),
            Verdict::Problem
        );
    }

    #[test]
    fn a_key_is_this_one() {
        let wanted = "\"v=DKIM1; k=rsa; p=AA\" \"BB\"";
        assert_eq!(verdict("TXT", wanted, &["v=DKIM1; k=rsa; p=AABB"]), Verdict::Good);
        assert_eq!(verdict("TXT", wanted, &["k=rsa;p=AA BB"]), Verdict::Good);
        assert_eq!(verdict("TXT", wanted, &["v=DKIM1; p=AAAA"]), Verdict::Problem);
        assert_eq!(verdict("TXT", wanted, &[]), Verdict::Advice);
    }

    #[test]
    fn addresses_lead_there_and_back() {
        let own: Vec<IpAddr> = vec!["192.0.2.1".parse().expect("one")];
        let of = |values: &[&str]| of_hostname("mail.example.org", &found(values), &own).verdict;
        assert_eq!(of(&["192.0.2.1", "2001:db8::1"]), Verdict::Good);
        assert_eq!(of(&["198.51.100.1"]), Verdict::Advice);
        assert_eq!(of(&[]), Verdict::Problem);
        let back = |values: &[&str]| of_reverse("mail.example.org", own[0], &found(values)).verdict;
        assert_eq!(back(&["Mail.example.org."]), Verdict::Good);
        assert_eq!(back(&["host1.provider.example."]), Verdict::Advice);
        let host = found(&["192.0.2.1"]);
        let alias =
            |values: &[&str]| of_alias(&record("CNAME", "mail.example.org."), &found(values), &host).verdict;
        assert_eq!(alias(&["192.0.2.1"]), Verdict::Good);
        assert_eq!(alias(&["198.51.100.1"]), Verdict::Advice);
        assert_eq!(alias(&[]), Verdict::Advice);
    }
}
