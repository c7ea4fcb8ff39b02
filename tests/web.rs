//! The pages for users and admins, through HTTPS with a cookie jar, as a browser without scripts would use them.

mod common;

use common::site::Site;
use common::{binary, has_client, run, succeed};
use std::path::PathBuf;
use std::process::{Command, Output};

const ADMIN: &str = "admin@example.org";
const PASSWORD: &str = "correct horse";

/// A running host and somebody's browser.
struct Web {
    site: Site,
    password: String,
}

/// A status and a page.
struct Page {
    status: String,
    text: String,
}

impl Web {
    fn start() -> Web {
        Web::start_with(|_| {})
    }

    /// `change`: what is different about the configuration.
    fn start_with(change: impl FnOnce(&mut String)) -> Web {
        let mut site = Site::plain();
        let mut text = std::fs::read_to_string(site.config()).expect("init wrote it");
        change(&mut text);
        std::fs::write(site.config(), text).expect("it is ours");
        site.start();
        let password = site.admin_password().to_owned();
        Web { site, password }
    }

    fn order(&self, arguments: &[&str]) {
        self.told(arguments);
    }

    /// What a command prints.
    fn told(&self, arguments: &[&str]) -> String {
        let data = self.site.directory.path().join("data");
        let printed = succeed(Command::new(binary()).args(arguments).arg("--data").arg(data));
        String::from_utf8(printed).expect("UTF-8")
    }

    fn jar(&self, browser: &str) -> PathBuf {
        self.site.directory.path().join(format!("{browser}.jar"))
    }

    fn ask(&self, browser: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let port = self.site.port("https");
        let jar = self.jar(browser);
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--location",
            "--cacert",
        ]);
        command.arg(self.site.directory.path().join("data/tls/default.crt"));
        command.arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar);
        command.args([
            "--connect-to",
            &format!("::127.0.0.1:{port}"),
            "--write-out",
            "\n%{http_code}",
        ]);
        for (name, value) in fields {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output: Output = run(command.arg(format!("https://mail.example.org:{port}{path}")));
        let text = String::from_utf8(output.stdout).expect("pages are UTF-8");
        let (text, status) = text.rsplit_once('\n').expect("curl adds a line");
        Page {
            status: status.to_owned(),
            text: text.to_owned(),
        }
    }

    fn log_in(&self, browser: &str, login: &str, password: &str, code: &str) -> Page {
        self.ask(
            browser,
            "/login",
            &[("login", login), ("password", password), ("code", code)],
        )
    }

    /// Whether somebody gets in by IMAP, by POP3, and by submission.
    fn opens(&self, login: &str, password: &str) -> [bool; 3] {
        [
            ("imaps", "imaps", ""),
            ("pop3s", "pop3s", ""),
            ("submissions", "smtps", "mail.txt"),
        ]
        .map(|(service, scheme, mail)| {
            let mut command = Command::new("curl");
            command.args([
                "--silent",
                "--insecure",
                "--max-time",
                "20",
                "--user",
                &format!("{login}:{password}"),
            ]);
            if !mail.is_empty() {
                let path = self.site.directory.path().join(mail);
                std::fs::write(&path, format!("From: <{login}>\r\n\r\nhello\r\n")).expect("a file");
                command
                    .args(["--mail-from", login, "--mail-rcpt", login, "--upload-file"])
                    .arg(path);
            }
            let port = self.site.port(service);
            run(command.arg(format!("{scheme}://127.0.0.1:{port}/")))
                .status
                .success()
        })
    }

    /// Sends a form as the account page has it, with its token.
    fn send(&self, browser: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = self.ask(browser, "/account", &[]).value("token");
        let mut all = vec![("token", token.as_str())];
        all.extend_from_slice(fields);
        self.ask(browser, path, &all)
    }
}

