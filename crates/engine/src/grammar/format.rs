//! Formats of strings, as regular expressions for their whole text.

/// The expressions that a text of `format` must match, all of them; `None` for a format that is not known here.
pub(super) fn regexes(format: &str) -> Option<Vec<String>> {
    const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    const LABEL: &str = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    const DATE: &str = "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])\
                        |(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";
    const TIME: &str = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
    let hostname = format!(r"{LABEL}(?:\.{LABEL})*");
    Some(match format {
        "date" => vec![DATE.to_owned()],
        "time" => vec![TIME.to_owned()],
        "date-time" => vec![format!("{DATE}T{TIME}")],
        "email" => {
            let word = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";
            let local = format!(r"{word}(?:\.{word})*");
            // Lengths as in RFC 5321.
            vec![format!("{local}@{hostname}"), "[^@]{1,64}@.{1,253}".to_owned()]
        }
        "hostname" => vec![hostname, ".{1,253}".to_owned()],
        "ipv4" => vec![format!(r"(?:{OCTET}\.){{3}}{OCTET}")],
        "ipv6" => vec![ipv6()],
        "uuid" => vec!["[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".to_owned()],
        _ => return None,
    })
}

/// Eight groups, or fewer around one `::`.
fn ipv6() -> String {
    const GROUP: &str = "[0-9a-fA-F]{1,4}";
    let mut options = vec![format!("(?:{GROUP}:){{7}}{GROUP}")];
    for before in 0..8_usize {
        let left = vec![GROUP; before].join(":");
        let right = match 7 - before {
            0 => String::new(),
            after => format!("(?:{GROUP}(?::{GROUP}){{0,{}}})?", after - 1),
        };
        options.push(format!("{left}::{right}"));
    }
    options.join("|")
}
