//! A site's own LDAP filter with placeholders: `(&(objectClass=person)(mail={address}))` (RFC 4515).
//!
//! Invariants: whatever is put in for a placeholder is escaped (RFC 4515 §3), so that it is a value and never a part of the
//! filter; a filter that was understood is one for every value.

use ldap3::{ldap_escape, parse_filter};

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(&'static str),
}

impl Filter {
    /// Takes a text apart whose placeholders are of `allowed`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, allowed: &[&'static str]) -> Result<Self, String> {
        let listed = || {
            let names: Vec<String> = allowed.iter().map(|name| format!("{{{name}}}")).collect();
            names.join(", ")
        };
        let mut parts = Vec::new();
        let mut rest = text.trim();
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, behind)) = behind.split_once('}') else {
                return Err("a { has no }".to_owned());
            };
            let Some(known) = allowed.iter().find(|known| **known == name) else {
                return Err(format!("there is no {{{name}}} here, only {}", listed()));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Placeholder(known));
            rest = behind;
        }
        if parts.is_empty() {
            return Err(format!(
                "it finds the same whatever is asked: it needs {}",
                listed()
            ));
        }
        parts.push(Part::Text(rest.to_owned()));
        let filter = Self(parts);
        if parse_filter(filter.with(|_| "x")).is_err() {
            return Err("it is no filter of RFC 4515".to_owned());
        }
        Ok(filter)
    }

    /// The filter for these values.
    pub fn with<'a>(&self, value: impl Fn(&str) -> &'a str) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Placeholder(name) => text.push_str(&ldap_escape(value(name))),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALLOWED: &[&str] = &["address", "domain"];

    #[test]
    fn values_are_put_in_escaped() {
        let filter = Filter::parse("(&(mail={address})(o={domain}))", ALLOWED).expect("a filter");
        let text = filter.with(|name| {
            if name == "domain" {
                "example.org"
            } else {
                "*)(uid=\\"
            }
        });
        assert_eq!(text, "(&(mail=\\2a\\29\\28uid=\\5c)(o=example.org))");
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        for (text, why) in [
            ("(mail=x)", "the same whatever"),
            ("(mail={adress})", "no {adress} here, only {address}, {domain}"),
            ("(mail={address}", "RFC 4515"),
            ("mail=", "the same whatever"),
            ("(mail={address)", "has no }"),
        ] {
            let error = Filter::parse(text, ALLOWED).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_value_changes_the_shape_of_a_filter(value in "\\PC{0,40}|[*()\\\\&|!=\u{0}]{0,20}") {
            let filter = Filter::parse("(&(a=b)(mail={address}))", ALLOWED).expect("a filter");
            let text = filter.with(|_| &value);
            prop_assert!(parse_filter(&text).is_ok(), "{}", text);
            let inside = text.strip_prefix("(&(a=b)(mail=").and_then(|text| text.strip_suffix("))"));
            let is_plain = |text: &str| !text.contains(['(', ')', '*', '\u{0}']);
            prop_assert!(inside.is_some_and(is_plain));
        }
    }
}
