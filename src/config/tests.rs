//! The declarations agree with everything made of them; bad files are told what is wrong with them, all of it.

use super::option;
use super::options::{OPTIONS, find};
use super::show::{diff, explain, sample};
use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

thread_local! {
    static READ: RefCell<BTreeSet<String>> = RefCell::default();
}

/// Called for every key that is read.
pub fn note_read(key: &str) {
    READ.with_borrow_mut(|keys| keys.insert(key.to_owned()));
}

const NEEDED: &str = "[server]\nhostname = \"mail.example.com\"\ndomain = \"example.com\"\n";

fn read(text: &str) -> Result<Values, Problems> {
    read::text(Path::new("/etc/x.toml"), text)
}

fn problems(text: &str) -> Vec<String> {
    let problems = read(text).expect_err("it has problems");
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn every_declared_option_is_read_and_nothing_else() {
    let text = format!("{NEEDED}[tls.certificate.a]\nchain = \"c\"\nkey = \"k\"\n");
    let values = read(&text).expect("a good file");
    READ.take();
    let _ = Config::from_values(&values, Path::new("/etc"));
    let read = READ.take();
    for option in OPTIONS {
        let is_read = read.iter().any(|key| option.matches(key));
        assert!(is_read, "{} is declared and never read", option.key);
    }
    for key in read {
        assert!(find(&key).is_some(), "{key} is read and not declared");
    }
}

#[test]
fn the_commented_file_says_every_default_and_is_read_back() {
    let said = BTreeMap::from([
        ("server.hostname", Value::Text("mail.example.com".to_owned())),
        ("server.domain", Value::Text("example.com".to_owned())),
    ]);
    let text = sample(&said);
    let plain = read(&text).expect("what init writes is good");
    assert_eq!(plain.differing().count(), 2);
    // With every option uncommented it says the same.
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(name, _)| is_name(name)) => rest,
            _ => line,
        })
        .collect();
    let all = uncommented
        .join("\n")
        .replace("# [tls.certificate.NAME]", "[tls.certificate.NAME]");
    let all = read(&all).unwrap_or_else(|problems| panic!("{problems}\n{all}"));
    for option in OPTIONS.iter().filter(|option| !option.is_pattern()) {
        assert!(
            all.line(option.key).is_some(),
            "{} is not in the file",
            option.key
        );
        assert_eq!(all.value(option.key), plain.value(option.key), "{}", option.key);
    }
    assert_eq!(all.labels("tls.certificate"), ["NAME"]);
}

fn is_name(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

#[test]
fn declarations_are_complete_and_their_defaults_good() {
    let mut seen = BTreeSet::new();
    for option in OPTIONS {
        assert!(seen.insert(option.key), "{} twice", option.key);
        assert!(option.doc.ends_with('.'), "{}", option.key);
        let explained = explain(option);
        for part in ["value ", "default ", "example ", "change "] {
            assert!(explained.contains(part), "{explained}");
        }
        let Some(default) = option.default.value() else {
            continue;
        };
        let (table, name) = option.key.rsplit_once('.').expect("it is in a table");
        let line = format!("[{table}]\n{name} = {default}\n");
        let file = if table == "server" {
            format!("{NEEDED}{name} = {default}\n")
        } else {
            NEEDED.to_owned() + &line
        };
        let values = read(&file).unwrap_or_else(|problems| panic!("{problems}\n{file}"));
        assert_eq!(values.value(option.key), Some(default));
        assert!(diff(&values).lines().count() == 2, "{}", diff(&values));
    }
}

#[test]
fn every_example_can_be_written_and_says_something_else_than_the_default() {
    for option in OPTIONS {
        let key = option.key.replace('*', "x");
        let (table, name) = key.rsplit_once('.').expect("it is in a table");
        let example = option.example();
        let text = format!("[{table}]\n{name} = {example}\n");
        let told = match read(&text) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0,
        };
        let about_it: Vec<_> = told.iter().filter(|problem| problem.key == key).collect();
        assert!(about_it.is_empty(), "{about_it:?}");
        let default = option.default.value().map(|value| value.to_string());
        // A port where everybody expects it, and what a directory usually calls something.
        let is_usual = key.starts_with("listen.") || key.starts_with("ldap.attributes.");
        assert!(is_usual || default.as_deref() != Some(&*example), "{key}");
    }
}

