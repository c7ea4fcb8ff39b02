//! What Pebble of Debian does not know yet: an issuer that says when to renew (RFC 9773). It stands before Pebble, passes
//! everything on, and has an answer of its own to one question.

use crate::common::PATIENCE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What was asked, in order.
#[derive(Default)]
pub struct Heard {
    /// Names of certificates.
    pub questions: Vec<String>,
    /// Of each order, the certificate it replaces, if it says so.
    pub orders: Vec<Option<String>>,
}

pub struct Adviser {
    pub port: u16,
    heard: Arc<Mutex<Heard>>,
}

/// A request or a response: the lines of its head, and its body.
struct Message {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Message {
    /// `None`: the peer has closed.
    fn read(from: &mut impl Read) -> Option<Message> {
        let mut reader = BufReader::new(from);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let mut message = Message {
            head,
            body: Vec::new(),
        };
        match message.field("content-length") {
            Some(length) => {
                message.body = vec![0; length.parse().expect("a number")];
                reader.read_exact(&mut message.body).ok()?;
            }
            // A response that is sent in chunks, or ends with its connection; a request has no body then.
            None if message.head[0].starts_with("HTTP/") => {
                // Whoever ends without close_notify has said all the same.
                let _ = reader.read_to_end(&mut message.body);
            }
            None => {}
        }
        Some(message)
    }

    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.iter().filter_map(|line| line.split_once(": "));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    fn remove(&mut self, name: &str) {
        self.head.retain(|line| {
            let field = line.split_once(": ").map_or("", |(field, _)| field);
            !field.eq_ignore_ascii_case(name)
        });
    }

    fn write(&self, to: &mut impl Write) {
        let mut octets = format!("{}\r\nConnection: close\r\n\r\n", self.head.join("\r\n")).into_bytes();
        octets.extend_from_slice(&self.body);
        // Whoever has gone needs no answer.
        let _ = to.write_all(&octets).and_then(|()| to.flush());
    }

    /// The same response with another member in its JSON.
    fn with(mut self, name: &str, value: &str) -> Message {
        let mut json: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        json[name] = value.into();
        self.body = json.to_string().into_bytes();
        self.remove("content-length");
        self.head.push(format!("Content-Length: {}", self.body.len()));
        self
    }
}

/// One to whom the directory's owner has shown the certificate of `chain`.
struct Issuer {
    port: u16,
    config: Arc<ClientConfig>,
}

impl Issuer {
    fn ask(&self, request: &Message) -> Message {
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(self.config.clone(), name).expect("a good configuration");
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).expect("Pebble runs");
        tcp.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut stream = StreamOwned::new(tls, tcp);
        request.write(&mut stream);
        Message::read(&mut stream).expect("Pebble answers")
    }
}

impl Adviser {
    /// Before the issuer at `issuer`, with its certificate. `answer` is given the number of the question, from 0: the head's
    /// further lines and the body.
    pub fn start(
        issuer: u16,
        chain: &Path,
        key: &Path,
        answer: impl Fn(usize) -> (String, String) + Send + 'static,
    ) -> Adviser {
        let certificate = CertificateDer::from_pem_file(chain).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("it can vouch for itself");
        let client = ClientConfig::builder().with_root_certificates(roots);
        let server = ServerConfig::builder().with_no_client_auth();
        let server = server.with_single_cert(vec![certificate], key).expect("they fit");
        let issuer = Issuer {
            port: issuer,
            config: Arc::new(client.with_no_client_auth()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (server, hearing) = (Arc::new(server), heard.clone());
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                tcp.set_read_timeout(Some(PATIENCE)).expect("not zero");
                let tls = ServerConnection::new(server.clone()).expect("a good configuration");
                let mut stream = StreamOwned::new(tls, tcp);
                if let Some(request) = Message::read(&mut stream) {
                    reply(port, &request, &issuer, &hearing, &answer).write(&mut stream);
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        Adviser { port, heard }
    }

    pub fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().expect("nobody panicked"))
    }
}

fn reply(
    port: u16,
    request: &Message,
    issuer: &Issuer,
    heard: &Mutex<Heard>,
    answer: &impl Fn(usize) -> (String, String),
) -> Message {
    let path = request.head[0].split(' ').nth(1).expect("a request").to_owned();
    if let Some(certificate) = path.strip_prefix("/when-to-renew/") {
        let mut heard = heard.lock().expect("nobody panicked");
        let (more, body) = answer(heard.questions.len());
        heard.questions.push(certificate.to_owned());
        let length = format!("Content-Length: {}", body.len());
        return Message {
            head: vec!["HTTP/1.1 200 OK".to_owned(), more, length],
            body: body.into_bytes(),
        };
    }
    let response = issuer.ask(request);
    match path.as_str() {
        "/dir" => response.with("renewalInfo", &format!("https://localhost:{port}/when-to-renew")),
        "/order-plz" => {
            let replaced = replaced(&request.body);
            heard
                .lock()
                .expect("nobody panicked")
                .orders
                .push(replaced.clone());
            match replaced {
                // RFC 9773 §5: who takes it says so.
                Some(certificate) => response.with("replaces", &certificate),
                None => response,
            }
        }
        _ => response,
    }
}

/// What an order says that it replaces; it is inside of a JWS.
fn replaced(body: &[u8]) -> Option<String> {
    let signed: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let payload = URL_SAFE_NO_PAD.decode(signed["payload"].as_str().expect("it has one"));
    let order: serde_json::Value = serde_json::from_slice(&payload.expect("base64url")).expect("JSON");
    order["replaces"].as_str().map(str::to_owned)
}

/// The name of the first certificate of a PEM text in the question (RFC 9773 §4.1).
pub fn name_of(pem: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
    let key = parsed
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(issuer) => {
                issuer.key_identifier.as_ref()
            }
            _ => None,
        });
    let key = URL_SAFE_NO_PAD.encode(key.expect("it names its issuer's key").0);
    format!("{key}.{}", URL_SAFE_NO_PAD.encode(parsed.raw_serial()))
}
