//! Logins beside the plain password: SCRAM bound to its TLS channel, and certificates; with other people's clients.

mod common;

use common::site::{Plan, Site};
use common::{PASSWORD, Server, has_client, run, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// A host with whatever its configuration is told.
fn started(changes: &[(&str, String)]) -> Site {
    let mut site = set_up();
    start(&mut site, changes);
    site
}

fn set_up() -> Site {
    Site::of(&Plan {
        hostname: "localhost.example",
        ..Plan::default()
    })
}

fn start(site: &mut Site, changes: &[(&str, String)]) {
    for (from, to) in changes {
        site.edit(from, to);
    }
    site.start();
}

#[track_caller]
fn order(site: &Site, arguments: &[&str], input: &str) {
    let output = site.ask_with(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// What the script prints, its lines joined.
fn scram(server: &Server, login: &str, password: &str, mechanism: &str, flag: &str) -> String {
    let mut command = Command::new("python3");
    command
        .arg(script("scram.py"))
        .arg(server.port("pop3s").to_string());
    let printed = succeed(command.args([login, password, mechanism, flag]));
    String::from_utf8(printed)
        .expect("words")
        .trim()
        .replace('\n', " ")
}

#[test]
fn scram_is_bound_to_the_channel_and_not_to_be_talked_out_of_it() {
    if !has_client("python3") {
        return;
    }
    let server = Server::start();
    let of = |mechanism: &str, flag: &str| scram(&server, "alice@example.org", PASSWORD, mechanism, flag);
    for hash in ["SHA-1", "SHA-256"] {
        let plus = format!("SCRAM-{hash}-PLUS");
        assert_eq!(of(&plus, "p=tls-server-end-point"), "proven in");
        // Somebody between who shows a certificate of their own.
        assert_eq!(of(&plus, "p=tls-server-end-point!"), "refused");
        assert_eq!(of(&plus, "n"), "refused");
        assert_eq!(of(&plus, "p=tls-unique"), "refused");
        let plain = format!("SCRAM-{hash}");
        assert_eq!(of(&plain, "n"), "proven in");
        // "You seem to have nothing to bind to" is what a client says whose list was cut.
        assert_eq!(of(&plain, "y"), "refused");
    }
}

#[test]
fn gsasl_binds_to_the_connection_by_imap_and_submission() {
    if !has_client("gsasl") || !has_client("openssl") {
        return;
    }
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let certificate = directory.path().join("server.crt");
    let mut fetch = Command::new("openssl");
    fetch.args([
        "s_client",
        "-connect",
        &format!("127.0.0.1:{}", server.port("imaps")),
    ]);
    fs::write(&certificate, succeed(fetch.stdin(Stdio::null()))).expect("it is ours");
    let log_in = |protocol: &str, service: &str, mechanism: &str, password: &str| {
        let mut command = Command::new("gsasl");
        command.args([
            protocol,
            "--connect",
            &format!("localhost:{}", server.port(service)),
        ]);
        command.arg(format!("--x509-ca-file={}", certificate.display()));
        command.args([
            "-a",
            "alice@example.org",
            "-z",
            "alice@example.org",
            "-p",
            password,
            "-m",
            mechanism,
        ]);
        run(command.stdin(Stdio::null()))
    };
    for (protocol, service) in [("--imap", "imap"), ("--smtp", "submission")] {
        for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"] {
            let output = log_in(protocol, service, mechanism, PASSWORD);
            assert!(output.status.success(), "{output:?}");
            assert!(!log_in(protocol, service, mechanism, "wrong").status.success());
        }
    }
}

#[test]
fn nobody_hears_that_a_proof_was_right_who_may_not_log_in() {
    if !has_client("python3") {
        return;
    }
    let host = started(&[("# scram = false", "scram = true".to_owned())]);
    order(&host, &["domain", "set", "example.org", "--scram", "true"], "");
    order(
        &host,
        &["account", "add", "bob@example.org", "--stdin"],
        "correct horse\n",
    );
    let of = |password| scram(host.server(), "bob@example.org", password, "SCRAM-SHA-256", "n");
    assert_eq!(
        (of("correct horse"), of("wrong")),
        ("proven in".to_owned(), "refused".to_owned())
    );
    order(
        &host,
        &["account", "set", "bob@example.org", "--protocols", "imap"],
        "",
    );
    assert_eq!(of("correct horse"), "refused");
    order(
        &host,
        &["account", "set", "bob@example.org", "--protocols", "imap,pop3"],
        "",
    );
    assert_eq!(of("correct horse"), "proven in");
    order(&host, &["account", "disable", "bob@example.org"], "");
    assert_eq!(of("correct horse"), "refused");
}

/// An authority and a certificate of it for `address`, made by openssl; their paths.
fn client_certificate(directory: &Path, address: &str) -> [PathBuf; 3] {
    let path = |name: &str| directory.join(format!("{address}.{name}"));
    let (ca_key, ca, key, request, chain) = (
        path("ca.key"),
        path("ca.crt"),
        path("key"),
        path("csr"),
        path("crt"),
    );
    let extension = path("ext");
    fs::write(
        &extension,
        format!("subjectAltName=email:{address}\nextendedKeyUsage=clientAuth\n"),
    )
    .expect("ours");
    let openssl = |arguments: &[&str], files: &[(&str, &Path)]| {
        let mut command = Command::new("openssl");
        command.args(arguments);
        for (option, file) in files {
            command.arg(option).arg(file);
        }
        succeed(&mut command);
    };
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let root = [
        &["req", "-x509", "-subj", "/CN=Test CA", "-days", "2"],
        &new_key[..],
    ]
    .concat();
    openssl(&root, &[("-keyout", &ca_key), ("-out", &ca)]);
    openssl(
        &[&["req", "-subj", "/CN=somebody"], &new_key[..]].concat(),
        &[("-keyout", &key), ("-out", &request)],
    );
    openssl(
        &["x509", "-req", "-days", "2", "-set_serial", "2"],
        &[
            ("-in", &request),
            ("-CA", &ca),
            ("-CAkey", &ca_key),
            ("-extfile", &extension),
            ("-out", &chain),
        ],
    );
    [ca, chain, key]
}

#[test]
fn a_certificate_of_the_sites_authority_opens_the_account_it_names() {
    if !has_client("curl") || !has_client("openssl") {
        return;
    }
    let mut host = set_up();
    let directory = host.directory.path();
    let [ca, chain, key] = client_certificate(directory, "Bob@example.org");
    let [_, foreign, foreign_key] = client_certificate(directory, "bob@example.org");
    let change = format!("client_ca = \"{}\"", ca.display());
    start(&mut host, &[("# client_ca = \"\"", change)]);
    order(
        &host,
        &["account", "add", "bob@example.org", "--stdin"],
        "correct horse\n",
    );
    order(
        &host,
        &["account", "add", "carol@example.org", "--stdin"],
        "correct horse\n",
    );
    let log_in = |service: &str, login: &str, certificate: Option<(&Path, &Path)>| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            "--login-options",
            "AUTH=EXTERNAL",
        ]);
        command.args(["--user", &format!("{login}:")]);
        if let Some((chain, key)) = certificate {
            command.arg("--cert").arg(chain).arg("--key").arg(key);
        }
        let scheme = match service {
            "submissions" => "smtps",
            other => other,
        };
        if scheme == "smtps" {
            let letter = host.directory.path().join("letter");
            fs::write(&letter, format!("From: <{login}>\r\n\r\nhello\r\n")).expect("it is ours");
            command
                .args(["--mail-from", login, "--mail-rcpt", login, "--upload-file"])
                .arg(letter);
        }
        run(command.arg(format!("{scheme}://127.0.0.1:{}/", host.port(service))))
            .status
            .success()
    };
    let own = Some((chain.as_path(), key.as_path()));
    for service in ["imaps", "pop3s", "submissions"] {
        assert!(log_in(service, "bob@example.org", own), "{service}");
        assert!(
            !log_in(service, "carol@example.org", own),
            "{service}: somebody else"
        );
        assert!(
            !log_in(service, "bob@example.org", None),
            "{service}: without a certificate"
        );
        let foreign = Some((foreign.as_path(), foreign_key.as_path()));
        assert!(
            !log_in(service, "bob@example.org", foreign),
            "{service}: of another authority"
        );
    }
    order(&host, &["account", "disable", "bob@example.org"], "");
    assert!(!log_in("imaps", "bob@example.org", own));
}

