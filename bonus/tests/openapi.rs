//! The OpenAPI document against what the service answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bonus::http::ApiDoc;
use serde_json::Value;
use utoipa::OpenApi;

/// Clients are generated from the file.
#[test]
fn the_document_of_bonus_is_the_one_that_was_agreed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi-bonus.json");
    let described = serde_json::to_value(ApiDoc::openapi()).unwrap();
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(&file, format!("{described:#}\n")).unwrap();
    }
    let agreed: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(
        described, agreed,
        "changed on purpose? UPDATE_SNAPSHOT=1 writes docs/openapi-bonus.json anew"
    );
}