impl Page {
    fn value(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let (_, rest) = self
            .text
            .split_once(&start)
            .unwrap_or_else(|| panic!("no {name} in {}", self.text));
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    fn shown(&self, id: &str) -> String {
        let start = format!("id=\"{id}\">");
        let (_, rest) = self
            .text
            .split_once(&start)
            .unwrap_or_else(|| panic!("no {id} in {}", self.text));
        rest.split('<').next().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn has(&self, text: &str) {
        assert!(self.text.contains(text), "{text} is not in {}", self.text);
    }
}

/// RFC 6238 by Python's library, steps from now.
fn code(secret: &str, steps: i32) -> String {
    let program = "import base64,hmac,struct,sys,time\n\
        key=base64.b32decode(sys.argv[1])\n\
        step=int(time.time())//30+int(sys.argv[2])\n\
        tag=hmac.new(key,struct.pack('>Q',step),'sha1').digest()\n\
        at=tag[19]&15\n\
        print('%06d'%((struct.unpack('>I',tag[at:at+4])[0]&0x7fffffff)%1000000))";
    let printed = succeed(Command::new("python3").args(["-c", program, secret, &steps.to_string()]));
    String::from_utf8(printed).expect("digits").trim().to_owned()
}

#[test]
fn a_user_changes_the_password_and_makes_passwords_for_programs() {
    if !has_client("curl") {
        return;
    }
    let web = Web::start();
    let imaps = web.site.port("imaps");
    let read = |password: &str| web.opens(ADMIN, password)[0];
    web.ask("a", "/", &[]).has("<title>Log in</title>");
    let refused = web.log_in("a", ADMIN, "wrong", "");
    assert_eq!(refused.status, "403");
    let nobody = web.log_in("a", "nobody@example.org", "wrong", "");
    assert_eq!(refused.text, nobody.text, "who is here is not told");
    let account = web.log_in("a", "Admin@Example.org", &web.password, "");
    account.has(&format!("<td>{imaps}</td>"));

    let without = web.send(
        "a",
        "/account/app-password",
        &[("name", "x"), ("imap", "on"), ("old", "wrong")],
    );
    without.has("password is not right");
    let fields = [
        ("name", "<phone>"),
        ("imap", "on"),
        ("old", web.password.as_str()),
    ];
    let made = web.send("a", "/account/app-password", &fields);
    let app_password = made.shown("password");
    made.has("&lt;phone&gt;");
    assert!(read(&app_password));
    web.send("a", "/account/app-password/delete", &[("name", "<phone>")]);
    assert!(!read(&app_password));

    let (old, new) = (web.password.as_str(), "another password");
    let change = |old, new, again| {
        web.send(
            "a",
            "/account/password",
            &[("old", old), ("new", new), ("again", again)],
        )
    };
    change("wrong", new, new).has("not right");
    change(old, new, "other").has("differ");
    change(old, "short", "short").has("8 characters");
    assert!(read(old));
    let _ = web.log_in("b", ADMIN, old, "");
    change(old, new, new).has("another one now");
    assert!(read(new) && !read(old));
    for browser in ["a", "b"] {
        web.ask(browser, "/account", &[]).has("<title>Log in</title>");
    }
}

#[test]
fn a_form_from_elsewhere_does_nothing() {
    if !has_client("curl") {
        return;
    }
    let web = Web::start();
    web.log_in("a", ADMIN, &web.password, "").has("My account");
    for token in ["", "x"] {
        let forged = web.ask(
            "a",
            "/account/app-password",
            &[("token", token), ("name", "x"), ("imap", "on")],
        );
        assert_eq!(forged.status, "403");
    }
    let stranger = web.ask("nobody", "/account/app-password", &[("name", "x")]);
    stranger.has("<title>Log in</title>");
    assert!(!web.ask("a", "/account", &[]).text.contains("<td>x</td>"));
    let jar = std::fs::read_to_string(web.jar("a")).expect("curl wrote it");
    assert!(
        jar.contains("#HttpOnly_") && jar.contains("__Host-ringpost"),
        "{jar}"
    );
    web.send("a", "/logout", &[]).has("<title>Log in</title>");
    let huge = "x".repeat(100_000);
    let refused = web.ask("a", "/login", &[("login", &huge)]);
    assert_eq!(refused.status, "413");
}

#[test]
fn with_a_second_factor_mail_programs_need_passwords_of_their_own() {
    if !has_client("curl") || !has_client("python3") {
        return;
    }
    let web = Web::start();
    let opens = |password: &str| web.opens(ADMIN, password);
    web.log_in("a", ADMIN, &web.password, "").has("My account");
    assert_eq!(opens(&web.password), [true; 3]);
    let begin = |old| web.send("a", "/account/totp/begin", &[("old", old)]);
    web.send("a", "/account/totp", &[("code", "000000")])
        .has("begin again");
    begin("wrong").has("password is not right");
    let secret = begin(&web.password).shown("secret");
    web.send("a", "/account/totp", &[("code", "000000x")])
        .has("not right");
    let first = code(&secret, 0);
    web.send("a", "/account/totp", &[("code", &first)])
        .has("It is on");
    assert_eq!(opens(&web.password), [false; 3]);
    assert_eq!(web.log_in("b", ADMIN, &web.password, "").status, "403");
    assert_eq!(
        web.log_in("b", ADMIN, &web.password, &first).status,
        "403",
        "a code is good once"
    );
    web.log_in("b", ADMIN, &web.password, &code(&secret, 1))
        .has("My account");
    let app = |name, protocol| {
        let fields = [("name", name), (protocol, "on"), ("old", web.password.as_str())];
        web.send("b", "/account/app-password", &fields).shown("password")
    };
    assert_eq!(opens(&app("reader", "imap")), [true, false, false]);
    assert_eq!(opens(&app("old reader", "pop3")), [false, true, false]);
    assert_eq!(opens(&app("sender", "submission")), [false, false, true]);
    web.send("b", "/account/totp/off", &[("code", "000000x")])
        .has("not right");
    assert_eq!(opens(&web.password), [false; 3]);
}

#[test]
fn guessing_is_slowed_for_pages_and_mail_programs_together() {
    if !has_client("curl") {
        return;
    }
    let web = Web::start_with(|text| *text = text.replace("# loopback = false", "loopback = true"));
    let started = std::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(web.log_in("a", ADMIN, "wrong", "").status, "403");
    }
    assert!(!web.opens(ADMIN, "wrong")[0]);
    // Half a second, one, two: the third, of another protocol, knows of the others.
    assert!(started.elapsed() >= std::time::Duration::from_millis(3_500));
    web.log_in("a", ADMIN, &web.password, "").has("My account");
}

#[test]
fn the_pages_are_over_tls_only() {
    if !has_client("curl") {
        return;
    }
    let web = Web::start();
    let http = web.site.port("http");
    for path in ["/", "/login", "/account", "/admin"] {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ]);
        let told = run(command.arg(format!("http://127.0.0.1:{http}{path}"))).stdout;
        assert_eq!(String::from_utf8_lossy(&told), "404", "{path}");
    }
}

