//! PURE: a letter as a record of the topic, whole or reduced.

use std::borrow::Cow;

use super::outbox::Letter;

/// The parts of a letter that are left out so that its topic takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Omissions {
    pub headers: bool,
    pub value: bool,
    pub key: bool,
}

pub const WHOLE: Omissions = Omissions { headers: false, value: false, key: false };

/// From the whole letter to its place alone. The value is more important than the headers.
#[cfg(feature = "kafka")]
const FORMS: [Omissions; 5] = [
    WHOLE,
    Omissions { headers: true, value: false, key: false },
    Omissions { headers: false, value: true, key: false },
    Omissions { headers: true, value: true, key: false },
    Omissions { headers: true, value: true, key: true },
];

/// What the topic is sent.
pub struct Record<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// A value may be missing.
    pub headers: Vec<(&'a str, Option<Cow<'a, [u8]>>)>,
}

/// In the order to try them; only those that differ.
#[cfg(feature = "kafka")]
pub fn forms(letter: &Letter) -> Vec<Omissions> {
    let mut forms = Vec::with_capacity(FORMS.len());
    for Omissions { headers, value, key } in FORMS {
        let form = Omissions {
            headers: headers && !letter.header_names.is_empty(),
            value: value && letter.value.is_some(),
            key: key && letter.message_key.is_some(),
        };
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

pub fn record(letter: &Letter, left_out: Omissions) -> Record<'_> {
    let own = letter.header_names.iter().zip(&letter.header_values).filter(|_| !left_out.headers);
    let own = own.map(|(name, value)| (name.as_str(), value.as_deref().map(Cow::from)));
    let ours = [
        ("dead_letter_reason", letter.reason.clone()),
        ("dead_letter_topic", letter.topic.clone()),
        ("dead_letter_partition", letter.partition.to_string()),
        ("dead_letter_offset", letter.position()),
        ("dead_letter_value_bytes", letter.value_bytes.to_string()),
        ("dead_letter_group", letter.group_id.clone()),
    ];
    let note = note(letter, left_out).map(|note| ("dead_letter_left_out", note));
    let ours = ours.into_iter().chain(note);
    Record {
        key: letter.message_key.as_deref().filter(|_| !left_out.key),
        value: letter.value.as_deref().filter(|_| !left_out.value),
        headers: own.chain(ours.map(|(name, text)| (name, Some(text.into_bytes().into())))).collect(),
    }
}

/// What is missing and how large it was, such as `headers (110000 bytes)`.
fn note(letter: &Letter, left_out: Omissions) -> Option<String> {
    let values = letter.header_values.iter().flatten().map(Vec::len);
    let headers = values.chain(letter.header_names.iter().map(String::len)).sum::<usize>();
    // A value that was too large to be stored is missing in every form.
    let value_is_missing = letter.value_bytes > 0 && (left_out.value || letter.value.is_none());
    let missing = [
        (left_out.headers && headers > 0).then(|| format!("headers ({headers} bytes)")),
        value_is_missing.then(|| format!("value ({} bytes)", letter.value_bytes)),
        letter.message_key.as_ref().filter(|_| left_out.key).map(|key| format!("key ({} bytes)", key.len())),
    ];
    let missing: Vec<String> = missing.into_iter().flatten().collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            letter_no: 1,
            topic: "orders".to_owned(),
            partition: 2,
            topic_offset: Some(3),
            entry_id: None,
            group_id: "bonus".to_owned(),
            reason: "broken".to_owned(),
            message_key: Some(b"key".to_vec()),
            value: Some(b"value".to_vec()),
            value_bytes: 5,
            header_names: vec!["a".to_owned(), "b".to_owned()],
            header_values: vec![Some(b"12".to_vec()), None],
        }
    }

    #[test]
    fn no_two_forms_of_a_letter_are_the_same_and_the_last_is_its_place() {
        let bare = Letter { header_names: vec![], header_values: vec![], ..letter() };
        let place = Letter { message_key: None, value: None, ..bare.clone() };
        for (letter, expected) in [(letter(), 5), (bare, 3), (place, 1)] {
            let forms = forms(&letter);
            assert_eq!(forms.len(), expected, "{forms:?}");
            let records: Vec<_> = forms.iter().map(|form| record(&letter, *form)).collect();
            assert_eq!(records[0].value, letter.value.as_deref());
            let last = records.last().unwrap();
            assert_eq!((last.key, last.value), (None, None));
        }
    }

    #[test]
    fn what_is_left_out_is_noted() {
        let letter = letter();
        let note_of = |left_out| {
            let headers = record(&letter, left_out).headers;
            let note = headers.into_iter().find(|(name, _)| *name == "dead_letter_left_out");
            note.map(|(_, note)| String::from_utf8(note.unwrap().into_owned()).unwrap())
        };
        let notes: Vec<_> = FORMS.into_iter().map(note_of).collect();
        let expected = [
            None,
            Some("headers (4 bytes)"),
            Some("value (5 bytes)"),
            Some("headers (4 bytes), value (5 bytes)"),
            Some("headers (4 bytes), value (5 bytes), key (3 bytes)"),
        ];
        assert_eq!(notes, expected.map(|note| note.map(str::to_owned)));
    }
}