/// An issuer's two places over HTTP on loopback, each answer with a connection of its own.
struct Issuer {
    url: String,
    signer: aws_lc_rs::signature::EcdsaKeyPair,
}

impl Issuer {
    fn start() -> Issuer {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("entropy");
        let signer =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref()).expect("just made");
        let point = signer.public_key().as_ref();
        let jwk = serde_json::json!({
            "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
            "x": encoded(&point[1..33]), "y": encoded(&point[33..]),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let metadata = serde_json::json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &metadata, &serde_json::json!({ "keys": [jwk.clone()] }));
            }
        });
        Issuer { url, signer }
    }

    fn token(&self, claims: &serde_json::Value) -> String {
        let header = serde_json::json!({ "alg": "ES256", "kid": "k1" });
        let text = format!(
            "{}.{}",
            encoded(header.to_string().as_bytes()),
            encoded(claims.to_string().as_bytes())
        );
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.signer.sign(&random, text.as_bytes()).expect("entropy");
        format!("{text}.{}", encoded(signature.as_ref()))
    }
}

fn encoded(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets)
}

/// Metadata, keys, and introspection for the client `mail` with the secret `s%c:ret`.
fn serve(mut stream: std::net::TcpStream, metadata: &serde_json::Value, keys: &serde_json::Value) {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().expect("a number");
        }
        head.push(line.trim_end().to_owned());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("it is there");
    let body = String::from_utf8(body).expect("a form");
    // RFC 6749 §2.3.1: both are form-encoded before they are joined.
    let is_client = head
        .iter()
        .any(|line| line == "authorization: Basic bWFpbDpzJTI1YyUzQXJldA==");
    let request = head.first().map(String::as_str).unwrap_or_default();
    let (status, answer) = match request {
        "GET /.well-known/openid-configuration HTTP/1.1" => ("200 OK", metadata.clone()),
        "GET /keys HTTP/1.1" => ("200 OK", keys.clone()),
        "POST /introspect HTTP/1.1" if is_client => {
            let is_good = body.contains("token=opaque-good");
            let claims =
                serde_json::json!({ "active": is_good, "email": "bob@example.org", "scope": "a mail b" });
            ("200 OK", claims)
        }
        _ => ("401 Unauthorized", serde_json::json!({})),
    };
    let answer = answer.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    );
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
fn tokens_of_the_issuer_open_the_account_they_name_on_every_protocol() {
    if !has_client("curl") {
        return;
    }
    let issuer = Issuer::start();
    let mut host = set_up();
    let secret = host.directory.path().join("secret");
    fs::write(&secret, "s%c:ret\n").expect("it is ours");
    let line = |name: &str, value: &str| (format!("# {name} = "), format!("{name} = \"{value}\" # "));
    let changes = [
        line("issuer", &issuer.url),
        line("audience", "mail"),
        line("keys", &format!("{}/keys", issuer.url)),
        line("introspection", &format!("{}/introspect", issuer.url)),
        line("client_id", "mail"),
        line("client_secret_file", &secret.display().to_string()),
        line("scope", "mail"),
    ];
    let changes: Vec<(&str, String)> = changes
        .iter()
        .map(|(from, to)| (from.as_str(), to.clone()))
        .collect();
    start(&mut host, &changes);
    for name in ["bob", "carol"] {
        order(
            &host,
            &["account", "add", &format!("{name}@example.org"), "--stdin"],
            "correct horse\n",
        );
    }
    let log_in = |service: &str, mechanism: &str, login: &str, token: &str| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            "--oauth2-bearer",
            token,
            "--user",
            login,
        ]);
        command.args(["--login-options", &format!("AUTH={mechanism}")]);
        let scheme = if service == "submissions" {
            "smtps"
        } else {
            service
        };
        if scheme == "smtps" {
            let letter = host.directory.path().join("letter");
            fs::write(&letter, format!("From: <{login}>\r\n\r\nhello\r\n")).expect("it is ours");
            command
                .args(["--mail-from", login, "--mail-rcpt", login, "--upload-file"])
                .arg(letter);
        }
        run(command.arg(format!("{scheme}://127.0.0.1:{}/", host.port(service))))
            .status
            .success()
    };
    let claims = serde_json::json!({
        "iss": issuer.url, "aud": "mail", "exp": now() + 600, "scope": "mail", "email": "bob@example.org"
    });
    let good = issuer.token(&claims);
    let (bob, carol) = ("bob@example.org", "carol@example.org");
    for service in ["imaps", "pop3s", "submissions"] {
        for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
            assert!(log_in(service, mechanism, bob, &good), "{service} {mechanism}");
            assert!(
                log_in(service, mechanism, bob, "opaque-good"),
                "{service} {mechanism}: introspected"
            );
            assert!(
                !log_in(service, mechanism, carol, &good),
                "{service} {mechanism}: somebody else's"
            );
        }
    }
    let with = |name: &str, value: serde_json::Value| {
        let mut other = claims.clone();
        other[name] = value;
        issuer.token(&other)
    };
    for (what, token) in [
        ("over", with("exp", (now() - 600).into())),
        ("for another", with("aud", "calendar".into())),
        ("of another", with("iss", "https://evil.example".into())),
        ("without the scope", with("scope", "openid".into())),
        ("not active", "opaque-bad".to_owned()),
        ("of another key", Issuer::start().token(&claims)),
    ] {
        assert!(!log_in("imaps", "OAUTHBEARER", bob, &token), "{what}");
    }
    order(&host, &["account", "set", bob, "--protocols", "pop3"], "");
    assert!(!log_in("imaps", "XOAUTH2", bob, &good) && log_in("pop3s", "XOAUTH2", bob, &good));
    // A refused client is told why, and where to get another.
    let program = "import sys,ssl,socket,base64\n\
        context=ssl._create_unverified_context()\n\
        wire=context.wrap_socket(socket.create_connection(('127.0.0.1',int(sys.argv[1]))))\n\
        lines=wire.makefile('rb')\n\
        lines.readline()\n\
        token=base64.b64encode(b'n,a=bob@example.org,\\x01auth=Bearer x\\x01\\x01')\n\
        wire.sendall(b'a AUTHENTICATE OAUTHBEARER '+token+b'\\r\\n')\n\
        print(base64.b64decode(lines.readline()[2:]).decode())\n\
        wire.sendall(b'AQ==\\r\\n')\n\
        print(lines.readline().decode())";
    let mut command = Command::new("python3");
    let told = succeed(command.args(["-c", program, &host.port("imaps").to_string()]));
    let told = String::from_utf8(told).expect("text");
    let (json, end) = told.split_once('\n').expect("two lines");
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(
        (&json["status"], &json["scope"]),
        (&"invalid_token".into(), &"mail".into())
    );
    let place = format!("{}/.well-known/openid-configuration", issuer.url);
    assert_eq!(json["openid-configuration"], place.as_str());
    assert!(end.starts_with("a NO [AUTHENTICATIONFAILED]"), "{end}");
}

