//! Bodies that are rewritten before the vendor's schema reads them.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body::Body;
use crate::error::ApiError;

/// The body as any JSON; what is wrong with it is said as `T` would say it.
pub(super) fn value<T: DeserializeOwned>(body: &Body) -> Result<Value, ApiError> {
    body.parse::<Value>().map_err(|error| match body.parse::<T>() {
        Err(typed) => typed,
        Ok(_) => error,
    })
}

/// Reads `relaxed`, which `body` was rewritten to. What is wrong with both is said with its place in `body`.
pub(super) fn read<T: DeserializeOwned>(body: &Body, relaxed: Value) -> Result<T, ApiError> {
    let rewritten = Body::of(&relaxed);
    serde_json::from_value(relaxed).map_err(|plain| {
        let Err(error) = rewritten.parse::<T>() else {
            return ApiError::invalid(plain.to_string());
        };
        match body.parse::<T>() {
            Err(original) if placeless(original.message()) == placeless(error.message()) => original,
            _ => ApiError::invalid(placeless(error.message())),
        }
    })
}

/// A parser's message without the line and column.
fn placeless(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(what, _)| what)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Form {
        a: u8,
        b: Vec<u8>,
    }

    fn message(body: &'static str, relaxed: Value) -> String {
        read::<Form>(&Body::from_static(body), relaxed)
            .unwrap_err()
            .message()
            .to_owned()
    }

    #[test]
    fn errors_have_their_place_if_the_body_has_one() {
        let body = r#"{"a": 1, "b": ["x"]}"#;
        let said = message(body, json!({"a": 1, "b": ["x"]}));
        assert!(
            said.contains("b[0]: invalid type") && said.ends_with("at line 1 column 18"),
            "{said}"
        );
        // The first thing wrong was rewritten.
        let body = r#"{"a": "x", "b": ["x"]}"#;
        let said = message(body, json!({"a": 1, "b": ["x"]}));
        assert!(
            said.contains("b[0]: invalid type") && !said.contains(" at line "),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_json_is_said_with_the_field() {
        let body = Body::from_static(r#"{"a": "#);
        assert!(value::<Form>(&body).unwrap_err().message().contains("a: EOF"));
    }
}
