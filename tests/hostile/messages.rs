//! Messages that are made to make a careless reader slow, deep or hungry, each as long as one asks.
//!
//! Shared by the tests of the whole server, the count of allocations and the bench (`benches/message.rs`). All are lines
//! that end in CRLF, none begins with a dot, and none is longer than the limit of SMTP allows for most of it.

/// One way to be hostile.
pub struct Hostile {
    pub name: &'static str,
    /// The message with `count` of whatever it is made of.
    pub make: fn(usize) -> String,
}

const MIXED: &str = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n";

/// A header of `field` and as many continuation lines, then a short body.
fn folded(field: &str, line: &str, count: usize) -> String {
    format!("{field}\r\n{}\r\nx\r\n", format!(" {line}\r\n").repeat(count))
}

fn text_part(encoding: &str, body: &str) -> String {
    format!(
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}"
    )
}

/// All of them.
pub const ALL: &[Hostile] = &[
    Hostile {
        name: "multiparts nested",
        make: |count| {
            let level = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
            format!(
                "MIME-Version: 1.0\r\n{}\r\nx\r\n",
                (0..count).map(level).collect::<String>()
            )
        },
    },
    Hostile {
        name: "multiparts nested, every boundary closed",
        make: |count| {
            let open = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
            let opened: String = (0..count).map(open).collect();
            let closed: String = (0..count).rev().map(|n| format!("--b{n}--\r\n")).collect();
            format!("{opened}\r\nx\r\n{closed}")
        },
    },
    Hostile {
        name: "boundaries that begin with each other",
        make: |count| {
            let levels: String = (1..60)
                .map(|n| {
                    format!(
                        "Content-Type: multipart/mixed; boundary={}\r\n\r\n--{0}\r\n",
                        "a".repeat(n)
                    )
                })
                .collect();
            format!(
                "{levels}\r\n{}",
                format!("--{}\r\n", "a".repeat(60)).repeat(count)
            )
        },
    },
    Hostile {
        name: "messages nested",
        make: |count| {
            format!(
                "{}\r\nx\r\n",
                "Content-Type: message/rfc822\r\n\r\n".repeat(count)
            )
        },
    },
    Hostile {
        name: "parts",
        make: |count| format!("{MIXED}{}--a--\r\n", "--a\r\n\r\nx\r\n".repeat(count)),
    },
    Hostile {
        name: "parts that are nearly delimited",
        make: |count| format!("{MIXED}{}", "--b\r\n-- a\r\n--\r\n".repeat(count)),
    },
    Hostile {
        name: "fields of addresses",
        make: |count| format!("{}\r\nx\r\n", "To: a@example.net\r\n".repeat(count)),
    },
    Hostile {
        name: "Content-Types",
        make: |count| {
            format!(
                "{}\r\nx\r\n",
                "Content-Type: multipart/mixed; boundary=x\r\n".repeat(count)
            )
        },
    },
    Hostile {
        name: "addresses in one field",
        make: |count| folded("To:", "\"A, B\" <a@example.net>, group: b@example.net;,", count),
    },
    Hostile {
        name: "comments in comments",
        make: |count| folded("From:", "((((((((((((((((((((", count),
    },
    Hostile {
        name: "quotes that do not end",
        make: |count| folded("To:", "\"a\\\" <\"b", count),
    },
    Hostile {
        name: "pieces of a parameter (RFC 2231)",
        make: |count| {
            let pieces: String = (0..count)
                .map(|n| format!(";\r\n name*{n}*=utf-8''%C3%A4"))
                .collect();
            format!("MIME-Version: 1.0\r\nContent-Type: application/octet-stream{pieces}\r\n\r\nx\r\n")
        },
    },
    Hostile {
        name: "pieces of a parameter, backwards and twice",
        make: |count| {
            let pieces: String = (0..count)
                .rev()
                .map(|n| format!(";\r\n name*{}=\"x\"", n / 2))
                .collect();
            format!("Content-Disposition: attachment{pieces}\r\n\r\nx\r\n")
        },
    },
    Hostile {
        name: "encoded words",
        make: |count| folded("Subject:", "=?utf-8?q?=C3=A4?= =?iso-8859-1?b?5A==?=", count),
    },
    Hostile {
        name: "encoded words that do not end",
        make: |count| folded("Subject:", "=?utf-8?q?=?a?b?=?=?", count),
    },
    Hostile {
        name: "prefixes of a subject",
        make: |count| folded("Subject:", "Re: Fwd: [a] re[2]:", count),
    },
    Hostile {
        name: "references",
        make: |count| folded("References:", "<a@b> <<c> <d", count),
    },
    Hostile {
        name: "broken base64",
        make: |count| text_part("base64", &"QUJD=REVG*\r\n====\r\n".repeat(count)),
    },
    Hostile {
        name: "broken quoted-printable",
        make: |count| text_part("quoted-printable", &"=\r\n=ZZ=4=C3 =\t\r\n".repeat(count)),
    },
    Hostile {
        name: "broken HTML",
        make: |count| {
            let head = "MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n";
            format!("{head}{}", "<!--<script><a href=\"&#x;&amp<\r\n".repeat(count))
        },
    },
    Hostile {
        name: "lines that are empty",
        make: |count| format!("{MIXED}{}", "\r\n".repeat(count)),
    },
    Hostile {
        name: "fields without a colon",
        make: |count| format!("{}\r\nx\r\n", "no colon here\r\n:\r\n \r\n".repeat(count)),
    },
];