#[test]
fn keys_are_found_by_the_issuers_metadata_and_its_silence_is_no_refusal() {
    if !has_client("curl") {
        return;
    }
    let issuer = Issuer::start();
    let line = |name: &str, value: &str| (format!("# {name} = "), format!("{name} = \"{value}\" # "));
    let start = |url: &str| {
        let changes = [line("issuer", url), line("audience", "mail")];
        let changes: Vec<(&str, String)> = changes
            .iter()
            .map(|(from, to)| (from.as_str(), to.clone()))
            .collect();
        let host = started(&changes);
        order(
            &host,
            &["account", "add", "bob@example.org", "--stdin"],
            "correct horse\n",
        );
        host
    };
    let log_in = |host: &Site, token: &str| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--verbose",
            "--insecure",
            "--max-time",
            "20",
            "--oauth2-bearer",
            token,
        ]);
        command.args(["--user", "bob@example.org", "--login-options", "AUTH=XOAUTH2"]);
        let output = run(command.arg(format!("imaps://127.0.0.1:{}/", host.port("imaps"))));
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let claims = |url: &str| serde_json::json!({ "iss": url, "aud": "mail", "exp": now() + 600, "email": "bob@example.org" });
    let host = start(&issuer.url);
    assert!(log_in(&host, &issuer.token(&claims(&issuer.url))).0);
    // Nobody listens there.
    let silent = format!("http://127.0.0.1:{}", common::port::reserve());
    let (is_in, said) = log_in(&start(&silent), &issuer.token(&claims(&silent)));
    assert!(!is_in && said.contains("NO [UNAVAILABLE]"), "{said}");
}