#[test]
fn a_wrong_value_does_not_hide_what_does_not_fit_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.toml");
    let text = format!(
        "{NEEDED}cores = \"many\"\n[listen]\nimap = \"143\"\nsmtp = [\"0.0.0.0:25\"]\npop3 = [\"127.0.0.1:25\"]\n\
         lmtp = [\"[::1]:25\"]\nhttp = [\"127.0.0.1:143\"]\n[[tls]]\nwatch = 1\n[tsl]\nx = 1\n[tls.certificate.a]\nchain = \"c\"\n"
    )
    .replace("[[tls]]\nwatch = 1\n", "[[oauth]]\nissuer = \"x\"\n");
    std::fs::write(&path, text).expect("room for it");
    let (config, problems) = Config::examine(&path);
    assert!(config.is_some());
    let told: Vec<String> = problems
        .iter()
        .map(|problem| problem.to_string().replace(&path.display().to_string(), ""))
        .collect();
    let expected = [
        ":4: server.cores: found \"many\"; expected a number from 0 to 256 (for example 4)",
        ":6: listen.imap: found \"143\"; expected a list of addresses with ports (for example [\"0.0.0.0:143\", \"[::]:143\"])",
        ":8: listen.pop3: found 127.0.0.1:25; expected an address that no other service has (listen.smtp has 0.0.0.0:25)",
        ":11: oauth: found [[oauth]]; expected a table ([oauth] on a line of its own, its keys below)",
        ":13: tsl: found the unknown key tsl; expected a key that there is (did you mean [tls]?)",
        ":16: tls.certificate.a.key: found nothing; expected a path in quotes (for example \"/etc/ssl/mail.example.com/privkey.pem\")",
    ];
    assert_eq!(told, expected);
    // An endless file is not read to its end.
    let (config, problems) = Config::examine(Path::new("/dev/zero"));
    assert!(config.is_none() && problems[0].to_string().contains("is it the right one?"));
}

