//! PURE: the requests that take rights away and give them back (`CreateAcls` and `DeleteAcls`, version 1).

use anyhow::Result;

use super::protocol::Writer;

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const VERSION: i16 = 1;

/// Lines of `server.properties` for brokers that know rights: everybody may do everything until somebody makes rules. For a lone broker: several
/// controllers would have to be users of their own to elect one.
pub const AUTHORIZER: [&str; 2] = [
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=true",
];

// In Kafka's numbers.
const ANY: i8 = 1;
const TOPIC: i8 = 2;
const CLUSTER: i8 = 4;
const LITERAL: i8 = 3;
const ALL: i8 = 2;
const WRITE: i8 = 4;
const IDEMPOTENT_WRITE: i8 = 12;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

/// Nobody may write to a topic, or get a producer's id; everything else stays allowed. In this order: with a rule for something, what no
/// rule allows is forbidden.
pub(super) fn no_publishing() -> Result<[Vec<u8>; 4]> {
    Ok([
        create(TOPIC, "*", ALL, ALLOW)?,
        create(TOPIC, "*", WRITE, DENY)?,
        create(CLUSTER, "kafka-cluster", ALL, ALLOW)?,
        create(CLUSTER, "kafka-cluster", IDEMPOTENT_WRITE, DENY)?,
    ])
}

fn create(resource: i8, name: &str, operation: i8, permission: i8) -> Result<Vec<u8>> {
    let mut request = Writer::request(CREATE_ACLS, VERSION)?;
    request.int32(1);
    request.int8(resource);
    request.string(name)?;
    request.int8(LITERAL);
    request.string("User:*")?;
    request.string("*")?; // host
    request.int8(operation);
    request.int8(permission);
    request.finish()
}

/// No rule is left.
pub(super) fn delete_all() -> Result<Vec<u8>> {
    let mut request = Writer::request(DELETE_ACLS, VERSION)?;
    request.int32(1);
    request.int8(ANY); // resource
    request.null(); // its name
    request.int8(ANY); // pattern
    request.null(); // user
    request.null(); // host
    request.int8(ANY); // operation
    request.int8(ANY); // permission
    request.finish()
}
