//! A site's own query: SQL with named parameters, `SELECT … WHERE mail = :address`.
//!
//! A parameter is sent beside the text, as PostgreSQL's protocol has it, so that nothing of it is ever read as SQL.
//! Invariants: what stands in quotes, dollar quotes or comments is left alone; `::` is a cast; one statement, without a
//! semicolon, because it is asked as a part of another one: which is also why it can only read.

/// A query that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// With `$1`, `$2`, … for the parameters.
    sql: String,
    /// Their names, in that order.
    parameters: Vec<&'static str>,
}

impl Query {
    /// Takes a text apart whose parameters are of `allowed`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, allowed: &[&'static str]) -> Result<Self, String> {
        let text = text.trim().trim_end_matches(';');
        let mut query = Self {
            sql: String::with_capacity(text.len()),
            parameters: Vec::new(),
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let taken = match first {
                '\'' | '"' => quoted(rest, first)?,
                '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => comment(rest)?,
                '$' => dollar(rest)?,
                ':' if rest.starts_with("::") => 2,
                ':' => {
                    let name = word(&rest[1..]);
                    if !name.is_empty() {
                        query.parameter(name, allowed)?;
                        rest = &rest[1 + name.len()..];
                        continue;
                    }
                    1
                }
                ';' => return Err("it is more than one statement".to_owned()),
                other => other.len_utf8(),
            };
            query.sql.push_str(&rest[..taken]);
            rest = &rest[taken..];
        }
        if query.parameters.is_empty() {
            return Err(format!(
                "it says the same whatever is asked: it needs {}",
                listed(allowed)
            ));
        }
        Ok(query)
    }

    fn parameter(&mut self, name: &str, allowed: &[&'static str]) -> Result<(), String> {
        let Some(known) = allowed.iter().find(|known| **known == name) else {
            return Err(format!("there is no :{name} here, only {}", listed(allowed)));
        };
        let at = self.parameters.iter().position(|other| other == known);
        let at = at.unwrap_or_else(|| {
            self.parameters.push(known);
            self.parameters.len() - 1
        });
        self.sql.push_str(&format!("${}", at + 1));
        Ok(())
    }

    /// The query itself.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The query that brings its rows as JSON texts, `limit` of them at most: so that every type that a column may have
    /// is read in the same way.
    #[must_use]
    pub fn as_json(&self, limit: usize) -> String {
        // On lines of its own, because the site's may end in a comment.
        format!(
            "SELECT row_to_json(found)::text FROM (\n{}\n) AS found LIMIT {limit}",
            self.sql
        )
    }

    /// Names of the parameters, in the order of their numbers.
    #[must_use]
    pub fn parameters(&self) -> &[&'static str] {
        &self.parameters
    }
}

fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!(":{name}")).collect();
    names.join(", ")
}

/// The letters, digits and underscores that `text` begins with, if the first is no digit.
fn word(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let word = &text[..end];
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        ""
    } else {
        word
    }
}

/// Octets of the quoted text that `text` begins with. A doubled quote ends one and begins the next, which is as good.
fn quoted(text: &str, quote: char) -> Result<usize, String> {
    let end = text[1..].find(quote);
    end.map(|end| end + 2)
        .ok_or_else(|| format!("a {quote} has no end"))
}

/// PostgreSQL's comments nest.
fn comment(text: &str) -> Result<usize, String> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Ok(at);
            }
        } else {
            at += 1;
        }
    }
    Err("a comment has no end".to_owned())
}

/// `$tag$ … $tag$`, or a dollar alone.
fn dollar(text: &str) -> Result<usize, String> {
    if text[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return Err("parameters have names, such as :address, and no numbers".to_owned());
    }
    let tag = word(&text[1..]).len() + 2;
    if text.as_bytes().get(tag - 1) != Some(&b'$') {
        return Ok(1);
    }
    let end = text[tag..].find(&text[..tag]);
    end.map(|end| end + 2 * tag)
        .ok_or_else(|| format!("{} has no end", &text[..tag]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALLOWED: &[&str] = &["address", "domain"];

    fn parsed(text: &str) -> (String, Vec<&'static str>) {
        let query = Query::parse(text, ALLOWED).unwrap_or_else(|why| panic!("{text}: {why}"));
        (query.sql, query.parameters)
    }

    #[test]
    fn names_become_numbers_each_once() {
        let (sql, parameters) = parsed("SELECT :domain, lower(:address)::text WHERE x = :domain;");
        assert_eq!(sql, "SELECT $1, lower($2)::text WHERE x = $1");
        assert_eq!(parameters, ["domain", "address"]);
    }

    #[test]
    fn what_is_quoted_or_commented_is_left_alone() {
        for inert in [
            "':address'",
            "'it''s :x'",
            "\"a:b\"",
            "$$ :x ' $$",
            "$q$ :x $$ $q$",
            "-- :x '\n",
            "/* :x /* ' */ :y */",
            "a[1:2]",
            "x::int",
            "a : b",
        ] {
            let (sql, _) = parsed(&format!("SELECT {inert} WHERE m = :address"));
            assert_eq!(sql, format!("SELECT {inert} WHERE m = $1"));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        for (text, why) in [
            ("SELECT 1", "the same whatever"),
            ("SELECT :adress", "no :adress here, only :address, :domain"),
            ("SELECT :address; DROP TABLE x", "more than one"),
            ("SELECT ':address", "has no end"),
            ("SELECT /* :address", "comment has no end"),
            ("SELECT $a$ :address", "has no end"),
            ("SELECT $1", "have names"),
            ("", "the same whatever"),
        ] {
            let error = Query::parse(text, ALLOWED).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_query_or_none(text in "[a:$'\"/*;\\-ü 1\n(address)]{0,40}") {
            let _ = Query::parse(&text, ALLOWED);
        }
    }
}
