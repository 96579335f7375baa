//! A collection of requests to play with, in Postman's format (2.1, which Bruno and Insomnia import), made from the documents: every
//! operation once, with an example of its body and variables for addresses and ids.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Document, Operation};

/// By which a reader of the format recognises it.
const FORMAT: &str = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";
/// With what each variable begins. A creation sets `order_id`.
const VARIABLES: [(&str, &str); 6] = [
    ("orders_url", "http://localhost:3001"),
    ("bonus_url", "http://localhost:3003"),
    ("customer_id", "0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10"),
    ("order_id", "00000000-0000-0000-0000-000000000000"),
    ("actor", "projector"),
    ("token", ""),
];
/// Names in paths that say too little, by the service whose path it is.
const RENAMED: [(&str, &str, &str); 4] = [
    ("orders_url", "id", "order_id"),
    ("orders_url", "name", "actor"),
    ("bonus_url", "id", "customer_id"),
    ("bonus_url", "name", "actor"),
];
/// In the order of an order's life, before what else there is; the documents are sorted by path.
const FIRST: [&str; 6] =
    ["create_order", "read_order", "pay_order", "ship_order", "complete_order", "cancel_order"];
/// A new one for each time that the request is sent.
const NEW_KEY: &str = "{{$guid}}";
const REMEMBER_THE_ORDER: [&str; 3] = [
    "if (pm.response.code === 201) {",
    "    pm.collectionVariables.set(\"order_id\", pm.response.json().order_id);",
    "}",
];

/// A service, and the variable that has its address.
pub struct Described<'a> {
    pub name: &'a str,
    pub url_variable: &'a str,
    pub document: &'a Document,
}

