//! Headers of requests and answers, as the documentation has them.

use kit::schema::text;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// What any command may be sent with. [`super::body`] reads them.
#[expect(dead_code, reason = "it documents what is read elsewhere")]
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct CommandHeaders {
    /// A request that repeats this key and its body is answered with the first outcome again, and does nothing.
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        pattern = r"^[!-~]([ -~\t]{0,253}[!-~])?$",
        min_length = 1,
        max_length = 255
    )]
    idempotency_key: Option<String>,
    /// The order must be at this version: an `ETag` as it was answered, or `*` for any.
    #[param(rename = "If-Match", nullable = false, pattern = r#"^(\*|"[0-9]{1,18}")$"#, example = "\"1\"")]
    if_match: Option<String>,
    /// The caller's name for what the command belongs to; kept with its event. 1 to 255 printable ASCII characters: another text is
    /// as good as none.
    #[param(rename = "X-Correlation-Id", nullable = false, example = "checkout-7")]
    x_correlation_id: Option<String>,
    /// The caller's W3C trace context; kept with the event. Another text is as good as none.
    #[param(
        rename = "traceparent",
        nullable = false,
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )]
    traceparent: Option<String>,
}

/// Headers of answers, for the documentation.
macro_rules! header {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text($pattern, $example).into()
            }
        }

        impl ToSchema for $name {}
    };
}

header!(
    /// The order's version.
    ETag, r#"^"[1-9][0-9]{0,18}"$"#, "\"1\"");
header!(
    /// Of a new order.
    Location, "^/api/orders/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "/api/orders/0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10");
header!(
    /// Only there on a repeated outcome.
    Replayed, "^true$", "true");
