//! Who is compared: what each takes, what its 250 means, and where its mail can be counted.
//!
//! Not here: starting them (`server`), what each does before it says 250 (`durability`; that is watched, not believed).

use std::path::{Path, PathBuf};

/// Scripts that give a rival a configuration to be thrown away, see `scripts/prelude.sh`.
const PRELUDE: &str = include_str!("scripts/prelude.sh");
const DOVECOT_PART: &str = include_str!("scripts/dovecot_part.sh");

/// How a contender is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// `ringpost demo` with these arguments.
    Demo(&'static [&'static str]),
    /// A script behind the prelude, with `LAYOUT`.
    Script {
        script: &'static str,
        layout: &'static str,
    },
}

/// Where acknowledged mail is found, to count when all of it is in the mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mailboxes {
    /// Nothing is stored.
    None,
    /// The acknowledgement means delivered.
    Acknowledged,
    /// Files in `new` and `cur`, below this directory of /var.
    Maildir(&'static str),
    /// Messages in `m.*` files of mdbox, below this directory of /var.
    Mdbox(&'static str),
}

/// One contender.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// As in `--contender`.
    pub name: &'static str,
    /// As in the table.
    pub title: &'static str,
    pub start: Start,
    pub is_lmtp: bool,
    pub has_tls: bool,
    pub mailboxes: Mailboxes,
    /// Names of `--root` whose trees it needs, each with a program that shows it is there.
    pub needs: &'static [(&'static str, &'static str)],
}

const POSTFIX: (&str, &str) = ("postfix", "usr/sbin/postfix");
const DOVECOT: (&str, &str) = ("dovecot", "usr/lib/dovecot/lmtp");

const RINGPOST: Contender = Contender {
    name: "ringpost",
    title: "Ringpost",
    start: Start::Demo(&[]),
    is_lmtp: false,
    has_tls: true,
    mailboxes: Mailboxes::Acknowledged,
    needs: &[],
};

/// All there are, in the order of their turns.
pub const ALL: [Contender; 13] = [
    RINGPOST,
    Contender {
        name: "ringpost-lmtp",
        title: "Ringpost, LMTP",
        is_lmtp: true,
        ..RINGPOST
    },
    Contender {
        name: "ringpost-tcp",
        title: "Ringpost --network tcp",
        start: Start::Demo(&["--network=tcp"]),
        ..RINGPOST
    },
    Contender {
        name: "ringpost-discard",
        title: "Ringpost --discard",
        start: Start::Demo(&["--discard"]),
        mailboxes: Mailboxes::None,
        ..RINGPOST
    },
    Contender {
        name: "smtp-sink",
        title: "smtp-sink (discards)",
        start: script(include_str!("scripts/sink.sh"), ""),
        is_lmtp: false,
        has_tls: false,
        mailboxes: Mailboxes::None,
        needs: &[("postfix", "usr/sbin/smtp-sink")],
    },
    Contender {
        name: "haraka",
        title: "Haraka (discards)",
        start: script(include_str!("scripts/haraka.sh"), ""),
        is_lmtp: false,
        has_tls: true,
        mailboxes: Mailboxes::None,
        needs: &[("haraka", "usr/bin/haraka")],
    },
    Contender {
        name: "postfix",
        title: "Postfix + Dovecot LMTP, Maildir",
        start: script(include_str!("scripts/postfix.sh"), "maildir"),
        is_lmtp: false,
        has_tls: true,
        mailboxes: Mailboxes::Maildir("vmail"),
        needs: &[POSTFIX, DOVECOT],
    },
    Contender {
        name: "postfix-mdbox",
        title: "Postfix + Dovecot LMTP, mdbox",
        start: script(include_str!("scripts/postfix.sh"), "mdbox"),
        is_lmtp: false,
        has_tls: true,
        mailboxes: Mailboxes::Mdbox("vmail"),
        needs: &[POSTFIX, DOVECOT],
    },
    Contender {
        name: "dovecot",
        title: "Dovecot LMTP, Maildir",
        start: script(include_str!("scripts/dovecot.sh"), "maildir"),
        is_lmtp: true,
        has_tls: false,
        mailboxes: Mailboxes::Maildir("vmail"),
        needs: &[DOVECOT],
    },
    Contender {
        name: "dovecot-mdbox",
        title: "Dovecot LMTP, mdbox",
        start: script(include_str!("scripts/dovecot.sh"), "mdbox"),
        is_lmtp: true,
        has_tls: false,
        mailboxes: Mailboxes::Mdbox("vmail"),
        needs: &[DOVECOT],
    },
    Contender {
        name: "exim",
        title: "Exim, Maildir",
        start: script(include_str!("scripts/exim.sh"), "maildir"),
        is_lmtp: false,
        has_tls: true,
        mailboxes: Mailboxes::Maildir("vmail"),
        needs: &[("exim", "usr/sbin/exim4")],
    },
    Contender {
        name: "opensmtpd",
        title: "OpenSMTPD, Maildir",
        start: script(include_str!("scripts/opensmtpd.sh"), "maildir"),
        is_lmtp: false,
        has_tls: true,
        mailboxes: Mailboxes::Maildir("vmail"),
        needs: &[("opensmtpd", "usr/sbin/smtpd")],
    },
    Contender {
        name: "cyrus",
        title: "Cyrus LMTP",
        start: script(include_str!("scripts/cyrus.sh"), ""),
        is_lmtp: true,
        has_tls: false,
        mailboxes: Mailboxes::Acknowledged,
        needs: &[("cyrus", "usr/sbin/cyrmaster")],
    },
];

