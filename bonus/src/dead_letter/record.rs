//! PURE: a letter as a record of the topic, whole or reduced.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;

use super::outbox::Letter;

/// The parts of a letter that are left out so that its topic takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Omissions {
    pub headers: bool,
    pub value: bool,
    pub key: bool,
}

/// From the whole letter to its place alone. The value is more important than the headers.
const FORMS: [Omissions; 5] = [
    Omissions { headers: false, value: false, key: false },
    Omissions { headers: true, value: false, key: false },
    Omissions { headers: false, value: true, key: false },
    Omissions { headers: true, value: true, key: false },
    Omissions { headers: true, value: true, key: true },
];

/// In the order to try them; only those that differ.
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

pub fn record<'a>(letter: &'a Letter, topic: &'a str, left_out: Omissions) -> FutureRecord<'a, [u8], [u8]> {
    let mut headers = OwnedHeaders::new();
    let own = letter.header_names.iter().zip(&letter.header_values).filter(|_| !left_out.headers);
    for (key, value) in own {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    for (key, value) in [
        ("dead_letter_reason", letter.reason.clone()),
        ("dead_letter_topic", letter.topic.clone()),
        ("dead_letter_partition", letter.partition.to_string()),
        ("dead_letter_offset", letter.topic_offset.to_string()),
        ("dead_letter_value_bytes", letter.value_bytes.to_string()),
        ("dead_letter_group", letter.group_id.clone()),
    ] {
        headers = headers.insert(Header { key, value: Some(&value) });
    }
    if let Some(note) = note(letter, left_out) {
        headers = headers.insert(Header { key: "dead_letter_left_out", value: Some(&note) });
    }
    let mut record = FutureRecord::to(topic).headers(headers);
    record.key = letter.message_key.as_deref().filter(|_| !left_out.key);
    record.payload = letter.value.as_deref().filter(|_| !left_out.value);
    record
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
    use rdkafka::message::Headers;

    use super::*;

    fn letter() -> Letter {
        Letter {
            letter_no: 1,
            topic: "orders".to_owned(),
            partition: 2,
            topic_offset: 3,
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
            let records: Vec<_> = forms.iter().map(|form| record(&letter, "dlq", *form)).collect();
            assert_eq!(records[0].payload, letter.value.as_deref());
            let last = records.last().unwrap();
            assert_eq!((last.key, last.payload), (None, None));
        }
    }

    #[test]
    fn what_is_left_out_is_noted() {
        let letter = letter();
        let note_of = |left_out| {
            let headers = record(&letter, "dlq", left_out).headers.unwrap();
            let note = headers.iter().find(|header| header.key == "dead_letter_left_out");
            note.map(|note| String::from_utf8(note.value.unwrap().to_vec()).unwrap())
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
