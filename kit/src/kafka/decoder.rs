//! PURE: reads what a broker sends. Each length is checked against the bytes received.

/// A nullable length is sent plus one; zero is null.
const NULL: usize = 0;

/// The bytes that are not read yet.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "it is cut off")
    }

    pub(super) fn i16(&mut self) -> Result<i16, &'static str> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, &'static str> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// A text as older requests have it.
    pub(super) fn nullable(&mut self) -> Result<Option<&'a str>, &'static str> {
        let Ok(length) = usize::try_from(self.i16()?) else { return Ok(None) };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| "a text is not UTF-8")
    }

    /// Seven bits a byte, the lowest first, at most five bytes.
    pub(super) fn varint(&mut self) -> Result<usize, &'static str> {
        let mut value: u64 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| "a length is out of range");
            }
        }
        Err("a length is out of range")
    }

    /// The length of an array or text; null counts as empty. Every element takes at least a byte, so a length beyond the rest is an
    /// error.
    pub(super) fn length(&mut self) -> Result<usize, &'static str> {
        let length = self.varint()?.saturating_sub(1);
        if length > self.0.len() { Err("a length is out of range") } else { Ok(length) }
    }

    pub(super) fn text(&mut self) -> Result<Option<&'a str>, &'static str> {
        match self.varint()? {
            NULL => Ok(None),
            length => {
                std::str::from_utf8(self.take(length - 1)?).map(Some).map_err(|_| "a text is not UTF-8")
            }
        }
    }

    /// Fields that a newer broker may add.
    pub(super) fn tags(&mut self) -> Result<(), &'static str> {
        for _ in 0..self.varint()? {
            let _tag = self.varint()?;
            let size = self.varint()?;
            self.take(size)?;
        }
        Ok(())
    }
}
