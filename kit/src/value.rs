//! Values that cannot be invalid, as every service takes them: a private field and one way in, `parse`.

use serde::{Deserialize, Serialize};

/// Longest free text (a reason, a tracking number), in characters.
pub const TEXT_LENGTH_MAX: usize = 200;

/// Why a value was refused, in words for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Free text of 1 to 200 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShortText(String);

impl ShortText {
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let length = text.chars().count();
        if text.trim().is_empty() || length > TEXT_LENGTH_MAX || text.chars().any(char::is_control) {
            return Err(InvalidValue::because(format!(
                "must be 1 to {TEXT_LENGTH_MAX} printable characters, not all blank"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_neither_blank_nor_long_nor_holds_what_a_terminal_obeys() {
        assert!(ShortText::parse(" ").is_err());
        assert!(ShortText::parse("a\u{0}b").is_err());
        assert!(ShortText::parse(&"ü".repeat(TEXT_LENGTH_MAX)).is_ok());
        assert!(ShortText::parse(&"ü".repeat(TEXT_LENGTH_MAX + 1)).is_err());
    }
}