#[test]
fn admins_manage_what_is_theirs_and_nothing_else() {
    if !has_client("curl") {
        return;
    }
    let web = Web::start();
    web.order(&["domain", "add", "second.example"]);
    web.log_in("a", ADMIN, &web.password, "")
        .has("Accounts and aliases");
    let add = |browser, address| {
        web.send(
            browser,
            "/admin/account",
            &[("address", address), ("name", "B"), ("password", PASSWORD)],
        )
    };
    add("a", "bob@second.example").has("bob@second.example");
    add("a", "bob@second.example").has("there already");

    web.log_in("b", "bob@second.example", PASSWORD, "")
        .has("My account");
    assert_eq!(web.ask("b", "/admin", &[]).status, "403");
    assert_eq!(add("b", "carol@second.example").status, "403");
    web.order(&["domain", "admin", "second.example", "bob@second.example"]);
    add("b", "carol@second.example").has("carol@second.example");
    let page = web.ask("b", "/admin", &[]);
    assert!(!page.text.contains(ADMIN), "another domain is not shown");
    assert_eq!(add("b", "dave@example.org").status, "403");
    let disable = [("address", ADMIN), ("state", "off")];
    assert_eq!(web.send("b", "/admin/account/state", &disable).status, "403");
    let page = web.ask("b", "/admin?domain=example.org", &[]);
    assert!(!page.text.contains(ADMIN), "nor by asking for it");
    let set = |browser, address, quota, password| {
        web.send(
            browser,
            "/admin/account/set",
            &[("address", address), ("quota", quota), ("password", password)],
        )
    };
    set("b", "carol@second.example", "3 GiB", "").has("3 GiB");
    set("b", "carol@second.example", "many", "").has("A quota is a size");
    // Whoever set the password of somebody with more rights would have them.
    web.order(&["domain", "admin", "example.org", "carol@second.example"]);
    assert_eq!(
        set("b", "carol@second.example", "", "another password").status,
        "403"
    );
    web.order(&[
        "domain",
        "admin",
        "example.org",
        "carol@second.example",
        "--remove",
    ]);

    web.log_in("c", "carol@second.example", PASSWORD, "")
        .has("My account");
    let disable = [("address", "carol@second.example"), ("state", "off")];
    web.send("b", "/admin/account/state", &disable).has("disabled");
    web.ask("c", "/account", &[]).has("<title>Log in</title>");
    let alias = [
        ("address", "team@second.example"),
        ("targets", "bob@second.example carol@second.example"),
    ];
    web.send("b", "/admin/alias", &alias).has("team@second.example");
    let removed = web.send("b", "/admin/alias/delete", &[("address", "team@second.example")]);
    assert!(!removed.text.contains("team@second.example"));
}