const fn script(script: &'static str, layout: &'static str) -> Start {
    Start::Script { script, layout }
}

/// `--root NAME=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub name: String,
    pub tree: PathBuf,
}

impl std::str::FromStr for Root {
    type Err = String;

    fn from_str(text: &str) -> Result<Root, String> {
        let (name, tree) = text
            .split_once('=')
            .ok_or("give NAME=DIR, as in postfix=/tmp/postfix")?;
        let tree = std::path::absolute(Path::new(tree)).map_err(|error| format!("{tree}: {error}"))?;
        if !tree.is_dir() {
            return Err(format!("{} is no directory", tree.display()));
        }
        Ok(Root {
            name: name.to_owned(),
            tree,
        })
    }
}

impl Contender {
    /// Everything that is run for it, or `None` for Ringpost.
    pub fn script(&self) -> Option<String> {
        match self.start {
            Start::Demo(_) => None,
            Start::Script { script, .. } => Some([PRELUDE, DOVECOT_PART, script].concat()),
        }
    }

    /// The trees it runs from, or what it lacks. A program that is installed needs no tree.
    pub fn trees(&self, roots: &[Root]) -> Result<Vec<PathBuf>, String> {
        let mut trees = Vec::new();
        for (name, program) in self.needs {
            let of_name: Vec<&Root> = roots.iter().filter(|root| root.name == *name).collect();
            let is_in_tree = of_name.iter().any(|root| root.tree.join(program).exists());
            if !is_in_tree && !Path::new("/").join(program).exists() {
                return Err(format!(
                    "{program} is neither installed nor in a --root {name}=DIR"
                ));
            }
            trees.extend(of_name.into_iter().map(|root| root.tree.clone()));
        }
        Ok(trees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_that_is_not_there_says_what_it_lacks() {
        let exim = ALL
            .iter()
            .find(|contender| contender.name == "exim")
            .expect("it is in the list");
        let elsewhere = Contender {
            needs: &[("exim", "usr/sbin/no-such-program")],
            ..*exim
        };
        let lacks = elsewhere.trees(&[]).expect_err("there is no such program");
        assert!(lacks.contains("--root exim=DIR"), "{lacks}");
    }

    #[test]
    fn names_are_distinct_and_scripts_begin_with_the_prelude() {
        let mut names: Vec<_> = ALL.iter().map(|contender| contender.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        let scripts = ALL.iter().filter_map(Contender::script);
        assert!(scripts.into_iter().all(|script| script.starts_with(PRELUDE)));
    }
}
