//! Which services listen where: one SO_REUSEPORT socket a core for each, all bound before any of them greets.

use super::BootError;
use crate::admin;
use crate::cli::PortOffset;
use crate::net::BoundListener;
use crate::session::Service;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};

/// The sockets of one core.
pub type CoreListeners = Vec<(Service, BoundListener)>;

/// Binds every service once per core.
///
/// # Errors
/// [`BootError::Listen`] for the first address that cannot be had; nothing stays bound then.
pub fn bind_all(
    address: IpAddr,
    offset: PortOffset,
    cores: usize,
) -> Result<(Vec<CoreListeners>, BTreeMap<&'static str, u16>), BootError> {
    let mut by_core: Vec<CoreListeners> = (0..cores).map(|_| Vec::new()).collect();
    let mut ports = BTreeMap::new();
    for service in Service::ALL {
        let address = SocketAddr::new(address, offset.port(service.standard_port()));
        let listen = |cause| BootError::Listen {
            service: service.name(),
            cause,
        };
        let bound = BoundListener::bind_all(address, cores).map_err(listen)?;
        ports.insert(service.name(), bound[0].local().port());
        for (listeners, bound) in by_core.iter_mut().zip(bound) {
            listeners.push((service, bound));
        }
    }
    Ok((by_core, ports))
}

/// Binds what a configuration says, and the ports of services it leaves free (0) as they came out.
///
/// # Errors
/// [`BootError::Listen`] for the first address that cannot be had; nothing stays bound then.
pub fn bind_each(
    services: &[(Service, Vec<SocketAddr>)],
    cores: usize,
) -> Result<(Vec<CoreListeners>, BTreeMap<&'static str, u16>), BootError> {
    let mut by_core: Vec<CoreListeners> = (0..cores).map(|_| Vec::new()).collect();
    let mut ports = BTreeMap::new();
    for (service, addresses) in services {
        for address in addresses {
            let bound = BoundListener::bind_all(*address, cores).map_err(|cause| BootError::Listen {
                service: service.name(),
                cause,
            })?;
            let local = bound[0].local();
            let tls = if service.is_implicit_tls() {
                "at once"
            } else {
                "by STARTTLS"
            };
            tracing::info!(service = service.name(), address = %local, tls, "listening");
            ports.entry(service.name()).or_insert(local.port());
            for (listeners, bound) in by_core.iter_mut().zip(bound) {
                listeners.push((*service, bound));
            }
        }
    }
    Ok((by_core, ports))
}

/// Binds HTTP or HTTPS listeners and adds the port of the first to `ports`.
///
/// # Errors
/// [`BootError::Listen`].
pub fn bind_web(
    service: &'static str,
    addresses: &[SocketAddr],
    ports: &mut BTreeMap<&'static str, u16>,
) -> Result<Vec<TcpListener>, BootError> {
    let listen = |cause| BootError::Listen { service, cause };
    let mut bound = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = admin::http::bind(*address).map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let tls = if service == "https" { "at once" } else { "none" };
        tracing::info!(service, address = %local, tls, "listening");
        ports.entry(service).or_insert(local.port());
        bound.push(listener);
    }
    Ok(bound)
}

/// The port of HTTP, where everybody expects it.
const HTTP_PORT: u16 = 80;

/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Binds HTTP and HTTPS of the control thread at their standard ports plus `offset`, and adds them to `ports`.
///
/// # Errors
/// [`BootError::Listen`].
pub fn bind_http(
    address: IpAddr,
    offset: PortOffset,
    ports: &mut BTreeMap<&'static str, u16>,
) -> Result<(Vec<TcpListener>, Vec<TcpListener>), BootError> {
    let at = |port| [SocketAddr::new(address, offset.port(port))];
    let http = bind_web("http", &at(HTTP_PORT), ports)?;
    let https = bind_web("https", &at(HTTPS_PORT), ports)?;
    Ok((http, https))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn free_ports_are_shared_by_the_cores_and_no_others() {
        let (cores, ports) =
            bind_all(Ipv4Addr::LOCALHOST.into(), PortOffset::Auto, 2).expect("loopback has free ports");
        for listeners in &cores {
            for (service, bound) in listeners {
                assert_eq!(ports[service.name()], bound.local().port());
            }
        }
        let mut distinct: Vec<u16> = ports.values().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), Service::ALL.len());
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = holder.local_addr().expect("it is bound").port();
        let offset = PortOffset::Fixed(port - Service::Smtp.standard_port());
        let refused = bind_all(Ipv4Addr::LOCALHOST.into(), offset, 1);
        let error = refused.map(|_| ()).expect_err("the port is taken").to_string();
        assert!(
            error.contains("smtp") && error.contains(&port.to_string()),
            "{error}"
        );
    }
}
