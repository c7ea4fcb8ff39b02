//! The few pieces of HTML the pages are made of. Whatever comes from somebody else is escaped here and nowhere else.

use std::fmt::Write as _;

/// The style sheet: the browser's own colours, light or dark as its user has it; no scripts, no fonts from elsewhere.
pub const STYLE: &str = ":root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
body{max-width:46rem;margin:0 auto;padding:1rem}\
nav a,nav form{display:inline-block;margin-right:1rem}\
fieldset{border:1px solid GrayText;border-radius:.4rem;margin:1rem 0}\
label{display:block;margin:.5rem 0}input,select{font:inherit;padding:.3rem;max-width:100%}\
input:not([type=checkbox]){width:22rem}\
button{font:inherit;padding:.3rem .9rem}\
:focus-visible{outline:3px solid Highlight;outline-offset:2px}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid GrayText}\
td form{display:inline}code{font-size:1.1em;overflow-wrap:anywhere}\
.notice{border-left:.3rem solid Highlight;padding:.3rem .8rem}.fault{border-left:.3rem solid #c33;padding:.3rem .8rem}";

/// A text with everything escaped that HTML reads in text or in a quoted attribute.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A whole page around `body`, which is HTML.
#[must_use]
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/style.css\"></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>",
        title = escaped(title)
    )
}

/// A form with the token that proves it is ours, `inside` (HTML) and a button.
#[must_use]
pub fn form(action: &str, token: &str, inside: &str, button: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"token\" value=\"{token}\">{inside}\
         <button>{}</button></form>",
        escaped(button)
    )
}

/// A labelled field; `extra` are attributes.
#[must_use]
pub fn field(label: &str, name: &str, kind: &str, extra: &str) -> String {
    format!(
        "<label>{}<br><input name=\"{name}\" type=\"{kind}\" {extra}></label>",
        escaped(label)
    )
}

/// A hidden field.
#[must_use]
pub fn hidden(name: &str, value: &str) -> String {
    format!(
        "<input type=\"hidden\" name=\"{name}\" value=\"{}\">",
        escaped(value)
    )
}

/// A group of things under a heading.
#[must_use]
pub fn group(heading: &str, inside: &str) -> String {
    format!(
        "<fieldset><legend>{}</legend>{inside}</fieldset>",
        escaped(heading)
    )
}

/// A table of texts, the last column of each row HTML.
#[must_use]
pub fn table(head: &[&str], rows: &[(Vec<String>, String)]) -> String {
    let mut out = String::from("<table><thead><tr>");
    for name in head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(name));
    }
    out.push_str("</tr></thead><tbody>");
    for (cells, last) in rows {
        out.push_str("<tr>");
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", escaped(cell));
        }
        let _ = write!(out, "<td>{last}</td></tr>");
    }
    out.push_str("</tbody></table>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_somebody_else_is_html() {
        let evil = "<script>alert('x')</script>\"&";
        for html in [
            page(evil, ""),
            group(evil, ""),
            field(evil, "a", "text", ""),
            hidden("a", evil),
            table(&[evil], &[(vec![evil.to_owned()], String::new())]),
        ] {
            assert!(!html.contains("<script>") && !html.contains("'x'"), "{html}");
        }
    }
}
