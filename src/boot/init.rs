//! `ringpost init DOMAIN`: from nothing to a host that `ringpost serve` runs.
//!
//! Asks nothing: what can be found out is found out, what cannot has an argument and a default that works.
//! Invariants: nothing that is there is overwritten; the configuration file is written last, so that an `init` that broke off
//! can be told from one that was done.
//! LIMITATION: the DKIM keys are made and published here, so that they are old enough when outbound mail is signed; nothing
//! signs yet.

use super::console::print;
use super::data::is_foreign;
use super::made::{self, pem, write_new};
use super::{BootError, passwords, privileges};
use crate::auth::scheme;
use crate::base::network::is_global;
use crate::cli::PortOffset;
use crate::cli::serve::InitArguments;
use crate::config::{CertificateFiles, Value, show};
use crate::directory::embedded::Database;
use crate::directory::orders::{AccountSettings, DomainSettings, NewAccount, Order};
use crate::discovery;
use crate::discovery::records::{DkimKey, Record, records};
use crate::disk::lock::DirectoryLock;
use crate::model::{AddrSpec, AddressError, Domain};
use crate::session::Service;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Sets everything up and prints what is left to do.
///
/// # Errors
/// See [`BootError`]; what was made until then stays and is named.
pub fn run(arguments: &InitArguments) -> Result<ExitCode, BootError> {
    let setup = Setup::of(arguments)?;
    setup.refuse_what_is_there()?;
    let owner = setup.owner()?;
    setup.make_directories()?;
    let _lock = DirectoryLock::take(&setup.data).map_err(|error| setup.refuse(&error))?;
    let keys = setup.make_dkim_keys()?;
    setup.make_certificate()?;
    let password = setup.make_accounts()?;
    if let Some((uid, gid)) = owner {
        hand_over(&setup.data, uid, gid).map_err(|error| setup.refuse(&error))?;
    }
    setup.write_configuration()?;
    let addresses = own_addresses();
    let records = records(
        &setup.domain,
        &setup.hostname,
        &addresses,
        &keys,
        &setup.endpoints(),
    );
    setup.tell(arguments.json, &password, &records, &unreachable(&addresses));
    Ok(ExitCode::SUCCESS)
}

struct Setup {
    domain: Domain,
    hostname: Domain,
    admin: AddrSpec,
    config: PathBuf,
    data: PathBuf,
    /// Empty: whoever runs this.
    user: String,
    listen: Vec<IpAddr>,
    offset: PortOffset,
}

