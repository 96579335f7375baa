//! Which documented answers have been seen.

use std::collections::BTreeSet;

use super::{Answer, Document, PROBLEM_JSON};

/// Answers that were seen and found to be as documented: operation, and kind of problem or else status.
#[derive(Debug, Default)]
pub struct Coverage(BTreeSet<(String, String)>);

impl Coverage {
    /// Takes an answer that must be a documented one.
    pub fn see(&mut self, document: &Document, id: &str, answer: &Answer) -> anyhow::Result<()> {
        document.check(document.operation(id)?, answer)?;
        let what = answer.problem().filter(|_| answer.header("content-type") == Some(PROBLEM_JSON));
        self.0.insert((id.to_owned(), what.unwrap_or_else(|| answer.status.to_string())));
        Ok(())
    }

    /// Documented answers that were not seen, as `operation problem` or `operation status`.
    pub fn missing(&self, document: &Document) -> Vec<String> {
        let mut missing = Vec::new();
        for operation in document.operations() {
            for (status, response) in operation.described["responses"].as_object().into_iter().flatten() {
                let problems = response["content"][PROBLEM_JSON]["examples"].as_object();
                let others = response["content"].as_object();
                let has_others = others.is_none_or(|of| of.keys().any(|media| media != PROBLEM_JSON));
                let kinds = problems.into_iter().flatten().map(|(kind, _)| kind.clone());
                for what in kinds.chain(has_others.then(|| status.clone())) {
                    if !self.0.contains(&(operation.id.to_owned(), what.clone())) {
                        missing.push(format!("{} {what}", operation.id));
                    }
                }
            }
        }
        missing
    }
}
