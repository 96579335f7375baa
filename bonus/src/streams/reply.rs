//! Redis' answers about entries. Whatever does not have the form of one is an error, so that nothing is acknowledged that was not
//! read.

use redis::{ErrorKind, RedisResult, Value};

use super::EntryId;

/// An entry of some stream: its id, and its fields. `None`: it was removed while it was pending.
pub type StreamEntry = (EntryId, Option<Vec<(Vec<u8>, Vec<u8>)>>);

/// What XAUTOCLAIM answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Claimed {
    /// From where to claim on; [`EntryId::START`] at the end.
    pub next: EntryId,
    pub entries: Vec<StreamEntry>,
    /// Were pending, and are removed from the stream.
    pub removed: Vec<EntryId>,
}

/// XREADGROUP: each stream's name with its entries. None if no entry came.
pub fn streams(reply: Value) -> RedisResult<Vec<(String, Vec<StreamEntry>)>> {
    let pairs = match reply {
        Value::Nil => Vec::new(),
        Value::Map(pairs) => pairs,
        other => array(other)?.into_iter().map(pair).collect::<RedisResult<_>>()?,
    };
    pairs.into_iter().map(|(name, found)| Ok((text(name)?, entries(found)?))).collect()
}

/// XRANGE, or one stream of XREADGROUP.
pub fn entries(reply: Value) -> RedisResult<Vec<StreamEntry>> {
    array(reply)?.into_iter().map(entry).collect()
}

pub fn claimed(reply: Value) -> RedisResult<Claimed> {
    let mut parts = array(reply)?.into_iter();
    let mut part = || parts.next().ok_or_else(|| malformed("a part of XAUTOCLAIM's answer is missing"));
    let (next, claimed) = (id(part()?)?, entries(part()?)?);
    let removed = array(part()?)?.into_iter().map(id).collect::<RedisResult<_>>()?;
    Ok(Claimed { next, entries: claimed, removed })
}

fn entry(reply: Value) -> RedisResult<StreamEntry> {
    let (name, fields) = pair(reply)?;
    let fields = match fields {
        Value::Nil => None,
        fields => Some(fields_of(fields)?),
    };
    Ok((id(name)?, fields))
}

fn fields_of(reply: Value) -> RedisResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut flat = array(reply)?.into_iter();
    let mut fields = Vec::with_capacity(flat.len() / 2);
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.push((bytes(name)?, bytes(value)?));
    }
    Ok(fields)
}

fn pair(reply: Value) -> RedisResult<(Value, Value)> {
    let two: [Value; 2] = array(reply)?.try_into().map_err(|_| malformed("not a pair"))?;
    let [first, second] = two;
    Ok((first, second))
}

fn id(reply: Value) -> RedisResult<EntryId> {
    text(reply)?.parse().map_err(|_| malformed("not an entry's id"))
}

fn text(reply: Value) -> RedisResult<String> {
    String::from_utf8(bytes(reply)?).map_err(|_| malformed("not a text"))
}

fn bytes(reply: Value) -> RedisResult<Vec<u8>> {
    match reply {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(malformed("not a string")),
    }
}

fn array(reply: Value) -> RedisResult<Vec<Value>> {
    match reply {
        Value::Array(items) => Ok(items),
        _ => Err(malformed("not an array")),
    }
}

fn malformed(what: &'static str) -> redis::RedisError {
    (ErrorKind::UnexpectedReturnType, "an answer about entries cannot be read", what.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn with_fields(id: &str, fields: &[&str]) -> Value {
        Value::Array(vec![bulk(id), Value::Array(fields.iter().map(|field| bulk(field)).collect())])
    }

    fn expected(id: &str, fields: &[(&str, &str)]) -> StreamEntry {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        (id.parse().unwrap(), Some(fields.collect()))
    }

    #[test]
    fn entries_are_read_by_stream() {
        let removed = Value::Array(vec![bulk("2-0"), Value::Nil]);
        let found = Value::Array(vec![with_fields("1-0", &["key", "k", "value", "v"]), removed]);
        let reply = Value::Array(vec![Value::Array(vec![bulk("t:0"), found])]);
        let first = expected("1-0", &[("key", "k"), ("value", "v")]);
        assert_eq!(
            streams(reply).unwrap(),
            [("t:0".to_owned(), vec![first, ("2-0".parse().unwrap(), None)])]
        );
        assert_eq!(streams(Value::Nil).unwrap(), []);
    }

    #[test]
    fn claims_tell_what_was_removed() {
        let reply = Value::Array(vec![
            bulk("0-0"),
            Value::Array(vec![with_fields("3-1", &[])]),
            Value::Array(vec![bulk("2-0")]),
        ]);
        let claimed = claimed(reply).unwrap();
        assert_eq!(claimed.next, EntryId::START);
        assert_eq!(claimed.entries, [expected("3-1", &[])]);
        assert_eq!(claimed.removed, ["2-0".parse().unwrap()]);
    }

    #[test]
    fn what_has_another_form_is_an_error() {
        let of_id_x = Value::Array(vec![with_fields("x", &[])]);
        for wrong in [Value::Int(1), Value::Array(vec![bulk("x")]), of_id_x] {
            assert!(entries(wrong.clone()).is_err(), "{wrong:?}");
            let of_stream = Value::Array(vec![Value::Array(vec![bulk("t:0"), wrong.clone()])]);
            assert!(streams(of_stream).is_err(), "{wrong:?}");
            assert!(claimed(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