#[test]
fn every_problem_is_told_with_line_key_found_expected_and_hint() {
    let text = "[server]\nhostnme = \"mail.example.com\"\ndomain = \"-\"\ncores = 900\n\n\
        [listen]\nimap = [\"143\"]\nsmtp = \"0.0.0.0:25\"\n\n[limits]\nmessage_bytes = \"1 TiB\"\n\n\
        [web]\nmta_sts = \"enforced\"\n\n[netwrk]\nx = 1\n\n[tls.certificate.a]\nchain = \"c\"\n";
    let found = problems(text);
    let expected = [
        "/etc/x.toml:2: server.hostnme: found the unknown key hostnme; expected a key that there is (did you mean server.hostname?)",
        "/etc/x.toml:3: server.domain: found \"-\"; expected a host or domain name in quotes (for example \"example.com\")",
        "/etc/x.toml:4: server.cores: found 900; expected a number from 0 to 256 (for example 4)",
        "/etc/x.toml:7: listen.imap: found [\"143\"]; expected a list of addresses with ports (\"143\" is none)",
        "/etc/x.toml:8: listen.smtp: found \"0.0.0.0:25\"; expected a list of addresses with ports (for example [\"0.0.0.0:25\", \"[::]:25\"])",
        "/etc/x.toml:11: limits.message_bytes: found \"1 TiB\"; expected a size from 64 KiB to 1 GiB (for example \"25 MiB\")",
        "/etc/x.toml:14: web.mta_sts: found \"enforced\"; expected one of off, none, testing, enforce (did you mean \"enforce\"?)",
        "/etc/x.toml:16: netwrk: found the unknown key netwrk; expected a key that there is (did you mean server.network?)",
        "/etc/x.toml:20: tls.certificate.a.key: found nothing; expected a path in quotes (for example \"/etc/ssl/mail.example.com/privkey.pem\")",
        "/etc/x.toml: server.hostname: found nothing; expected a host or domain name in quotes (for example \"mail.example.com\")",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn every_service_has_an_option() {
    for service in Service::ALL {
        let key = format!("listen.{}", service.name());
        assert!(find(&key).is_some(), "{key}");
    }
}

/// A file as the server reads it.
fn loaded(text: &str) -> Result<Config, Problems> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.toml");
    std::fs::write(&path, text).expect("it can be written");
    Config::load(&path).map(|(config, _)| config)
}

#[test]
fn a_limit_of_messages_is_no_lower_than_the_rfc_has_it() {
    let with_limit = |limit: u32| loaded(&format!("{NEEDED}[imap]\nmessage_limit = {limit}\n"));
    for (limit, read) in [(0, None), (1_000, Some(1_000)), (1_000_000, Some(1_000_000))] {
        let config = with_limit(limit).expect("it may be so");
        assert_eq!(config.imap.message_limit.map(NonZeroU32::get), read);
    }
    for limit in [1, 999] {
        let problems = with_limit(limit).expect_err("too low");
        assert_eq!(problems.0.len(), 1);
        assert!(problems.to_string().contains("imap.message_limit"), "{problems}");
    }
}

#[test]
fn an_address_has_one_service() {
    let text = format!("{NEEDED}[listen]\nimap = [\"0.0.0.0:25\"]\n");
    let problems = loaded(&text).expect_err("two services on one port");
    assert_eq!(problems.0.len(), 1);
    assert!(problems.0[0].hint.contains("listen.smtp"), "{problems}");
}

#[test]
fn changes_are_named_with_what_they_need() {
    let before = read(NEEDED).expect("good");
    let after = read(&format!("{NEEDED}cores = 2\n[web]\nmta_sts = \"enforce\"\n")).expect("good");
    let changes = before.changes(&after);
    let told: Vec<_> = changes.iter().map(|c| (c.key.as_str(), c.reload)).collect();
    assert_eq!(
        told,
        [
            ("server.cores", option::Reload::Restart),
            ("web.mta_sts", option::Reload::Live)
        ]
    );
    assert!(before.changes(&before).is_empty());
}

#[test]
fn sizes_and_times_are_read_as_people_write_them() {
    for (text, bytes) in [("25 MiB", 26_214_400), ("5G", 5 << 30), ("7", 7), ("1 kb", 1024)] {
        assert_eq!(option::parse_bytes(text), Some(bytes), "{text}");
    }
    for text in [
        "",
        "-1",
        "5 apples",
        "99999999999999999999",
        "18446744073709551615 TiB",
        "1.5 GiB",
    ] {
        assert_eq!(option::parse_bytes(text), None, "{text}");
    }
    assert_eq!(option::parse_seconds("10 min"), Some(600));
    assert_eq!(option::parse_seconds("7 d"), Some(604_800));
    assert_eq!(option::parse_seconds("1 week"), None);
}

#[test]
fn hostile_files_are_problems_and_nothing_worse() {
    let deep = format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let dotted = format!("{} = 1", ["a"; 5_000].join("."));
    let quoted = "[server]\n\"host.name\" = \"x\"\n\"\" = 1\n".to_owned();
    let twice = format!("{NEEDED}domain = \"b\"\n");
    let many = (0..10_000).map(|n| format!("k{n} = 1\n")).collect::<String>();
    for text in [
        deep,
        dotted,
        quoted,
        twice,
        many,
        "\u{feff}\u{0}".to_owned(),
        "server = 3".to_owned(),
    ] {
        let problems = read(&text).expect_err("it is bad");
        assert!(!problems.0.is_empty() && problems.0.len() <= 100);
        assert!(problems.to_string().len() < 100_000);
    }
    let missing = Config::load(Path::new("/nonexistent/x.toml")).expect_err("it is not there");
    assert!(missing.to_string().contains("ringpost init"), "{missing}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_told_what_is_wrong(text in ".{0,400}") {
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.0.is_empty());
        }
    }

    #[test]
    fn any_value_of_any_option_is_read_or_told(key in 0..OPTIONS.len(), value in "(-?[0-9]{1,20}|true|\"[^\"\\\\\\n]{0,20}\"|\\[\"[a-z0-9.:/]{0,20}\"\\])") {
        let key = OPTIONS[key].key.replace('*', "x");
        let (table, name) = key.rsplit_once('.').expect("a table");
        let text = if table == "server" {
            format!("[server]\n{name} = {value}\n")
        } else {
            format!("{NEEDED}[{table}]\n{name} = {value}\n")
        };
        if let Ok(values) = read(&text) {
            let _ = Config::from_values(&values, Path::new("/etc"));
        }
    }
}
