//! Where the head of a request ends, if what comes is one.

/// Where in its lines a text is.
#[derive(Default)]
pub(super) enum Lines {
    /// Nothing came but line breaks, which are no head: a client that sends no end of them gets no turn for each.
    #[default]
    Before,
    Within,
    AtBegin,
}

impl Lines {
    /// The length up to and with the first blank line behind one that is not. As the parser does, a line feed alone is taken for the end
    /// of a line.
    pub(super) fn until_blank(&mut self, bytes: &[u8]) -> Option<usize> {
        for (index, byte) in bytes.iter().enumerate() {
            match (byte, &self) {
                (b'\n', Self::AtBegin) => {
                    *self = Self::Before;
                    return Some(index + 1);
                }
                (b'\n', Self::Within) => *self = Self::AtBegin,
                (b'\n' | b'\r', _) => (),
                _ => *self = Self::Within,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    fn parts(pieces: &[&str]) -> Vec<Option<usize>> {
        let mut lines = Lines::default();
        pieces.iter().map(|piece| lines.until_blank(piece.as_bytes())).collect()
    }

    #[test]
    fn a_head_ends_with_the_first_blank_line() {
        assert_eq!(parts(&["GET /\r\n\r\nGET /"]), [Some(9)]);
        assert_eq!(parts(&["GET /\n\nGET /"]), [Some(7)]);
        assert_eq!(parts(&["GET /\n\r\nGET /"]), [Some(8)]);
        assert_eq!(parts(&["GET /\r\na: b\r\n\r\n", "GET /\r\n", "\r\n"]), [Some(15), None, Some(2)]);
        assert_eq!(parts(&["GET /\r", "\n", "\r", "\n", "x"]), [None, None, None, Some(1), None]);
        assert_eq!(parts(&["\r\n\r\n\n\n", "x\n", "y\n", "\n"]), [None, None, None, Some(1)]);
    }
}