impl Setup {
    fn of(arguments: &InitArguments) -> Result<Self, BootError> {
        let name = |text: &str| {
            let domain = Domain::new(text).and_then(|domain| {
                domain.check_international()?;
                Ok(domain)
            });
            match domain {
                Ok(domain) if !domain.as_str().starts_with('[') => Ok(domain),
                Err(why @ AddressError::International) => {
                    Err(BootError::Admin(format!("{text:?} is not a domain: {why}")))
                }
                _ => Err(BootError::Admin(format!(
                    "{text:?} is not a domain (example.com is one)"
                ))),
            }
        };
        let domain = name(&arguments.domain)?;
        let hostname = match &arguments.hostname {
            Some(hostname) => name(hostname)?,
            None => own_hostname().map_or_else(|| name(&format!("mail.{domain}")), Ok)?,
        };
        let admin = arguments
            .admin
            .clone()
            .unwrap_or_else(|| format!("admin@{domain}"));
        let admin = AddrSpec::parse(&admin)
            .ok()
            .filter(|address| address.domain == domain)
            .ok_or_else(|| BootError::Admin(format!("--admin {admin}: an address in {domain} is wanted")))?;
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self {
            domain,
            hostname,
            admin,
            config: absolute(&arguments.config),
            data: absolute(&arguments.data),
            user: if privileges::is_root() {
                arguments.user.clone()
            } else {
                String::new()
            },
            listen: if arguments.listen.is_empty() {
                all_addresses()
            } else {
                arguments.listen.clone()
            },
            offset: arguments.port_offset,
        })
    }

    fn refuse(&self, cause: &dyn std::fmt::Display) -> BootError {
        refuse(&self.data, cause)
    }

    fn refuse_what_is_there(&self) -> Result<(), BootError> {
        if self.config.exists() {
            return Err(BootError::Admin(format!(
                "{} is there already: remove it, or name another one with --config",
                self.config.display()
            )));
        }
        let entries = std::fs::read_dir(&self.data).map(Iterator::count);
        let is_used = entries.is_ok_and(|count| count > 0);
        if is_used {
            let is_ours = !is_foreign(&self.data).unwrap_or(true);
            let what = if is_ours { "a server's data" } else { "files" };
            return Err(self.refuse(&format!(
                "there are {what} in it: remove them, or name another one with --data"
            )));
        }
        Ok(())
    }

    /// Whom the data directory is for, if this is root.
    fn owner(&self) -> Result<Option<(u32, u32)>, BootError> {
        if self.user.is_empty() {
            return Ok(None);
        }
        let user = privileges::find_user(&self.user)?;
        Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
    }

    fn make_directories(&self) -> Result<(), BootError> {
        for directory in [self.data.clone(), self.data.join("tls"), self.data.join("dkim")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(|error| refuse(&directory, &error))?;
        }
        if let Some(parent) = self.config.parent() {
            std::fs::create_dir_all(parent).map_err(|error| refuse(parent, &error))?;
        }
        Ok(())
    }

    fn make_certificate(&self) -> Result<(), BootError> {
        let names = [
            self.hostname.to_string(),
            format!("mta-sts.{}", self.domain),
            format!("autoconfig.{}", self.domain),
            format!("autodiscover.{}", self.domain),
        ];
        let files = CertificateFiles {
            chain: self.data.join("tls/default.crt"),
            key: self.data.join("tls/default.key"),
        };
        made::make(&files, &names)
    }

    fn make_dkim_keys(&self) -> Result<Vec<DkimKey>, BootError> {
        let system = |cause: &dyn std::fmt::Display| BootError::system("DKIM key")(cause);
        let rsa =
            aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).map_err(|e| system(&e))?;
        let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().map_err(|e| system(&e))?;
        let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            rsa.public_key().as_der().map_err(|e| system(&e))?;
        let rsa = self.keep_key("rsa1", "rsa", private.as_ref(), public.as_ref())?;
        let ed25519 = Ed25519KeyPair::generate().map_err(|e| system(&e))?;
        let private = ed25519.to_pkcs8().map_err(|e| system(&e))?;
        // RFC 8463 §3.1: the bare 32 octets, not the structure around them.
        let public = ed25519.public_key().as_ref();
        let ed25519 = self.keep_key("ed1", "ed25519", private.as_ref(), public)?;
        Ok(vec![rsa, ed25519])
    }

    fn keep_key(
        &self,
        selector: &str,
        algorithm: &'static str,
        private: &[u8],
        public: &[u8],
    ) -> Result<DkimKey, BootError> {
        let path = self.data.join(format!("dkim/{}.{selector}.key", self.domain));
        write_new(&path, pem("PRIVATE KEY", private).as_bytes(), 0o600)?;
        Ok(DkimKey {
            selector: selector.to_owned(),
            algorithm,
            public: STANDARD.encode(public),
        })
    }

    /// The domain, the first admin with a password nobody knows yet, and the addresses every domain should have.
    fn make_accounts(&self) -> Result<String, BootError> {
        let password = scheme::random_password().map_err(BootError::system("password"))?;
        let mut database = Database::open(&self.data).map_err(|error| self.refuse(&error))?;
        let admin = self.admin.to_string();
        let mut orders = vec![
            Order::DomainAdd {
                domain: self.domain.to_string(),
                set: DomainSettings::default(),
            },
            Order::AccountAdd {
                account: NewAccount {
                    address: admin.clone(),
                    hashes: vec![passwords::hash_password(&password)?],
                    set: AccountSettings {
                        is_admin: Some(true),
                        ..AccountSettings::default()
                    },
                    id: None,
                },
            },
        ];
        // RFC 2142.
        for name in ["postmaster", "abuse", "hostmaster"] {
            let address = format!("{name}@{}", self.domain);
            if address != admin.to_ascii_lowercase() {
                orders.push(Order::AliasAdd {
                    address,
                    targets: vec![admin.clone()],
                });
            }
        }
        for order in orders {
            database.perform(order).map_err(|error| self.refuse(&error))?;
        }
        Ok(password)
    }

    fn addresses(&self, port: u16) -> Value {
        let at = |ip: &IpAddr| SocketAddr::new(*ip, self.offset.port(port)).to_string();
        Value::List(self.listen.iter().map(at).collect())
    }

    fn write_configuration(&self) -> Result<(), BootError> {
        let mut said = BTreeMap::from([
            ("server.hostname", Value::Text(self.hostname.to_string())),
            ("server.domain", Value::Text(self.domain.to_string())),
            ("server.data", Value::Text(self.data.display().to_string())),
            ("server.user", Value::Text(self.user.clone())),
            ("listen.https", self.addresses(443)),
        ]);
        for service in Service::ALL
            .into_iter()
            .filter(|service| *service != Service::Lmtp)
        {
            let key = format!("listen.{}", service.name());
            if let Some(option) = crate::config::options::find(&key) {
                said.insert(option.key, self.addresses(service.standard_port()));
            }
        }
        if self.offset != PortOffset::Fixed(0) {
            let http = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.offset.port(80));
            said.insert("listen.http", Value::List(vec![http.to_string()]));
        }
        write_new(&self.config, show::sample(&said).as_bytes(), 0o644)
    }

    fn endpoints(&self) -> Vec<discovery::Endpoint> {
        let port = |service: Service| match self.offset {
            PortOffset::Auto => service.standard_port(),
            offset => offset.port(service.standard_port()),
        };
        let ports = Service::ALL
            .into_iter()
            .map(|service| (service.name(), port(service)));
        super::settings::endpoints(&ports.collect())
    }

    /// `private`: addresses in `records` that the world cannot reach.
    fn tell(&self, is_json: bool, password: &str, records: &[Record], private: &[String]) {
        let admin = self.admin.to_unicode();
        let next = format!("ringpost serve --config {}", self.config.display());
        if is_json {
            let records: Vec<_> = records
                .iter()
                .map(|record| serde_json::json!({ "name": record.name, "type": record.kind, "value": record.value }))
                .collect();
            let told = serde_json::json!({
                "config": self.config, "data": self.data, "admin": self.admin.to_string(), "password": password,
                "hostname": self.hostname.to_string(), "records": records,
                "private_addresses": private, "next": next,
            });
            return print(&told.to_string());
        }
        let mut text = format!(
            "{} is set up on {}.\n\n  configuration  {}\n  data           {}\n  first admin    {admin}, password {password}\n                 \
             (postmaster@, abuse@ and hostmaster@ lead there)\n  certificate    self-signed, until [acme] or [tls.certificate.default] names \
             a better one\n\nDNS records to publish:\n",
            self.domain.to_unicode(),
            self.hostname,
            self.config.display(),
            self.data.display(),
        );
        let mut purpose = "";
        for record in records {
            if record.purpose != purpose {
                purpose = record.purpose;
                text.push_str(&format!("; {purpose}\n"));
            }
            text.push_str(&format!("{record}\n"));
            if private.contains(&record.value) {
                text.push_str(&format!(
                    "; {} is a private address: publish the one by which the world reaches this machine\n",
                    record.value
                ));
            }
        }
        if let Some(missing) = missing_addresses(&self.hostname, records, private) {
            text.push_str(&missing);
        }
        text.push_str(&format!(
            "\nReverse DNS of the address has to name {}.\n\nNext:\n  {next}",
            self.hostname
        ));
        print(&text);
    }
}

