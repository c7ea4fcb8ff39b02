//! XML text, element by element: every value escaped, children indented.
//!
//! Not here: reading XML (`autodiscover` reads by quick-xml).

use quick_xml::escape::escape;
use std::fmt::Display;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const INDENT: &str = "  ";

/// A document that grows.
pub struct Xml {
    text: String,
    depth: usize,
}

impl Xml {
    /// With `before` (a DOCTYPE, or nothing) behind the XML declaration.
    pub fn new(before: &str) -> Self {
        Self {
            text: format!("{HEAD}{before}"),
            depth: 0,
        }
    }

    /// `<name attributes>` … `</name>` around what `inside` adds. `attributes` are our own words and escaped by the caller.
    pub fn element(&mut self, name: &str, attributes: &str, inside: impl FnOnce(&mut Self)) {
        let space = if attributes.is_empty() { "" } else { " " };
        self.line(&format!("<{name}{space}{attributes}>"));
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.line(&format!("</{name}>"));
    }

    /// `<name>value</name>`.
    pub fn value(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.line(&format!("<{name}>{}</{name}>", escape(&value)));
    }

    /// Markup as it is, on a line of its own.
    pub fn line(&mut self, markup: &str) {
        self.text.push_str(&INDENT.repeat(self.depth));
        self.text.push_str(markup);
        self.text.push('\n');
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

/// `name="value"`, escaped.
pub fn attribute(name: &str, value: impl Display) -> String {
    let value = value.to_string();
    format!("{name}=\"{}\"", escape(&value))
}
