//! PURE: the request that sets a quota (`AlterClientQuotas`, version 0).

use anyhow::Result;

use super::protocol::Writer;

const ALTER_CLIENT_QUOTAS: i16 = 49;
const VERSION: i16 = 0;

/// Whose quota. Kafka counts each client id, or each user, by itself, per broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaOf<'a> {
    /// Every client id that has none of its own.
    EachClient,
    Client(&'a str),
    /// Every user that has none of its own. Who does not log in is the user `ANONYMOUS`.
    EachUser,
}

/// `None` removes the quota.
pub(super) fn request(of: QuotaOf<'_>, quota: &str, value: Option<f64>) -> Result<Vec<u8>> {
    let mut request = Writer::request(ALTER_CLIENT_QUOTAS, VERSION)?;
    request.int32(1); // entries
    request.int32(1); // parts of the entity
    match of {
        QuotaOf::EachClient => {
            request.string("client-id")?;
            request.null();
        }
        QuotaOf::Client(id) => {
            request.string("client-id")?;
            request.string(id)?;
        }
        QuotaOf::EachUser => {
            request.string("user")?;
            request.null();
        }
    }
    request.int32(1); // quotas
    request.string(quota)?;
    request.float64(value.unwrap_or_default());
    request.int8(i8::from(value.is_none())); // remove
    request.int8(0); // not only validated
    request.finish()
}