#[test]
fn an_account_of_another_domain_looks_after_this_one_and_no_further() {
    if !has_client("curl") {
        return;
    }
    let web = Web::start();
    for domain in ["first.example", "second.example"] {
        web.order(&["domain", "add", domain]);
    }
    web.log_in("a", ADMIN, &web.password, "");
    let add = |browser: &str, address: &str| {
        let fields = [("address", address), ("name", ""), ("password", PASSWORD)];
        web.send(browser, "/admin/account", &fields)
    };
    for address in ["ann@first.example", "amy@first.example", "ben@second.example"] {
        add("a", address).has(address);
    }
    let appoint = |browser: &str, address: &str, domain: &str, state: &str| {
        let fields = [("address", address), ("domain", domain), ("state", state)];
        web.send(browser, "/admin/domain-admin", &fields)
    };
    let (ann, amy, ben) = ("ann@first.example", "amy@first.example", "ben@second.example");
    appoint("a", "nobody@first.example", "second.example", "on").has("no account");
    appoint("a", ann, "third.example", "on").has("not a domain");
    appoint("a", ann, "second.example", "off").has("does not look after");
    appoint("a", ann, "second.example", "on").has("Not any more");

    web.log_in("ann", ann, PASSWORD, "").has("Accounts and aliases");
    let page = web.ask("ann", "/admin", &[]);
    page.has(ben);
    assert!(!page.text.contains(amy) && !page.text.contains("Who looks after this domain"));
    add("ann", "carl@second.example").has("carl@second.example");
    let quota = [("address", ben), ("quota", "3 GiB"), ("password", "")];
    web.send("ann", "/admin/account/set", &quota).has("3 GiB");
    // Their own domain is not theirs to look after, nor is anybody's right.
    let other = [("address", amy), ("quota", "3 GiB"), ("password", "another one")];
    assert_eq!(add("ann", "eve@first.example").status, "403");
    assert_eq!(web.send("ann", "/admin/account/set", &other).status, "403");
    for target in [amy, ADMIN, ann] {
        let off = [("address", target), ("state", "off")];
        assert_eq!(
            web.send("ann", "/admin/account/state", &off).status,
            "403",
            "{target}"
        );
    }
    for (address, domain) in [
        (ann, "first.example"),
        (ben, "second.example"),
        (amy, "example.org"),
    ] {
        assert_eq!(appoint("ann", address, domain, "on").status, "403", "{domain}");
    }
    let alias = [("address", "sales@first.example"), ("targets", ben)];
    assert_eq!(web.send("ann", "/admin/alias", &alias).status, "403");
    web.ask("ann", "/admin?domain=first.example", &[])
        .has("of second.example");

    // Whoever looks after their domain does not get at what they look after elsewhere.
    appoint("a", amy, "first.example", "on");
    web.log_in("amy", amy, PASSWORD, "");
    let take_over = [("address", ann), ("quota", ""), ("password", "another one")];
    assert_eq!(web.send("amy", "/admin/account/set", &take_over).status, "403");
    let off = [("address", ann), ("state", "off")];
    assert_eq!(web.send("amy", "/admin/account/state", &off).status, "403");

    // Taken back, at once; and the command says and does the same.
    appoint("a", ann, "second.example", "off");
    assert_eq!(web.ask("ann", "/admin", &[]).status, "403");
    assert_eq!(add("ann", "dora@second.example").status, "403");
    web.order(&["domain", "admin", "second.example", ann]);
    assert!(
        web.told(&["domain", "show", "second.example"])
            .contains("admins: ann@first.example")
    );
    assert!(
        web.told(&["account", "show", ann])
            .contains("administers      second.example")
    );
    web.ask("ann", "/admin", &[]).has("carl@second.example");
    // With the account goes what it may.
    web.order(&["account", "delete", ann]);
    assert!(!web.told(&["domain", "show", "second.example"]).contains(ann));
}

#[test]
fn metrics_are_for_the_networks_that_the_operator_names() {
    if !has_client("curl") {
        return;
    }
    let web = Web::start_with(|text| {
        let at = text.find("# metrics_from").expect("it is in the file");
        text.insert_str(at, "metrics_from = [\"192.0.2.0/24\"]\n");
    });
    let told = |service: &str, scheme: &str| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ]);
        let told =
            run(command.arg(format!("{scheme}://127.0.0.1:{}/metrics", web.site.port(service)))).stdout;
        String::from_utf8(told).expect("digits")
    };
    assert_eq!([told("http", "http"), told("https", "https")], ["404", "404"]);
    let config = web.site.directory.path().join("ringpost.toml");
    let text = std::fs::read_to_string(&config).expect("it is ours");
    std::fs::write(&config, text.replace("metrics_from = [\"192.0.2.0/24\"]\n", "")).expect("it is ours");
    web.order(&["reload"]);
    assert_eq!([told("http", "http"), told("https", "https")], ["200", "200"]);
}