/// # Errors
/// Something in a document of which no example can be made: it needs one there.
pub fn collection(services: &[Described<'_>]) -> Result<Value> {
    let folders = services.iter().map(folder).collect::<Result<Vec<_>>>()?;
    let variables: Vec<Value> = VARIABLES
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": value, "type": "string" }))
        .collect();
    let description = "Made from the OpenAPI documents of both services. \"Create an order\" sets order_id for the requests \
        that follow. Where the services ask for tokens, set token. Each command is sent with a new Idempotency-Key; write a fixed one to repeat a command.";
    Ok(json!({
        "info": { "name": "orders", "description": description, "schema": FORMAT },
        "item": folders,
        "auth": { "type": "bearer", "bearer": [{ "key": "token", "value": "{{token}}", "type": "string" }] },
        "variable": variables,
    }))
}

/// A folder for each tag, in the order of the document.
fn folder(service: &Described<'_>) -> Result<Value> {
    let tags = service.document.0["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut folders = Vec::new();
    for tag in tags {
        let tagged = |operation: &Operation<'_>| operation.described["tags"][0] == tag["name"];
        let mut operations: Vec<Operation<'_>> = service.document.operations().filter(tagged).collect();
        operations.sort_by_key(|operation| {
            FIRST.iter().position(|first| *first == operation.id).unwrap_or(FIRST.len())
        });
        let items =
            operations.into_iter().map(|operation| item(service, operation)).collect::<Result<Vec<_>>>()?;
        folders.push(json!({ "name": tag["name"], "description": tag["description"], "item": items }));
    }
    Ok(json!({ "name": service.name, "item": folders }))
}

fn item(service: &Described<'_>, operation: Operation<'_>) -> Result<Value> {
    let name = operation.described["summary"].as_str().unwrap_or(operation.id).trim_end_matches('.');
    let mut request = json!({
        "method": operation.method,
        "header": headers(service.document, operation),
        "url": url(service, operation),
    });
    if let Some(description) = operation.described.get("description") {
        request["description"] = description.clone();
    }
    if let Some(schema) = operation.body() {
        let example =
            service.document.example(schema).with_context(|| format!("the body of {}", operation.id))?;
        let options = json!({ "raw": { "language": "json" } });
        request["body"] = json!({ "mode": "raw", "raw": format!("{example:#}"), "options": options });
    }
    let mut item = json!({ "name": name, "request": request, "response": [] });
    if operation.id == "create_order" {
        let script = json!({ "type": "text/javascript", "exec": REMEMBER_THE_ORDER });
        item["event"] = json!([{ "listen": "test", "script": script }]);
    }
    Ok(item)
}

/// What is optional is there and switched off, but for the key.
fn headers(document: &Document, operation: Operation<'_>) -> Vec<Value> {
    let mut headers = Vec::new();
    if operation.has_body() {
        headers.push(json!({ "key": "Content-Type", "value": "application/json" }));
    }
    for parameter in operation.parameters("header") {
        let is_key = parameter["name"] == "Idempotency-Key";
        let value = if is_key { json!(NEW_KEY) } else { sample(document, parameter) };
        let mut header =
            json!({ "key": parameter["name"], "value": value, "description": parameter["description"] });
        if !is_key {
            header["disabled"] = json!(true);
        }
        headers.push(header);
    }
    headers
}

fn url(service: &Described<'_>, operation: Operation<'_>) -> Value {
    let host = format!("{{{{{}}}}}", service.url_variable);
    let named = |part| segment(service.url_variable, part);
    let path: Vec<String> = operation.path.trim_start_matches('/').split('/').map(named).collect();
    let mut url = json!({ "raw": format!("{host}/{}", path.join("/")), "host": [host], "path": path });
    let query: Vec<Value> = operation
        .parameters("query")
        .map(|parameter| {
            let (key, description) = (&parameter["name"], &parameter["description"]);
            json!({ "key": key, "value": sample(service.document, parameter), "description": description, "disabled": true })
        })
        .collect();
    if !query.is_empty() {
        url["query"] = json!(query);
    }
    url
}

/// `{id}` of the order service becomes `{{order_id}}`.
fn segment(service: &str, segment: &str) -> String {
    let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return segment.to_owned();
    };
    let renamed = RENAMED.iter().find(|(of, from, _)| *of == service && *from == name);
    format!("{{{{{}}}}}", renamed.map_or(name, |(_, _, to)| to))
}

/// An example of a parameter, as a text; empty if there is none.
fn sample(document: &Document, parameter: &Value) -> Value {
    if let Some(variable) = parameter["name"].as_str().and_then(variable) {
        return variable;
    }
    let schema = &parameter["schema"];
    let given = [&parameter["example"], &schema["default"]].into_iter().find(|value| !value.is_null());
    match given.cloned().or_else(|| document.example(schema).ok()) {
        Some(Value::String(text)) => json!(text),
        Some(value) => json!(value.to_string()),
        None => json!(""),
    }
}

/// A place that is named as a variable has the variable.
fn variable(name: &str) -> Option<Value> {
    VARIABLES.iter().any(|(variable, _)| *variable == name).then(|| json!(format!("{{{{{name}}}}}")))
}

impl Document {
    /// A value of this schema, made of the examples in it.
    fn example(&self, schema: &Value) -> Result<Value> {
        if let Some(example) = schema.get("example") {
            return Ok(example.clone());
        }
        if let Some(first) = schema.pointer("/enum/0") {
            return Ok(first.clone());
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.strip_prefix('#').and_then(|place| self.0.pointer(place));
            return self.example(target.with_context(|| format!("{reference} is not there"))?);
        }
        if let Some(schemas) = schema["oneOf"].as_array() {
            let schema = schemas.iter().find(|schema| schema["type"] != "null");
            return self.example(schema.context("only null")?);
        }
        match schema["type"].as_str() {
            Some("array") => Ok(json!([self.example(&schema["items"])?])),
            Some("object") => {
                let field = |(name, schema): (&String, &Value)| {
                    let value = variable(name).map_or_else(|| self.example(schema), Ok);
                    Ok((name.clone(), value.with_context(|| format!("the field {name}"))?))
                };
                schema["properties"].as_object().into_iter().flatten().map(field).collect()
            }
            _ => anyhow::bail!("there is no example in {schema}"),
        }
    }
}
