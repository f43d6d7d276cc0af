//! Whom `metadata.user_id` names.

use serde_json::Value;

/// Longest `user_id` in bytes, as on the hosted API.
pub(super) const BYTES_MAX: usize = 512;

/// The part of a user id that stays the same from one session to the next: whoever comes back finds what is cached.
///
/// Claude Code sends a JSON text of `device_id`, `account_uuid` and `session_id`, or, in older versions,
/// `user_…_account_…_session_…`. Any other text counts whole.
pub(super) fn lasting(user_id: &str) -> String {
    if let Ok(Value::Object(mut parts)) = serde_json::from_str(user_id) {
        parts.shift_remove("session_id");
        return Value::Object(parts).to_string();
    }
    match user_id.rsplit_once("_session_") {
        Some((user, _)) if user.starts_with("user_") => user.to_owned(),
        _ => user_id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_one_user_are_one() {
        let of =
            |session: &str| format!(r#"{{"device_id":"d","account_uuid":"a","session_id":"{session}"}}"#);
        assert_eq!(lasting(&of("1")), lasting(&of("2")));
        assert_eq!(lasting(&of("1")), r#"{"device_id":"d","account_uuid":"a"}"#);
        assert_eq!(lasting("user_ab_account__session_1"), "user_ab_account_");
    }

    #[test]
    fn other_ids_count_whole() {
        for id in ["", "alice", "{", "my_session_1", "[1]"] {
            assert_eq!(lasting(id), id);
        }
    }
}
