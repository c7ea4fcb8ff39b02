//! The other end of a connection: a blocking socket, with TLS if asked for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

pub enum Client {
    Plain(TcpStream),
    Secured(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Client {
    pub fn connect(address: SocketAddr, config: Option<Arc<rustls::ClientConfig>>) -> Self {
        let stream = TcpStream::connect(address).expect("served");
        stream.set_nodelay(true).expect("a live socket");
        let Some(config) = config else {
            return Self::Plain(stream);
        };
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let connection = rustls::ClientConnection::new(config, name).expect("a good configuration");
        let mut stream = rustls::StreamOwned::new(connection, stream);
        // The handshake is not measured.
        stream
            .write_all(b"a")
            .and_then(|()| stream.read_exact(&mut [0]))
            .expect("served");
        Self::Secured(Box::new(stream))
    }
}

impl Read for Client {
    fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(space),
            Self::Secured(stream) => stream.read(space),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secured(stream) => stream.write(bytes),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secured(stream) => stream.flush(),
        }
    }
}

pub fn client_config(certificate: &rustls::pki_types::CertificateDer<'static>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a good certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(
        builder
            .expect("a good provider")
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}
