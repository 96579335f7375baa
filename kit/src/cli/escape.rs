//! What comes from messages and servers, shown on a terminal.

use std::borrow::Cow;

/// `text` with everything escaped that a terminal would obey instead of showing: control characters but the line feed, and those
/// that turn the direction of writing.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().flat_map(|character| {
        let (escape, itself) = if is_obeyed(character) {
            (Some(character.escape_unicode()), None)
        } else {
            (None, Some(character))
        };
        escape.into_iter().flatten().chain(itself)
    });
    Cow::Owned(escaped.collect())
}

fn is_obeyed(character: char) -> bool {
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && character != '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        for (text, shown) in [
            ("Grüße\n日本 🍵", "Grüße\n日本 🍵"),
            ("\x1b]0;owned\x07\x1b[2J", "\\u{1b}]0;owned\\u{7}\\u{1b}[2J"),
            ("a\rb\u{9b}31m\u{7f}", "a\\u{d}b\\u{9b}31m\\u{7f}"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
        ] {
            assert_eq!(for_terminal(text), shown);
        }
    }
}
