//! PURE: what an answer of Redis means for one event.

use redis::RedisError;

use crate::transport::DeliveryReport;

/// What to do about an event that Redis has not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The streams are not what this tenure knows of them. It was not appended: it is sent again behind the gate.
    Closed,
    /// Redis has forgotten the script. It was not appended.
    ScriptUnknown,
    Failed(DeliveryReport),
}

pub(super) fn outcome(error: &RedisError) -> Outcome {
    let text = error.to_string();
    match error.code().unwrap_or_default() {
        "ANEW" | "SUPERSEDED" | "BEHIND" => Outcome::Closed,
        "NOSCRIPT" => Outcome::ScriptUnknown,
        // The entry is larger than proto-max-bulk-len, or than a stream can hold: Redis would refuse it again.
        "ERR" if is_too_large(&text) => Outcome::Failed(DeliveryReport::Refused(format!(
            "{text}: larger than Redis takes; raise its proto-max-bulk-len"
        ))),
        _ => Outcome::Failed(DeliveryReport::Unavailable(describe(error))),
    }
}

fn is_too_large(text: &str) -> bool {
    ["invalid bulk length", "too large to be stored", "exceeds maximum allowed size"]
        .iter()
        .any(|part| text.contains(part))
}

/// Whether the next attempt needs another connection: this one leads to a server that takes no writes.
pub(super) fn leads_elsewhere(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN")) || error.is_unrecoverable_error()
}

const RIGHTS: &str = "check the user in REDIS_URL, its password there or in the file, and the user's rights";

/// The server's text, and what to do.
pub(super) fn describe(error: &RedisError) -> String {
    let advice = match error.code().unwrap_or_default() {
        "OOM" => {
            "Redis is at its maxmemory; raise it, or let the consumers acknowledge: what every group has acknowledged is trimmed"
        }
        "READONLY" => "this Redis is a replica; REDIS_URL must lead to the primary",
        "LOADING" => "Redis reads its data; it takes writes when that is done",
        "MASTERDOWN" => "this Redis is a replica without its primary; promote it, or start the primary",
        "NOREPLICAS" => "fewer replicas than min-replicas-to-write; start them",
        "MISCONF" => "Redis cannot write to its disk; make room, or see its log",
        "NOAUTH" | "WRONGPASS" | "NOPERM" => RIGHTS,
        // What a script may not do comes without a code of its own.
        _ if error.to_string().contains("The user executing the script") => RIGHTS,
        "WRONGTYPE" => {
            "a key of the topic's name is something else than this service makes; rename or delete it"
        }
        _ if error.is_timeout() => "no answer in time: Redis is frozen or slow",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    fn error(code: &str, detail: &str) -> RedisError {
        make_extension_error(code.to_owned(), Some(detail.to_owned()))
    }

    #[test]
    fn an_outage_is_no_events_fault() {
        for code in ["OOM", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "MISCONF", "WRONGTYPE", "ERR"]
        {
            let report = outcome(&error(code, "no"));
            assert!(matches!(report, Outcome::Failed(DeliveryReport::Unavailable(_))), "{code}: {report:?}");
        }
    }

    #[test]
    fn a_missing_right_is_called_one() {
        let inside_a_script = "The user executing the script can't run this command or subcommand";
        for error in [error("NOPERM", "no"), error("ERR", inside_a_script)] {
            assert!(describe(&error).ends_with(RIGHTS), "{}", describe(&error));
        }
    }

    #[test]
    fn an_entry_that_is_too_large_is_refused() {
        for detail in ["Protocol error: invalid bulk length", "Elements are too large to be stored"] {
            let report = outcome(&error("ERR", detail));
            assert!(matches!(report, Outcome::Failed(DeliveryReport::Refused(_))), "{detail}: {report:?}");
        }
    }

    #[test]
    fn streams_that_are_not_what_they_were_close_the_gate() {
        for code in ["ANEW", "SUPERSEDED", "BEHIND"] {
            assert_eq!(outcome(&error(code, "x")), Outcome::Closed);
        }
        assert_eq!(outcome(&error("NOSCRIPT", "x")), Outcome::ScriptUnknown);
    }
}
