//! PURE: one request of Kafka's protocol as bytes, and its response: which topic has a name (`Metadata`, version 12: Kafka 3.1 and
//! newer).
//!
//! Written by hand for two reasons. rust-rdkafka does not expose a topic's id. And general codecs reserve as much memory as a
//! response claims to need, so a response of another kind of server on that port could end the process. Here each length is checked
//! against the bytes received.

use uuid::Uuid;

use super::decoder::Decoder;

const METADATA: i16 = 3;
const VERSION: i16 = 12;
/// The response repeats this number. There is one request a connection, so any number will do.
const CORRELATION: i32 = 1;
/// Longest response. A topic of 10,000 partitions with three replicas takes half a megabyte.
pub(super) const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// A topic with its id: one that is deleted and created again gets another id under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicIdentity {
    pub id: Uuid,
    pub partitions: i32,
    /// Partitions that cannot be written to or read from now.
    pub without_leader: i32,
    /// The number of replicas in sync, in the partition that has the fewest.
    pub in_sync_least: i32,
}

/// A broker's response about the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopicResponse {
    Topic(TopicIdentity),
    /// Kafka's error code for this topic.
    Error(i16),
}

/// The request, without its length.
pub(super) fn encode_request(client_id: &str, topic: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(METADATA.to_be_bytes());
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(CORRELATION.to_be_bytes());
    bytes.extend(i16::try_from(client_id.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(client_id.as_bytes());
    no_tags(&mut bytes);
    // One topic, by its name: its id is unknown.
    length(1, &mut bytes);
    bytes.extend(Uuid::nil().as_bytes());
    length(topic.len(), &mut bytes);
    bytes.extend(topic.as_bytes());
    no_tags(&mut bytes);
    // Do not create it, and do not list the permitted operations.
    bytes.extend([0, 0]);
    no_tags(&mut bytes);
    bytes
}

fn no_tags(bytes: &mut Vec<u8>) {
    bytes.push(0);
}

fn length(length: usize, bytes: &mut Vec<u8>) {
    let mut rest = length + 1;
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// Decodes a response (without its length) about `topic`. The error tells what is wrong with the response.
pub(super) fn decode_response(bytes: &[u8], topic: &str) -> Result<TopicResponse, &'static str> {
    let mut rest = Decoder::new(bytes);
    if rest.i32()? != CORRELATION {
        return Err("it answers another question");
    }
    rest.tags()?;
    let _throttled_ms = rest.i32()?;
    for _ in 0..rest.length()? {
        rest.broker()?;
    }
    let _cluster_id = rest.text()?;
    let _controller = rest.i32()?;
    for _ in 0..rest.length()? {
        let (name, answer) = rest.topic()?;
        if name == Some(topic) {
            return Ok(answer);
        }
    }
    Err("it does not mention the topic")
}

impl<'a> Decoder<'a> {
    fn broker(&mut self) -> Result<(), &'static str> {
        let _node = self.i32()?;
        let _host = self.text()?;
        let _port = self.i32()?;
        let _rack = self.text()?;
        self.tags()
    }

    fn topic(&mut self) -> Result<(Option<&'a str>, TopicResponse), &'static str> {
        let error = self.i16()?;
        let name = self.text()?;
        let id = Uuid::from_bytes(self.fixed()?);
        let [_internal] = self.fixed()?;
        let mut found = TopicIdentity { id, partitions: 0, without_leader: 0, in_sync_least: i32::MAX };
        for _ in 0..self.length()? {
            let (has_leader, in_sync) = self.partition()?;
            found.partitions += 1;
            found.without_leader += i32::from(!has_leader);
            found.in_sync_least = found.in_sync_least.min(in_sync);
        }
        let _operations = self.i32()?;
        self.tags()?;
        if error != 0 {
            return Ok((name, TopicResponse::Error(error)));
        }
        if id.is_nil() || found.partitions == 0 {
            return Err("the topic has no id or no partitions");
        }
        Ok((name, TopicResponse::Topic(found)))
    }

    /// Whether it has a leader, and how many of its replicas are in sync.
    fn partition(&mut self) -> Result<(bool, i32), &'static str> {
        let _error = self.i16()?;
        let _index = self.i32()?;
        let leader = self.i32()?;
        let _epoch = self.i32()?;
        let _replicas = self.nodes()?;
        let in_sync = self.nodes()?;
        let _offline = self.nodes()?;
        self.tags()?;
        Ok((leader >= 0, in_sync))
    }

    fn nodes(&mut self) -> Result<i32, &'static str> {
        let length = self.length()?;
        for _ in 0..length {
            self.i32()?;
        }
        i32::try_from(length).map_err(|_| "a length is out of range")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded from Apache Kafka 4.4.0, one broker.
    const REQUEST: &str = "0003000c00000001000b746f7069632d77617463680002000000000000000000000000000000000e6f72646572732e6576656e747300000000";
    const THERE: &str = concat!(
        "00000001000000000002000000010a3132372e302e302e3100006ec000001762334a6b5a584a7a4c584e3059574e724c5441774d5100000001020000",
        "0e6f72646572732e6576656e7473c160a97cd81a4845a22a01f0ea6b0b35000700000000000000000001000000000200000001020000000101000000",
        "000000010000000100000000020000000102000000010100000000000002000000010000000002000000010200000001010000000000000300000001",
        "000000000200000001020000000101000000000000040000000100000000020000000102000000010100000000000005000000010000000002000000",
        "0102000000010100800000000000",
    );
    const MISSING: &str = concat!(
        "00000001000000000002000000010a3132372e302e302e3100006ec000001762334a6b5a584a7a4c584e3059574e724c5441774d5100000001020003",
        "0e6f72646572732e6576656e7473000000000000000000000000000000000001800000000000",
    );
    const FORBIDDEN_NAME: &str = concat!(
        "00000001000000000002000000010a3132372e302e302e3100006ec000001762334a6b5a584a7a4c584e3059574e724c5441774d5100000001020011",
        "04612062000000000000000000000000000000000001800000000000",
    );

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_question_is_what_a_broker_understood() {
        let asked = encode_request("topic-watch", "orders.events");
        assert_eq!(asked, bytes(REQUEST));
    }

    #[test]
    fn a_topic_is_told_from_a_missing_one_and_a_forbidden_name() {
        let id = Uuid::from_u128(0xc160_a97c_d81a_4845_a22a_01f0_ea6b_0b35);
        let there = TopicIdentity { id, partitions: 6, without_leader: 0, in_sync_least: 1 };
        assert_eq!(decode_response(&bytes(THERE), "orders.events"), Ok(TopicResponse::Topic(there)));
        assert_eq!(decode_response(&bytes(MISSING), "orders.events"), Ok(TopicResponse::Error(3)));
        assert_eq!(decode_response(&bytes(FORBIDDEN_NAME), "a b"), Ok(TopicResponse::Error(17)));
        assert_eq!(decode_response(&bytes(THERE), "payments.events"), Err("it does not mention the topic"));
    }

    #[test]
    fn a_partition_without_a_leader_is_counted() {
        let mut recorded = bytes(THERE);
        // Six partitions of 26 bytes, and six more behind them; a leader stands behind the error and the number.
        let partitions = recorded.len() - 6 * 26 - 6;
        recorded[partitions + 6..partitions + 10].copy_from_slice(&(-1_i32).to_be_bytes());
        let Ok(TopicResponse::Topic(topic)) = decode_response(&recorded, "orders.events") else {
            panic!("it can be read")
        };
        assert_eq!((topic.partitions, topic.without_leader), (6, 1));
    }

    #[test]
    fn an_answer_that_is_cut_off_is_an_error() {
        let recorded = bytes(THERE);
        // The last two are the array's and the answer's own tags, behind what is read.
        for length in 0..recorded.len() - 1 {
            assert!(decode_response(&recorded[..length], "orders.events").is_err(), "{length} bytes");
        }
    }

    /// No length that an answer claims is believed beyond the bytes that are there.
    #[test]
    fn a_wrong_answer_ends_in_an_error_or_another_answer_but_ends() {
        let recorded = bytes(THERE);
        for at in 0..recorded.len() {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut wrong = recorded.clone();
                wrong[at] = value;
                let _ = decode_response(&wrong, "orders.events");
            }
        }
        assert_eq!(
            decode_response(b"HTTP/1.1 400 Bad Request\r\n", "orders.events"),
            Err("it answers another question")
        );
        let endless = [&1_i32.to_be_bytes()[..], &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
        assert_eq!(decode_response(&endless, "orders.events"), Err("a length is out of range"));
    }
}
