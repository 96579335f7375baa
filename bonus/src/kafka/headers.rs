//! Reading a message's headers, valid or not.
//!
//! rdkafka 0.39 panics on a header whose name is not UTF-8, which the protocol allows any client to send. Such a header is
//! skipped here: a panic would repeat with the message, and no later message would ever be read.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::Message;
use rdkafka::message::{Header, Headers};

/// Those whose names can be read, in their order.
pub fn readable<H: Headers>(headers: &H) -> impl Iterator<Item = Header<'_, &[u8]>> {
    (0..headers.count()).filter_map(|place| {
        // Nothing is changed by reading, so nothing is left half done.
        catch_unwind(AssertUnwindSafe(|| headers.get(place))).ok()
    })
}

/// The first one of this name.
pub fn value<'a, H: Headers>(headers: &'a H, name: &str) -> Option<&'a [u8]> {
    readable(headers).find(|header| header.key == name)?.value
}

/// How much memory all of them take, names included.
pub fn bytes<M: Message>(message: &M) -> usize {
    let length = |header: Header<'_, &[u8]>| header.key.len() + header.value.map_or(0, <[u8]>::len);
    message.headers().map_or(0, |headers| readable(headers).map(length).sum())
}
