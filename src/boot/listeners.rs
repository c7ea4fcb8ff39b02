//! Which services listen where: one SO_REUSEPORT socket a core for each, all bound before any of them greets.

use super::BootError;
use crate::cli::PortOffset;
use crate::net::BoundListener;
use crate::session::Service;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

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
        let mut port = offset.port(service.standard_port());
        refuse_if_taken(service, SocketAddr::new(address, port))?;
        for listeners in &mut by_core {
            let bound = bind(service, SocketAddr::new(address, port))?;
            // With port 0 the first core's socket chooses, the others join it.
            port = bound.local().port();
            listeners.push((service, bound));
        }
        ports.insert(service.name(), port);
    }
    Ok((by_core, ports))
}

fn bind(service: Service, address: SocketAddr) -> Result<BoundListener, BootError> {
    BoundListener::bind(address).map_err(|cause| BootError::Listen {
        service: service.name(),
        address,
        cause,
    })
}

/// SO_REUSEPORT would let a second server of the same user share the port in silence; a socket without it cannot.
fn refuse_if_taken(service: Service, address: SocketAddr) -> Result<(), BootError> {
    if address.port() == 0 {
        return Ok(());
    }
    let try_bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Connections in TIME_WAIT do not count as taken.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    try_bind().map_err(|cause| BootError::Listen {
        service: service.name(),
        address,
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

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
        let address = holder.local_addr().expect("it is bound");
        let error = refuse_if_taken(Service::Imap, address).expect_err("the port is taken");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
