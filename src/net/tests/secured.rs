//! TLS connections.

use super::*;
use rustls::HandshakeKind;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::channel;

fn secured<F>(
    config: Arc<ServerConfig>,
    session: impl Fn(Conn) -> F + Clone + Send + 'static,
) -> impl Fn(Conn) -> SessionTask + Clone + Send + 'static
where
    F: Future<Output = ()> + 'static,
{
    move |mut conn| {
        let (config, session) = (config.clone(), session.clone());
        Box::pin(async move {
            conn.start_tls(config).await.unwrap();
            session(conn).await;
        })
    }
}

#[test]
fn records_of_every_size_come_back_in_both_versions() {
    on_each_backend(|backend| {
        for version in BOTH {
            let (server, client) = tls_pair(&[], &[version]);
            serve_one_core(backend, secured(server, echo), |address| {
                let mut stream = connect_tls(address, client);
                for part in [1, 2, 100, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 300_000] {
                    let bytes = pattern(part);
                    stream.write_all(&bytes).unwrap();
                    let mut back = vec![0; part];
                    stream.read_exact(&mut back).unwrap();
                    assert!(back == bytes);
                }
                stream.conn.send_close_notify();
                stream.flush().unwrap();
                let mut rest = Vec::new();
                // An error, if the server did not say close_notify too.
                stream.read_to_end(&mut rest).unwrap();
                assert!(rest.is_empty());
            });
        }
    });
}

#[test]
fn ciphertext_may_come_byte_by_byte() {
    on_each_backend(|backend| {
        let (server, client) = tls_pair(&[], BOTH);
        serve_one_core(backend, secured(server, echo), |address| {
            let stream = connect_tls(address, client);
            let mut dribble = StreamOwned::new(stream.conn, Dribble(stream.sock));
            let bytes = pattern(3000);
            dribble.write_all(&bytes).unwrap();
            let mut back = vec![0; bytes.len()];
            dribble.read_exact(&mut back).unwrap();
            assert_eq!(back, bytes);
        });
    });
}

/// Sends every byte by itself.
struct Dribble(TcpStream);

impl Read for Dribble {
    fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(space)
    }
}

impl Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn big_transfers_flow_both_ways_over_tls() {
    on_each_backend(|backend| {
        const LEN: usize = 8 << 20;
        let (server, client) = tls_pair(&[], BOTH);
        serve_one_core(backend, secured(server, echo), |address| {
            let mut stream = connect_tls(address, client);
            // In parts that the socket buffers hold, because this client cannot read and write at once.
            for part in pattern(LEN).chunks(64 << 10) {
                stream.write_all(part).unwrap();
                let mut back = vec![0; part.len()];
                stream.read_exact(&mut back).unwrap();
                assert!(back == part);
            }
        });
        let (server, client) = tls_pair(&[], BOTH);
        let flood = |mut conn: Conn| async move {
            for _ in 0..64 {
                conn.send(pattern(1 << 20)).await.unwrap();
            }
            conn.close().await;
        };
        serve_one_core(backend, secured(server, flood), |address| {
            let mut stream = connect_tls(address, client);
            let mut block = vec![0; 1 << 20];
            for _ in 0..64 {
                stream.read_exact(&mut block).unwrap();
                assert!(block == pattern(1 << 20));
            }
            assert_eq!(stream.read(&mut block).unwrap(), 0);
        });
    });
}

#[test]
fn the_agreement_is_told_and_alpn_is_enforced_when_offered() {
    on_each_backend(|backend| {
        for (offered, agreed) in [
            (&["imap"][..], Some("imap")),
            (&[], None),
            (&["http/1.1"], Some("refused")),
        ] {
            let (server, mut client) = tls_pair(&["imap"], BOTH);
            client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let (told, tell) = channel();
            let session = move |mut conn: Conn| {
                let (server, told) = (server.clone(), told.clone());
                async move {
                    let result = conn.start_tls(server).await;
                    let info = conn.tls().cloned();
                    told.send(result.map(|()| info.unwrap()).map_err(|error| error.kind()))
                        .unwrap();
                    echo(conn).await;
                }
            };
            serve_one_core(backend, session, |address| {
                let mut stream = connect_tls(address, client);
                let sent = stream.write_all(b"a").and_then(|()| stream.read_exact(&mut [0]));
                let told = tell.recv_timeout(CLIENT_PATIENCE).unwrap();
                if agreed == Some("refused") {
                    assert_eq!(told.unwrap_err(), ErrorKind::InvalidData);
                    // The client hears why, not only that the connection ended.
                    assert!(sent.unwrap_err().to_string().contains("NoApplicationProtocol"));
                    return;
                }
                sent.unwrap();
                let info = told.unwrap();
                assert_eq!(info.alpn.as_deref(), agreed);
                assert_eq!(info.version, "TLSv1.3");
                assert_eq!(info.cipher, "TLS13_AES_256_GCM_SHA384");
            });
        }
    });
}

