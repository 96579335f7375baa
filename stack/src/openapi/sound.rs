//! Whether a document is one that a client can be generated from.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Document, Operation, PROBLEM_JSON, schema};

impl Document {
    /// What is wrong with it; empty when nothing is.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.references(&self.0, &mut faults);
        self.schema_examples(&mut faults);
        let mut ids = BTreeSet::new();
        for operation in self.operations() {
            let Operation { id, method, path, .. } = operation;
            if id.is_empty() || !ids.insert(id) {
                faults.push(format!("{method} {path}: its operationId is missing or another's: {id:?}"));
            }
            self.operation_faults(operation, &mut faults);
        }
        if ids.is_empty() {
            faults.push("there are no operations".to_owned());
        }
        faults
    }

    /// Every `$ref` leads somewhere.
    fn references(&self, part: &Value, faults: &mut Vec<String>) {
        match part {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str().filter(|_| name == "$ref") {
                        Some(place)
                            if place
                                .strip_prefix('#')
                                .is_none_or(|place| self.0.pointer(place).is_none()) =>
                        {
                            faults.push(format!("{place} is referred to, and not there"));
                        }
                        _ => self.references(value, faults),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.references(value, faults)),
            _ => {}
        }
    }

    /// An example is what it is an example of.
    fn schema_examples(&self, faults: &mut Vec<String>) {
        for (name, described) in self.0["components"]["schemas"].as_object().into_iter().flatten() {
            let fields = described["properties"].as_object().into_iter().flatten();
            let fields = fields.map(|(field, schema)| (format!("{name}.{field}"), schema));
            for (place, schema) in fields.chain([(name.clone(), described)]) {
                let examples = schema["examples"].as_array().into_iter().flatten();
                for example in examples.chain(schema.get("example")) {
                    let found = schema::mismatches(&self.0, schema, example);
                    faults.extend(found.into_iter().map(|found| format!("{place}, example: {found}")));
                }
            }
        }
    }

    fn operation_faults(&self, operation: Operation<'_>, faults: &mut Vec<String>) {
        let id = operation.id;
        let mut fault = |words: String| faults.push(format!("{id}: {words}"));
        let named: BTreeSet<&str> =
            operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let described: BTreeSet<&str> =
            operation.parameters("path").filter_map(|parameter| parameter["name"].as_str()).collect();
        if named != described {
            fault(format!("its path has {named:?}, described are {described:?}"));
        }
        for place in ["path", "query", "header"] {
            for parameter in operation.parameters(place) {
                if parameter["description"].as_str().is_none_or(str::is_empty) {
                    fault(format!("{} has no description", parameter["name"]));
                }
                let example = parameter.get("example");
                let found = example.map(|example| schema::mismatches(&self.0, &parameter["schema"], example));
                for found in found.into_iter().flatten() {
                    fault(format!("{}, example: {found}", parameter["name"]));
                }
            }
        }
        if operation.described["summary"].as_str().is_none_or(str::is_empty) {
            fault("it has no summary".to_owned());
        }
        let responses = operation.described["responses"].as_object();
        if !responses.is_some_and(|of| of.keys().any(|status| status.starts_with('2'))) {
            fault("no success is documented".to_owned());
        }
        for (status, response) in responses.into_iter().flatten() {
            if response["description"].as_str().is_none_or(str::is_empty) {
                fault(format!("{status} has no description"));
            }
            let Some(problem) = response["content"].get(PROBLEM_JSON) else { continue };
            for (kind, example) in problem["examples"].as_object().into_iter().flatten() {
                let value = &example["value"];
                for found in schema::mismatches(&self.0, &problem["schema"], value) {
                    fault(format!("{status} {kind}, example: {found}"));
                }
                let of_this = value["status"].as_u64() == status.parse().ok()
                    && value["type"].as_str().is_some_and(|of| of.ends_with(&format!(":{kind}")));
                if !of_this {
                    fault(format!("{status} {kind}: its example is another's: {value}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_keeps_a_client_from_being_generated_is_found() {
        let read = json!({ "operationId": "read", "summary": "Read.", "parameters": [{ "name": "id", "in": "path", "description": "x" }],
            "responses": { "200": { "description": "a", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } } } });
        let sound = json!({ "paths": { "/a/{id}": { "get": read } }, "components": { "schemas": { "A": { "type": "object" } } } });
        assert_eq!(Document::new(sound.clone()).faults(), Vec::<String>::new());
        let table = [
            ("/components/schemas", json!({}), "#/components/schemas/A is referred to"),
            ("/components/schemas/A", json!({ "type": "string", "example": 1 }), "A, example: $ is integer"),
            ("/paths/~1a~1{id}/get/operationId", json!(""), "its operationId is missing"),
            ("/paths/~1a~1{id}/get/summary", json!(""), "it has no summary"),
            ("/paths/~1a~1{id}/get/parameters", json!([]), "its path has {\"id\"}"),
            ("/paths/~1a~1{id}/get/parameters/0/description", json!(null), "\"id\" has no description"),
            ("/paths/~1a~1{id}/get/responses", json!({}), "no success is documented"),
            ("/paths/~1a~1{id}/get/responses/200/description", json!(""), "200 has no description"),
            ("/paths", json!({}), "there are no operations"),
        ];
        for (place, value, expected) in table {
            let mut document = sound.clone();
            *document.pointer_mut(place).unwrap() = value;
            let faults = Document::new(document).faults();
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{place}: {faults:?}");
        }
    }
}
