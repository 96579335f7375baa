//! What a topic may be called.

/// Kafka's own limit: the name becomes part of a directory's name.
const LENGTH_MAX: usize = 249;

/// Kafka's rules for a topic's name; a name that breaks them is refused by every broker. The error says which rule.
pub fn topic_name(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("a topic's name cannot be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("Kafka has no topic {name:?}"));
    }
    if let Some(wrong) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
        return Err(format!(
            "a topic's name is made of a-z, A-Z, 0-9, '.', '_' and '-'; {wrong:?} is none of these"
        ));
    }
    if name.len() > LENGTH_MAX {
        let length = name.len();
        return Err(format!("a topic's name has at most {LENGTH_MAX} characters; this one has {length}"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_takes_is_taken() {
        let longest = "x".repeat(LENGTH_MAX);
        for name in ["orders.events", "a", "...", "A_b-9", longest.as_str()] {
            assert_eq!(topic_name(name), Ok(name.to_owned()));
        }
    }

    #[test]
    fn what_kafka_refuses_is_refused_by_its_rule() {
        let too_long = "x".repeat(LENGTH_MAX + 1);
        for (name, rule) in [
            ("", "empty"),
            (".", "no topic"),
            ("..", "no topic"),
            ("orders events", "' '"),
            ("orders/events", "'/'"),
            ("bestellungen-ü", "'ü'"),
            (too_long.as_str(), "has 250"),
        ] {
            let error = topic_name(name).unwrap_err();
            assert!(error.contains(rule), "{name:?}: {error}");
        }
    }
}
