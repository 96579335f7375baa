//! What is stored beside an event: where it came from, and its schema version.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::FIRST_SCHEMA_VERSION;

/// As it is written. Defaults are left out.
#[derive(Serialize)]
pub(crate) struct Metadata<'a> {
    pub(crate) correlation_id: &'a str,
    pub(crate) causation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "is_first")]
    pub(crate) schema_version: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(version: &u32) -> bool {
    *version == FIRST_SCHEMA_VERSION
}

/// The schema version that an event was written with.
///
/// # Errors
/// When it is there and is no version: then nobody knows how to read the event.
pub(super) fn schema_version(metadata: &str) -> Result<u32, serde_json::Error> {
    #[derive(Deserialize)]
    struct Stored {
        schema_version: Option<u32>,
    }
    // Most rows do not have it, and are not parsed for it: a long history is loaded in one go.
    if !metadata.contains("\"schema_version\"") {
        return Ok(FIRST_SCHEMA_VERSION);
    }
    let Stored { schema_version } = serde_json::from_str(metadata)?;
    Ok(schema_version.unwrap_or(FIRST_SCHEMA_VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_schema_version_is_not_written_and_any_other_is() {
        let write = |schema_version| {
            let (correlation_id, causation_id) = ("\"schema_version\"", Uuid::nil());
            let (traceparent, idempotency_key) = (None, Some("schema_version"));
            serde_json::to_string(&Metadata {
                correlation_id,
                causation_id,
                traceparent,
                idempotency_key,
                schema_version,
            })
            .unwrap()
        };
        assert!(!write(1).contains("schema_version\":"));
        assert_eq!(schema_version(&write(1)).unwrap(), 1);
        assert_eq!(schema_version(&write(2)).unwrap(), 2);
        assert_eq!(schema_version("{}").unwrap(), 1);
        assert!(schema_version(r#"{"schema_version":"two"}"#).is_err());
    }
}
