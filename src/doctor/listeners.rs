//! Every configured listener: whether it can be had, or who answers there, and the certificate that is shown.
//!
//! Invariants: an address is bound for a moment and never listened on, so nobody's connection is taken; the TLS that is told
//! is the one that was seen, not the one that is configured.
//! Limits: those of `talk`, for all listeners at the same time.
//! Not here: what the certificate files hold (`certificates`).

use super::certificates::{is_for, with_fault};
use super::chain::{self, Roots, SOON_SECONDS};
use super::talk::{self, Protocol, Seen, Shown};
use super::{Finding, Verdict};
use crate::net::try_bind;
use crate::session::Service;
use crate::tls::Described;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const WHAT: &str = "listener";

const WHY: &str = "mail comes in, and mail programs reach their mail, only where this server answers, with a certificate of \
     the name that they look for";

/// Seconds of a day.
const DAY: i64 = 86_400;

/// One listener of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    name: &'static str,
    address: SocketAddr,
    protocol: Protocol,
    tls: Tls,
}

/// For whom and in which circumstances they are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looking<'a> {
    pub hostname: &'a str,
    /// Unix time.
    pub now: i64,
    pub roots: &'a Roots,
    /// Whether the server of this configuration runs; `None`: who asks may not know.
    pub is_running: Option<bool>,
}

/// How TLS should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Implicit,
    Starttls,
    /// It need not: the peers are this site's own, or it is HTTP.
    Free,
}

impl Listening {
    /// A mail service.
    #[must_use]
    pub fn of_service(service: Service, address: SocketAddr) -> Self {
        let protocol = match service {
            Service::Smtp | Service::Submission | Service::Submission2525 | Service::Submissions => {
                Protocol::Smtp
            }
            Service::Lmtp => Protocol::Lmtp,
            Service::Pop3 | Service::Pop3s => Protocol::Pop3,
            Service::Imap | Service::Imaps => Protocol::Imap,
        };
        let tls = match service {
            Service::Lmtp => Tls::Free,
            other if other.is_implicit_tls() => Tls::Implicit,
            _ => Tls::Starttls,
        };
        Self {
            name: service.name(),
            address,
            protocol,
            tls,
        }
    }

    /// HTTP or HTTPS of the control thread.
    #[must_use]
    pub fn of_web(address: SocketAddr, is_https: bool) -> Self {
        Self {
            name: if is_https { "https" } else { "http" },
            address,
            protocol: Protocol::Http,
            tls: if is_https { Tls::Implicit } else { Tls::Free },
        }
    }

    /// Where issuers of certificates look for the answer to an `http-01` challenge (RFC 8555 §8.3).
    #[must_use]
    pub fn of_acme(address: SocketAddr) -> Self {
        Self {
            name: "acme",
            ..Self::of_web(address, false)
        }
    }

    /// Nobody has the address.
    fn free(&self, is_running: Option<bool>) -> Finding {
        match is_running {
            Some(false) => self.finding("free: the server is stopped"),
            Some(true) => self.finding("free, but the server runs").but(
                Verdict::Problem,
                "a restart, if the address is new in the file; otherwise the log tells why it is not there",
            ),
            None => Finding {
                verdict: Verdict::Unknown,
                ..self.finding(
                    "free: the server is stopped, or runs with other addresses; only its user and root can tell which",
                )
            },
        }
    }

    fn finding(&self, found: &str) -> Finding {
        let tls = match self.tls {
            Tls::Implicit => "TLS at once",
            Tls::Starttls => "STARTTLS",
            Tls::Free => "no TLS",
        };
        self.finding_with(tls, found)
    }

    fn finding_with(&self, tls: &str, found: &str) -> Finding {
        Finding::good(
            WHAT,
            format!("{} {} ({tls}): {found}", self.name, self.address),
            WHY,
        )
    }