fn refuse(path: &Path, cause: &dyn std::fmt::Display) -> BootError {
    BootError::DataDirectory {
        path: path.display().to_string(),
        cause: cause.to_string(),
    }
}

/// Everything in `directory` becomes the server's, and nothing that a link in it leads to: the directory may have been
/// somebody's who made one, and this is root.
fn hand_over(directory: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(directory)?;
    // By the descriptor, which stays what it is when the name becomes something else.
    let entries = format!("/proc/self/fd/{}", opened.as_raw_fd());
    for entry in std::fs::read_dir(entries)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            hand_over(&entry.path(), uid, gid)?;
        } else {
            std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid))?;
        }
    }
    // Last: until then nobody else changes anything in it.
    std::os::unix::fs::fchown(&opened, Some(uid), Some(gid))
}

/// This machine's name, if it is a whole one.
fn own_hostname() -> Option<Domain> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let is_whole = name.contains('.') && !name.ends_with(".localdomain") && !name.ends_with(".local");
    Domain::new(name).ok().filter(|_| is_whole)
}

/// The unspecified addresses of the families this machine has.
fn all_addresses() -> Vec<IpAddr> {
    let all = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    all.into_iter()
        .filter(|ip| UdpSocket::bind((*ip, 0)).is_ok())
        .collect()
}

