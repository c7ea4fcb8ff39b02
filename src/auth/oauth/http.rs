//! Questions to an issuer: one request a connection, over TLS.
//!
//! Invariants: without TLS only loopback is asked; certificates are verified by the system's authorities, or by those that
//! the operator names; redirects are not followed.
//! Limits: [`TIMEOUT`] over all, [`ANSWER_BYTES_MAX`].

use crate::tls::client_config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer is there by then. Whoever logs in waits for it.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer, octets: a set of a few dozen keys.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Where to ask: `https`, or `http` on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Url {
    /// From its text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| format!("{text:?} is no URL"))?;
        let host = uri.host().ok_or_else(|| format!("{text:?} names no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback => false,
            _ => return Err(format!("{text:?} is not https")),
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(format!("{text:?} has a password in it"));
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self {
            uri,
            host,
            port,
            is_tls,
        })
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no connection: {0}")]
    Connection(#[from] std::io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer is larger than {ANSWER_BYTES_MAX} octets, or broke off: {0}")]
    Body(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no answer within {} seconds", TIMEOUT.as_secs())]
    TimedOut,
}

/// Asks. Only on the control thread.
pub struct Client(Result<TlsConnector, String>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// With the authorities in a PEM file, or the machine's. A machine without any says so when they are needed.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let config = client_config(authorities).map_err(|error| error.to_string());
        if authorities.is_some() {
            config.as_ref().map_err(String::clone)?;
        }
        Ok(Self(config.map(|config| TlsConnector::from(Arc::new(config)))))
    }

    /// GET.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn get(&self, url: &Url) -> Result<Bytes, AskError> {
        let request = Self::request(Method::GET, url).body(Full::default())?;
        self.ask(url, request).await
    }

    /// POST of form fields, as the client `id` with its `secret` (RFC 6749 §2.3.1).
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn post(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        id: &str,
        secret: &str,
    ) -> Result<Bytes, AskError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
        let request = Self::request(Method::POST, url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, format!("Basic {credentials}"))
            .body(Full::from(body))?;
        self.ask(url, request).await
    }

    fn request(method: Method, url: &Url) -> hyper::http::request::Builder {
        let path = url.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = url.uri.authority().map_or("", |authority| authority.as_str());
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
    }

    async fn ask(&self, url: &Url, request: Request<Full<Bytes>>) -> Result<Bytes, AskError> {
        let asking = async {
            let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
            if !url.is_tls {
                return exchange(stream, request).await;
            }
            let connector = self.0.as_ref().map_err(|why| AskError::Tls(why.clone()))?;
            let name = ServerName::try_from(url.host.clone()).map_err(std::io::Error::other)?;
            exchange(connector.connect(name, stream).await?, request).await
        };
        tokio::time::timeout(TIMEOUT, asking)
            .await
            .map_err(|_| AskError::TimedOut)?
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, AskError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, or with the wait for it.
    let serving = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let body = async {
        let answer = answer?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(|body| body.to_bytes())
            .map_err(|error| AskError::Body(error.to_string()))
    }
    .await;
    serving.abort();
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_asked_in_plaintext() {
        for good in [
            "https://login.example/keys",
            "https://login.example:8443/a?b=c",
            "http://127.0.0.1:9/",
            "http://[::1]:9/x",
            "http://localhost/x",
        ] {
            assert!(Url::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "login.example",
            "/keys",
            "http://login.example/keys",
            "http://192.0.2.1/",
            "ftp://localhost/",
            "https://me:secret@login.example/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        assert!(Client::new(None).is_ok() && Client::new(Some(Path::new("/dev/null"))).is_err());
    }
}
