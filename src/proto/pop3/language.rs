//! The languages in which POP3's replies are given (LANG, RFC 6856 §3).
//!
//! Not here: the texts (`reply`).

/// A language there are texts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// `en`, and what is spoken until a client asks for another.
    #[default]
    English,
    /// `de`
    German,
}

impl Language {
    /// All, with tag and name in themselves, as LANG lists them.
    pub(super) const ALL: [(Self, &str, &str); 2] =
        [(Self::English, "en", "English"), (Self::German, "de", "Deutsch")];

    /// The tag (RFC 5646).
    pub(super) fn tag(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(language, ..)| *language == self)
            .map_or("en", |(_, tag, _)| tag)
    }

    /// The language that fits a range by lookup (RFC 4647 §3.4): subtags are left out from its end until there is one.
    /// `*` is the administrator's choice.
    pub(super) fn find(range: &[u8]) -> Option<Self> {
        if range == b"*" {
            return Some(Self::default());
        }
        let is_range = !range.is_empty()
            && range
                .iter()
                .all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
        let primary = range.split(|octet| *octet == b'-').next()?;
        Self::ALL
            .iter()
            .find(|(_, tag, _)| is_range && primary.eq_ignore_ascii_case(tag.as_bytes()))
            .map(|(language, ..)| *language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_find_their_language() {
        for (range, language) in [
            ("de", Some(Language::German)),
            ("DE-at-1996", Some(Language::German)),
            ("en-GB", Some(Language::English)),
            ("*", Some(Language::English)),
            ("fr", None),
            ("", None),
            ("de_AT", None),
            ("deu", None),
        ] {
            assert_eq!(Language::find(range.as_bytes()), language, "{range}");
        }
    }
}