/// The addresses from which this machine reaches the world. Connecting a UDP socket sends nothing.
pub(super) fn own_addresses() -> Vec<IpAddr> {
    // Documentation networks (RFC 5737, RFC 3849): routed like everything else.
    let towards: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    ];
    let own = |(from, to): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    towards.into_iter().filter_map(own).collect()
}

/// Those of `addresses` that mean nothing beyond this site, as behind NAT or in a network for documentation.
fn unreachable(addresses: &[IpAddr]) -> Vec<String> {
    let private = addresses.iter().filter(|address| !is_global(**address));
    private.map(ToString::to_string).collect()
}

/// What to publish when `records` have no address that the world reaches.
fn missing_addresses(hostname: &Domain, records: &[Record], private: &[String]) -> Option<String> {
    let is_address = |record: &&Record| matches!(record.kind, "A" | "AAAA");
    let is_public = |record: &Record| !private.contains(&record.value);
    if records.iter().filter(is_address).any(is_public) {
        return None;
    }
    Some(format!(
        "; no public address of this machine was found (no route, or behind NAT). Without one nobody reaches {hostname}: publish\n\
         ;   {hostname}. IN A     the IPv4 address by which the world reaches it\n\
         ;   {hostname}. IN AAAA  the IPv6 address, if it has one\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_public_address_is_told_what_to_publish() {
        let hostname = Domain::new("mail.example.org").expect("a name");
        let of = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("one")).collect();
            let domain = Domain::new("example.org").expect("a name");
            let records = records(&domain, &hostname, &addresses, &[], &[]);
            missing_addresses(&hostname, &records, &unreachable(&addresses))
        };
        for addresses in [
            &[][..],
            &["10.0.0.1"],
            &["192.168.7.1", "fd00::1"],
            &["192.0.2.1", "2001:db8::1"],
        ] {
            let told = of(addresses).expect("it is told");
            assert!(
                told.contains("; ") && told.contains("mail.example.org. IN A "),
                "{told}"
            );
        }
        assert_eq!(of(&["8.8.8.8"]), None);
        assert_eq!(of(&["10.0.0.1", "2600::1"]), None);
    }
    use std::os::unix::fs::{MetadataExt as _, symlink};

    #[test]
    fn a_link_is_handed_over_and_not_what_it_leads_to() {
        if !privileges::is_root() {
            // Nobody else may give a file away.
            return;
        }
        let (ours, theirs) = (tempfile::tempdir(), tempfile::tempdir());
        let (ours, theirs) = (ours.expect("a directory"), theirs.expect("a directory"));
        let secret = theirs.path().join("shadow");
        std::fs::write(&secret, "").expect("a file");
        std::fs::create_dir(ours.path().join("tls")).expect("a directory");
        std::fs::write(ours.path().join("tls/key"), "").expect("a file");
        symlink(&secret, ours.path().join("tls/file")).expect("a link");
        symlink(theirs.path(), ours.path().join("directory")).expect("a link");
        hand_over(ours.path(), 12_345, 12_345).expect("this is root");
        let owner = |path: &Path| std::fs::symlink_metadata(path).expect("it is there").uid();
        for name in ["", "tls", "tls/key", "tls/file", "directory"] {
            assert_eq!(owner(&ours.path().join(name)), 12_345, "{name}");
        }
        assert_eq!((owner(&secret), owner(theirs.path())), (0, 0));
        symlink(theirs.path(), ours.path().join("root")).expect("a link");
        assert!(hand_over(&ours.path().join("root"), 12_345, 12_345).is_err());
        assert_eq!(owner(theirs.path()), 0);
    }
}