/// What `recv` says after `client` has done its part.
fn outcome(
    backend: Backend,
    client: impl FnOnce(StreamOwned<ClientConnection, TcpStream>),
) -> Result<usize, ErrorKind> {
    let (server, config) = tls_pair(&[], BOTH);
    let (told, tell) = channel();
    let session = move |mut conn: Conn| {
        let told = told.clone();
        async move {
            conn.recv().await.unwrap();
            let outcome = conn.recv().await;
            told.send(outcome.map(|lease| lease.len()).map_err(|error| error.kind()))
                .unwrap();
        }
    };
    let mut said = None;
    serve_one_core(backend, secured(server, session), |address| {
        let mut stream = connect_tls(address, config);
        stream.write_all(b"first").unwrap();
        client(stream);
        said = Some(tell.recv_timeout(CLIENT_PATIENCE).unwrap());
    });
    said.unwrap()
}

#[test]
fn only_close_notify_is_an_end() {
    on_each_backend(|backend| {
        let ended = outcome(backend, |mut stream| {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        });
        assert_eq!(ended, Ok(0));
        let cut = outcome(backend, |stream| {
            stream.sock.shutdown(std::net::Shutdown::Write).unwrap()
        });
        assert_eq!(cut, Err(ErrorKind::UnexpectedEof));
        let forged = outcome(backend, |mut stream| {
            stream
                .sock
                .write_all(&[23, 3, 3, 0, 32, 1])
                .and_then(|()| stream.sock.write_all(&[0; 31]))
                .unwrap()
        });
        assert_eq!(forged, Err(ErrorKind::InvalidData));
    });
}

#[test]
fn a_handshake_too_large_or_too_late_is_refused() {
    on_each_backend(|backend| {
        let huge_hello = |stream: &mut TcpStream| {
            // Records that together claim one ClientHello of 60,000 bytes.
            let mut body = vec![1, 0, 0xea, 0x60, 3, 3];
            body.resize(60_000, 0);
            for part in body.chunks(16_000) {
                let len = u16::try_from(part.len()).unwrap().to_be_bytes();
                let record = [&[22, 3, 1, len[0], len[1]], part].concat();
                if stream.write_all(&record).is_err() {
                    break;
                }
            }
        };
        let nonsense = |stream: &mut TcpStream| stream.write_all(b"EHLO example.org\r\n").unwrap();
        let nothing = |_: &mut TcpStream| {};
        type Client = fn(&mut TcpStream);
        let late = Duration::from_millis(300);
        let cases: [(Client, Duration, ErrorKind); 3] = [
            (huge_hello, CLIENT_PATIENCE, ErrorKind::InvalidData),
            (nonsense, CLIENT_PATIENCE, ErrorKind::InvalidData),
            (nothing, late, ErrorKind::TimedOut),
        ];
        for (client, limit, kind) in cases {
            let (server, _) = tls_pair(&[], BOTH);
            let (told, tell) = channel();
            let session = move |mut conn: Conn| {
                let (server, told) = (server.clone(), told.clone());
                async move {
                    conn.set_deadline(Some(std::time::Instant::now() + limit));
                    told.send(conn.start_tls(server).await.unwrap_err().kind())
                        .unwrap();
                }
            };
            serve_one_core(backend, session, |address| {
                let mut stream = connect(address);
                client(&mut stream);
                assert_eq!(tell.recv_timeout(CLIENT_PATIENCE).unwrap(), kind);
            });
        }
    });
}

#[test]
fn input_at_hand_means_plaintext() {
    on_each_backend(|backend| {
        let (server, client) = tls_pair(&[], BOTH);
        let session = |mut conn: Conn| async move {
            assert!(!conn.has_input());
            conn.send(b"?".to_vec()).await.unwrap();
            while !conn.has_input() {
                crate::runtime::breathe().await;
            }
            let mut bytes = Vec::new();
            while conn.has_input() || bytes.len() < 40_000 {
                bytes.extend_from_slice(&conn.recv().await.unwrap());
            }
            conn.send(bytes).await.unwrap();
            conn.close().await;
        };
        serve_one_core(backend, secured(server, session), |address| {
            let mut stream = connect_tls(address, client);
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(&pattern(40_000)).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert!(back == pattern(40_000));
        });
    });
}

#[test]
fn a_second_connection_resumes_the_first_ones_session() {
    on_each_backend(|backend| {
        for version in BOTH {
            let (server, client) = tls_pair(&[], &[version]);
            serve_one_core(backend, secured(server, echo), |address| {
                let client = Arc::new(client);
                let kinds: Vec<_> = (0..2)
                    .map(|_| {
                        let name = ServerName::try_from("localhost").unwrap();
                        let connection = ClientConnection::new(client.clone(), name).unwrap();
                        let mut stream = StreamOwned::new(connection, connect(address));
                        stream.write_all(b"a").unwrap();
                        stream.read_exact(&mut [0]).unwrap();
                        stream.conn.handshake_kind().unwrap()
                    })
                    .collect();
                assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
            });
        }
    });
}

#[test]
fn keys_may_be_renewed_on_the_way() {
    on_each_backend(|backend| {
        let (server, client) = tls_pair(&[], &[&rustls::version::TLS13]);
        serve_one_core(backend, secured(server, echo), |address| {
            let mut stream = connect_tls(address, client);
            for round in 0..20 {
                let bytes = pattern(round * 1000 + 1);
                stream.write_all(&bytes).unwrap();
                stream.conn.refresh_traffic_keys().unwrap();
                let mut back = vec![0; bytes.len()];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, bytes);
            }
        });
    });
}
