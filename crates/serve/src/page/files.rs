//! The files, with the headers that keep them in bounds.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// Everything that `web/` builds, by name.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Their tags, in the same order.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| FILES.iter().map(|(_, bytes)| tag(bytes)).collect());

/// What a page may load and do: its own files, and requests to this server. No inline script or style, no other host, no
/// frames; no text becomes HTML (trusted types), so that nothing a model writes can become code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data: blob:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Names of assets hold a hash of what is in them.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

pub(crate) async fn chat(headers: HeaderMap) -> Response {
    file("chat.html", &headers)
}

pub(crate) async fn admin(headers: HeaderMap) -> Response {
    file("admin.html", &headers)
}

pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    file(&name, &headers)
}

fn file(name: &str, request: &HeaderMap) -> Response {
    let Ok(index) = FILES.binary_search_by_key(&name, |(name, _)| name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = TAGS[index].as_str();
    let cache = if is_versioned(name) { FOR_EVER } else { ASK_AGAIN };
    let common = [
        (header::CONTENT_TYPE, media_type(name)),
        (header::CACHE_CONTROL, cache),
        (header::ETAG, tag),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let known = request.get_all(header::IF_NONE_MATCH);
    if known.iter().any(|known| matches(known.as_bytes(), tag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, FILES[index].1).into_response()
}

/// Whether one of the tags in an `If-None-Match` is `tag`.
fn matches(header: &[u8], tag: &str) -> bool {
    let tags = header.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    tags.map(|known| known.strip_prefix(b"W/").unwrap_or(known))
        .any(|known| known == tag.as_bytes() || known == b"*")
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &blake3::hash(bytes).to_hex()[..24])
}

/// Whether the name changes with the content: `chat-ABCD1234.js`.
fn is_versioned(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    stem.rsplit_once('-').is_some_and(|(_, hash)| {
        hash.len() == 8
            && hash
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(name: &str) -> Option<&'static [u8]> {
        Some(FILES.iter().find(|(other, _)| *other == name)?.1)
    }

    #[test]
    fn every_file_the_pages_name_is_there() {
        for page in ["chat.html", "admin.html"] {
            let html = std::str::from_utf8(bytes(page).unwrap()).unwrap();
            let named: Vec<_> = html.split("/assets/").skip(1).collect();
            assert!(named.len() >= 4, "{page}");
            for rest in named {
                let name = &rest[..rest.find('"').unwrap()];
                assert!(bytes(name).is_some(), "{page} wants {name}");
                assert!(is_versioned(name), "{name}");
            }
        }
    }

    #[test]
    fn every_file_has_a_media_type_of_its_own() {
        for (name, _) in FILES {
            assert_eq!(
                media_type(name).starts_with("text/plain"),
                *name == "licences.txt",
                "{name}"
            );
        }
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let first = file("chat.html", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CACHE_CONTROL], ASK_AGAIN);
        let tag = first.headers()[header::ETAG].clone();
        for (sent, status) in [
            (tag.to_str().unwrap().to_owned(), StatusCode::NOT_MODIFIED),
            (
                format!("\"other\", W/{}", tag.to_str().unwrap()),
                StatusCode::NOT_MODIFIED,
            ),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, sent.parse().unwrap())]);
            let again = file("chat.html", &headers);
            assert_eq!(again.status(), status, "{sent}");
            // What a browser keeps, it keeps under the same policy.
            assert_eq!(again.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for name in ["", "..", "../Cargo.toml", "chat.html/", "nothing.js"] {
            assert_eq!(
                file(name, &HeaderMap::new()).status(),
                StatusCode::NOT_FOUND,
                "{name}"
            );
        }
    }
}
