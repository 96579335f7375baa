//! The kinds of problems. Handlers answer with one, and the OpenAPI document is made from the same constants.

/// A kind of problem, by which programs tell problems apart. Stable once it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The last part of the type, as in `urn:orders:problem:malformed-id`.
    pub name: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// A detail as it may be answered.
    pub example: &'static str,
    /// The value of `Retry-After`; `None` where a repetition changes nothing.
    pub retry_after_seconds: Option<u16>,
}

impl Kind {
    pub const fn new(status: u16, name: &'static str, title: &'static str, example: &'static str) -> Self {
        Self { name, status, title, example, retry_after_seconds: None }
    }

    /// A request that cannot be read.
    pub const fn unreadable(name: &'static str, example: &'static str) -> Self {
        Self::new(400, name, "The request cannot be read", example)
    }

    /// What works again by itself.
    pub const fn unavailable(name: &'static str, example: &'static str, retry_after_seconds: u16) -> Self {
        let kind = Self::new(503, name, "The service cannot do this now", example);
        Self { retry_after_seconds: Some(retry_after_seconds), ..kind }
    }

    /// As an answer has it.
    pub fn type_name(&self) -> String {
        format!("{TYPE_PREFIX}{}", self.name)
    }
}

/// The types are the same for all services, so that a client handles each only once.
pub const TYPE_PREFIX: &str = "urn:orders:problem:";

pub const MALFORMED_ID: Kind =
    Kind::unreadable("malformed-id", "The id in the path is not a UUID: invalid length.");
pub const MALFORMED_QUERY: Kind =
    Kind::unreadable("malformed-query", "The query cannot be read: unknown field `colour`.");
pub const MALFORMED_JSON: Kind =
    Kind::unreadable("malformed-json", "The body is not JSON: EOF while parsing an object.");
pub const UNREADABLE_BODY: Kind =
    Kind::unreadable("unreadable-body", "The body did not arrive whole: a chunk is malformed.");
pub const REPEATED_HEADER: Kind = Kind::unreadable(
    "repeated-header",
    "content-type is there more than once, with different values; send it once.",
);
pub const MISSING_TOKEN: Kind = Kind::new(
    401,
    "missing-token",
    "The caller is not known",
    "Nothing was done: send a token, as Authorization: Bearer …",
);
pub const INVALID_TOKEN: Kind = Kind::new(
    401,
    "invalid-token",
    "The token is not valid",
    "Nothing was done: the token has expired. Send another one.",
);
pub const INSUFFICIENT_ROLE: Kind = Kind::new(
    403,
    "insufficient-role",
    "The caller may not do this",
    "Nothing was done: this takes one of the roles operator admin.",
);
pub const FOREIGN_CUSTOMER: Kind = Kind::new(
    403,
    "foreign-customer",
    "The customer is somebody else",
    "Nothing was done: a customer may ask for what is their own, and customer_id is another one's.",
);
pub const CROSS_ORIGIN: Kind = Kind::new(
    403,
    "cross-origin",
    "The request is a page's of another origin",
    "A page of another origin cannot ask this. Nothing was done.",
);
pub const NOT_FOUND: Kind = Kind::new(
    404,
    "not-found",
    "There is nothing here",
    "Nothing is served at /nowhere; see /api-docs/openapi.json.",
);
pub const METHOD_NOT_ALLOWED: Kind = Kind::new(
    405,
    "method-not-allowed",
    "The method is not allowed here",
    "DELETE is not served at /livez, only GET, HEAD; see /api-docs/openapi.json.",
);
pub const REQUEST_TIMEOUT: Kind = Kind::new(
    408,
    "request-timeout",
    "The request came too slowly",
    "The body did not arrive within 10s. Nothing was done; send the request again.",
);
pub const BODY_TOO_LARGE: Kind = Kind::new(
    413,
    "body-too-large",
    "The body is too large",
    "Send a smaller body: at most 65536 bytes are taken.",
);
pub const UNSUPPORTED_MEDIA_TYPE: Kind = Kind::new(
    415,
    "unsupported-media-type",
    "The body is not JSON",
    "Send the body with Content-Type: application/json.",
);
pub const UNKNOWN_HOST: Kind = Kind::new(
    421,
    "unknown-host",
    "The host is not known",
    "The service is not asked under this name; use localhost or an address.",
);
pub const TOO_MANY_REQUESTS: Kind = Kind {
    retry_after_seconds: Some(1),
    ..Kind::new(
        429,
        "too-many-requests",
        "The caller sends too many requests",
        "Nothing was done: a caller may send 100 request(s) a second, and 200 at once. Send it again after 1 second(s), and send fewer.",
    )
};
pub const INVALID_FIELDS: Kind = Kind::new(
    422,
    "invalid-fields",
    "The request is not valid",
    "1 field(s) are not valid; correct them and send the request again",
);
pub const INTERNAL: Kind = Kind::new(
    500,
    "internal",
    "The service failed",
    "The service failed while it handled this request; the log says why.",
);
pub const DATABASE_UNAVAILABLE: Kind =
    Kind::unavailable("database-unavailable", "The database cannot be reached; try again.", 2);
pub const CROWDED_CONNECTION: Kind = Kind::unavailable(
    "crowded-connection",
    "There are too many requests in hand on this connection; wait for answers, or open another one.",
    1,
);
pub const STOPPING: Kind = Kind::unavailable("stopping", "The service is stopping; try again.", 1);