    /// Where somebody on this machine reaches it.
    fn reached_at(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            some => some,
        };
        SocketAddr::new(ip, self.address.port())
    }

    fn examine(&self, looking: &Looking<'_>) -> Finding {
        if self.address.port() == 0 {
            return self.finding("the system chooses its port when the server starts");
        }
        let refused = match try_bind(self.address) {
            Ok(()) => return self.free(looking.is_running),
            Err(error) => error,
        };
        if !matches!(refused.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) {
            return self
                .finding(&refused.to_string())
                .but(Verdict::Problem, "an address of this machine");
        }
        match talk::look(
            self.reached_at(),
            self.protocol,
            self.tls == Tls::Implicit,
            looking.hostname,
        ) {
            Ok(seen) => self.of_seen(&seen, looking),
            Err(_) if refused.kind() == ErrorKind::PermissionDenied => Finding {
                verdict: Verdict::Unknown,
                ..self.finding(
                    "nobody answers there: the server is stopped, or cannot have the address; only root can tell which",
                )
            },
            Err(cause) => self.finding(&format!("taken, but {cause}")).but(
                Verdict::Problem,
                "stop what listens there (`ss -ltnp` names it), or choose another port; if it is this server, its log tells more",
            ),
        }
    }

    fn of_seen(&self, seen: &Seen, looking: &Looking<'_>) -> Finding {
        let greeting: String = seen
            .greeting
            .chars()
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        let Some(Shown {
            version,
            described,
            chain,
        }) = &seen.tls
        else {
            let finding = self.finding_with("no TLS", &format!("answers {greeting:?}"));
            if self.tls == Tls::Free {
                return finding;
            }
            return finding.but(
                Verdict::Problem,
                "STARTTLS: is another program listening there, or has this server no certificate?",
            );
        };
        let kind = if self.tls == Tls::Implicit {
            "TLS at once"
        } else {
            "STARTTLS"
        };
        let days = (described.expires_at - looking.now).div_euclid(DAY);
        let by = if described.is_self_signed {
            ", signed by itself"
        } else {
            ""
        };
        let names = described.names.join(" ");
        let finding = self.finding_with(
            &format!("{kind}, {version}"),
            &format!("answers {greeting:?}, certificate {names}: {days} days{by}"),
        );
        let fault = chain::judge(chain, looking.roots, looking.now);
        let finding = judged(finding, described, looking.hostname, looking.now);
        with_fault(finding, fault)
    }
}

fn judged(finding: Finding, shown: &Described, hostname: &str, now: i64) -> Finding {
    if shown.expires_at <= now {
        return finding.but(
            Verdict::Problem,
            "a certificate that has not ended; if its file has one, `ringpost reload`",
        );
    }
    if !shown.names.iter().any(|name| is_for(name, hostname)) {
        return finding.but(Verdict::Problem, format!("a certificate for {hostname}"));
    }
    if shown.expires_at - now < SOON_SECONDS {
        return finding.but(
            Verdict::Advice,
            "a new certificate soon; if its file has one, `ringpost reload`",
        );
    }
    finding
}

