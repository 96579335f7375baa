//! What every OpenAPI document of ours says in the same way: the problems of each operation, and patterns of texts.
//!
//! An operation lists what it alone may answer ([`problems!`](crate::problems)). [`CommonProblems`] adds what follows from its
//! method, path, query and body. Each status has one response, and each kind of problem an example in it by its name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use utoipa::Modify;
use utoipa::openapi::example::Example;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Ref, RefOr, Schema, Type};

use super::endpoint::Endpoint;
use super::kind::*;
use super::problem::{PROBLEM_JSON, Problem};

/// Names the problems that an operation may answer, for its `responses(…)`.
///
/// ```
/// use kit::http::{DATABASE_UNAVAILABLE, Kind};
///
/// const NO_SUCH_BOOK: Kind = Kind::new(404, "no-such-book", "There is no such book", "Check its number.");
/// kit::problems!(pub ReadProblems: NO_SUCH_BOOK, DATABASE_UNAVAILABLE);
///
/// #[utoipa::path(get, path = "/books", responses((status = 200, description = "The book"), ReadProblems))]
/// async fn read() {}
/// ```
#[macro_export]
macro_rules! problems {
    ($visibility:vis $name:ident: $($kind:path),+ $(,)?) => {
        #[doc = "The problems that an operation may answer."]
        $visibility struct $name;

        impl ::utoipa::IntoResponses for $name {
            fn responses() -> $crate::http::openapi::Responses {
                $crate::http::openapi::responses(&[$($kind),+])
            }
        }
    };
}

/// By status.
pub type Responses = BTreeMap<String, RefOr<Response>>;

pub fn responses(kinds: &[Kind]) -> Responses {
    let mut responses = Responses::new();
    for kind in kinds {
        add(&mut responses, kind);
    }
    responses
}

fn add(responses: &mut Responses, kind: &Kind) {
    let response = responses.entry(kind.status.to_string()).or_insert_with(|| Response::new("").into());
    let RefOr::T(response) = response else { return };
    let content = response.content.entry(PROBLEM_JSON.to_owned());
    let content = content.or_insert_with(|| Content::new(Some(Ref::from_schema_name("Problem"))).into());
    let RefOr::T(content) = content else { return };
    let mut example = Example::new();
    kind.title.clone_into(&mut example.summary);
    example.value = serde_json::to_value(Problem::sample(kind)).ok();
    content.examples.insert(kind.name.to_owned(), example.into());
    let names: Vec<String> = content.examples.keys().map(|name| format!("`{name}`")).collect();
    response.description = names.join(", ");
    if kind.status == 401 || *kind == INSUFFICIENT_ROLE {
        response.headers.insert("WWW-Authenticate".to_owned(), challenge().into());
    }
    if kind.retry_after_seconds.is_some() {
        response.headers.insert("Retry-After".to_owned(), retry_after().into());
    }
}

fn challenge() -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^Bearer( |$)")).build();
    let description = "What is missing, or wrong with the token, as RFC 6750 has it.";
    let example = json!("Bearer error=\"invalid_token\", error_description=\"the token has expired\"");
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).example(Some(example)).build()
}

fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
    let description = "Seconds after which a repetition makes sense.";
    HeaderBuilder::new().schema(Some(seconds)).description(Some(description)).example(Some(json!(2))).build()
}

/// Adds the problems that follow from what an operation takes, and that none has to list.
pub struct CommonProblems;

impl Modify for CommonProblems {
    fn modify(&self, document: &mut OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in item.get.iter_mut() {
                complete(operation, &[]);
            }
            for operation in item.post.iter_mut() {
                complete(operation, &[CROSS_ORIGIN]);
            }
        }
    }
}

const BEARER: &str = "bearer";

/// Says of each operation which roles it takes, and what is answered to others.
pub fn guard(document: &mut OpenApi, table: &[Endpoint]) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("A JSON Web Token with one of the roles customer, operator, admin. Not needed where the service runs without authentication."))
        .build();
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(scheme).into());
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [("GET", &mut item.get), ("POST", &mut item.post)] {
            let is_this = |endpoint: &&Endpoint| endpoint.path == path && endpoint.methods.contains(&method);
            let permission = table.iter().find(is_this).and_then(|endpoint| endpoint.permission);
            if let (Some(operation), Some(permission)) = (operation, permission) {
                let roles: Vec<&str> = permission.roles().map(|role| role.name()).collect();
                operation.security = Some(vec![SecurityRequirement::new(BEARER, roles)]);
                for kind in [MISSING_TOKEN, INVALID_TOKEN, INSUFFICIENT_ROLE, TOO_MANY_REQUESTS] {
                    add(&mut operation.responses.responses, &kind);
                }
            }
        }
    }
}

/// What a body that is JSON may be answered.
const OF_A_BODY: [Kind; 7] = [
    MALFORMED_JSON,
    UNREADABLE_BODY,
    REPEATED_HEADER,
    REQUEST_TIMEOUT,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_FIELDS,
];

fn complete(operation: &mut Operation, of_the_method: &[Kind]) {
    let mut kinds = vec![UNKNOWN_HOST];
    kinds.extend(of_the_method);
    if operation.request_body.is_some() {
        kinds.extend(OF_A_BODY);
    }
    let parameters = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let mut places = BTreeSet::new();
    for parameter in parameters {
        match parameter.parameter_in {
            ParameterIn::Path if is_uuid(parameter) => _ = places.insert("path"),
            ParameterIn::Query => _ = places.insert("query"),
            _ => {}
        }
    }
    if places.contains("path") {
        kinds.push(MALFORMED_ID);
    }
    if places.contains("query") {
        kinds.push(MALFORMED_QUERY);
    }
    for kind in &kinds {
        add(&mut operation.responses.responses, kind);
    }
}

fn is_uuid(parameter: &Parameter) -> bool {
    let format = match &parameter.schema {
        Some(RefOr::T(Schema::Object(object))) => &object.format,
        _ => &None,
    };
    matches!(format, Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}
