//! One entry of a stream.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// Milliseconds since 1970, unless whoever added the entry chose the id.
    pub ms: u64,
    pub sequence: u64,
}

impl EntryId {
    /// Before every entry.
    pub const START: Self = Self { ms: 0, sequence: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

impl FromStr for EntryId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, sequence) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self { ms: ms.parse()?, sequence: sequence.parse()? })
    }
}

/// An entry, whole.
#[derive(Debug, Clone)]
pub struct Entry {
    pub topic: Arc<str>,
    pub partition: i32,
    pub id: EntryId,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    fn field(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name.as_bytes())?;
        Some(value)
    }

    pub fn key(&self) -> Option<&[u8]> {
        self.field("key")
    }

    pub fn value(&self) -> Option<&[u8]> {
        self.field("value")
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.field(name).filter(|_| is_header(name))
    }

    /// Those whose names can be read, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let named = self
            .fields
            .iter()
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, &value[..])));
        named.filter(|(name, _)| is_header(name))
    }

    /// How much memory the fields take, names included.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

fn is_header(field: &str) -> bool {
    field != "key" && field != "value"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_as_in_the_stream_and_read_as_they_are_written() {
        let ids = ["0-0", "5-9", "5-10", "17-0"].map(|text| text.parse::<EntryId>().unwrap());
        assert!(ids.is_sorted());
        assert_eq!(ids.map(|id| id.to_string()), ["0-0", "5-9", "5-10", "17-0"]);
        assert_eq!("7".parse(), Ok(EntryId { ms: 7, sequence: 0 }));
        assert!("x-1".parse::<EntryId>().is_err());
    }

    #[test]
    fn key_and_value_are_no_headers() {
        let field = |name: &[u8]| (name.to_vec(), b"x".to_vec());
        let fields = vec![field(b"key"), field(b"ce_id"), field(b"value"), field(b"\xff")];
        let entry = Entry { topic: "t".into(), partition: 0, id: EntryId::START, fields };
        assert_eq!(entry.headers().collect::<Vec<_>>(), [("ce_id", &b"x"[..])]);
        assert_eq!((entry.header("key"), entry.header("ce_id")), (None, Some(&b"x"[..])));
        assert_eq!(entry.bytes(), 18);
    }
}