/// Looks at all of them at the same time.
#[must_use]
pub fn examine(listeners: &[Listening], looking: &Looking<'_>) -> Vec<Finding> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = listeners
            .iter()
            .map(|one| (one, scope.spawn(move || one.examine(looking))))
            .collect();
        let answer = |(one, thread): (&Listening, std::thread::ScopedJoinHandle<'_, Finding>)| {
            thread
                .join()
                .unwrap_or_else(|_| one.finding("it could not be looked at").but(Verdict::Unknown, ""))
        };
        asked.into_iter().map(answer).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{self_signed, server_config};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// Nobody else's: other tests have 127.0.0.1.
    const OURS: Ipv4Addr = Ipv4Addr::new(127, 61, 6, 1);

    const HOSTNAME: &str = "mail.example.org";

    fn examined(service: Service, address: SocketAddr, now: i64, is_running: Option<bool>) -> Finding {
        let looking = Looking {
            hostname: HOSTNAME,
            now,
            roots: &Roots::new(&[]),
            is_running,
        };
        Listening::of_service(service, address).examine(&looking)
    }

    /// Somebody who answers one connection.
    fn answering(answer: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind((OURS, 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || answer(listener.accept().expect("a connection").0));
        address
    }

    /// Somebody who speaks TLS for `name`, then greets.
    fn secured(name: &str, greeting: &'static str) -> SocketAddr {
        let certificate = self_signed(&[name.to_owned()]).expect("a certificate");
        let config = server_config(certificate, &[]).expect("it is good");
        answering(move |stream| {
            let server = rustls::ServerConnection::new(config).expect("a server");
            let mut stream = rustls::StreamOwned::new(server, stream);
            let _ = stream.write_all(greeting.as_bytes());
            let _ = stream.flush();
            let _ = stream.read(&mut [0]);
        })
    }

    #[test]
    fn what_a_listener_shows_is_told() {
        let of = |service, address| examined(service, address, 1_800_000_000, None);
        let good = of(Service::Imaps, secured("*.example.org", "* OK hello\r\n"));
        assert_eq!(good.verdict, Verdict::Good, "{good:?}");
        for part in [
            "imaps 127.61.6.1:",
            "(TLS at once, TLS 1.3)",
            "\"* OK hello\"",
            "*.example.org: ",
            " days",
        ] {
            assert!(good.found.contains(part), "{part}: {good:?}");
        }
        let other = of(Service::Imaps, secured("other.example", "* OK hello\r\n"));
        assert_eq!(other.verdict, Verdict::Problem);
        assert!(other.advised.contains(HOSTNAME), "{other:?}");
        let wrong = of(Service::Pop3s, secured(HOSTNAME, "* OK hello\r\n"));
        assert!(wrong.found.contains("its greeting is"), "{wrong:?}");
        assert_eq!(wrong.verdict, Verdict::Problem);
    }

    #[test]
    fn a_stranger_on_a_port_is_a_problem_and_a_free_port_is_none() {
        let of = |service, address| examined(service, address, 0, None);
        let stranger = answering(|mut stream| {
            let _ = stream.write_all(b"SSH-2.0-x\r\n");
        });
        let finding = of(Service::Smtp, stranger);
        assert_eq!(finding.verdict, Verdict::Problem, "{finding:?}");
        assert!(finding.found.contains("SSH-2.0-x"), "{finding:?}");
        let bare = answering(|mut stream| {
            let _ = stream.write_all(b"220-a\r\n220 b\r\n");
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"250-b\r\n250 SIZE\r\n");
            let _ = stream.read(&mut [0; 64]);
        });
        let finding = of(Service::Smtp, bare);
        assert!(
            finding.found.contains("no TLS") && finding.verdict == Verdict::Problem,
            "{finding:?}"
        );
        let holder = TcpListener::bind((OURS, 0)).expect("a port");
        let free = holder.local_addr().expect("it is bound");
        drop(holder);
        for (is_running, verdict) in [
            (None, Verdict::Unknown),
            (Some(false), Verdict::Good),
            (Some(true), Verdict::Problem),
        ] {
            let finding = examined(Service::Imap, free, 0, is_running);
            assert!(
                finding.found.contains("free") && finding.verdict == verdict,
                "{finding:?}"
            );
        }
        let elsewhere = of(Service::Imap, SocketAddr::from(([192, 0, 2, 1], 143)));
        assert_eq!(elsewhere.verdict, Verdict::Problem, "{elsewhere:?}");
        let chosen = of(Service::Imap, SocketAddr::from((OURS, 0)));
        assert_eq!(chosen.verdict, Verdict::Good);
    }

    #[test]
    fn a_certificate_has_an_end_and_names() {
        let of = |name: &str, days: i64| {
            let shown = Described {
                names: vec![name.to_owned()],
                begins_at: 0,
                expires_at: days * DAY,
                is_self_signed: false,
            };
            judged(Finding::good(WHAT, "x", WHY), &shown, HOSTNAME, 0).verdict
        };
        assert_eq!(of("Mail.Example.org", 60), Verdict::Good);
        assert_eq!(of("*.example.org", 60), Verdict::Good);
        assert_eq!(of("*.org", 60), Verdict::Problem);
        assert_eq!(of(HOSTNAME, 13), Verdict::Advice);
        assert_eq!(of(HOSTNAME, 0), Verdict::Problem);
    }
}
