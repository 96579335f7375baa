//! The statements, worded for an aggregate.
//!
//! A statement is a whole file that `psql` can parse, written for an aggregate that is called `aggregate`: it reads `aggregate_event` by
//! `aggregate_id`. Before it is sent, that word is replaced by the aggregate's name. So the tables of an order service are called
//! `order_event` and `quarantined_order`. (River words its statements in this way, for schemas.)

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::AssertSqlSafe;

use crate::aggregate::{Aggregate, Name};

/// Outside the schema `public` the channel of appends is called by the name and 48 letters more, and Postgres takes 63.
const NAME_LENGTH_MAX: usize = 15;
/// The tables have columns of these names.
const TAKEN: [&str; 2] = ["event", "command"];

/// An aggregate's name, and the statements that were worded for it.
#[derive(Clone, Debug)]
pub struct Names(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Name,
    /// By where a statement lies in the binary, and its length: cheaper than by its text.
    worded: RwLock<HashMap<(usize, usize), Arc<str>>>,
}

impl Names {
    /// # Panics
    /// As [`new`](Self::new).
    pub fn of<A: Aggregate>() -> Self {
        Self::new(A::NAME)
    }

    /// # Panics
    /// When the name could not be part of a table's name: a mistake of whoever wrote the aggregate.
    pub fn new(name: Name) -> Self {
        let Name { one, many } = name;
        for part in [one, many] {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(
                !part.is_empty() && part.bytes().all(is_plain),
                "{part:?}: a name is lower-case letters and _"
            );
        }
        assert!(one.len() <= NAME_LENGTH_MAX, "{one:?}: a name has at most {NAME_LENGTH_MAX} letters");
        assert!(!TAKEN.contains(&one), "{one:?} is what the tables call something else");
        Self(Arc::new(Inner { name, worded: RwLock::default() }))
    }

    pub fn name(&self) -> Name {
        self.0.name
    }

    pub fn one(&self) -> &'static str {
        self.0.name.one
    }

    pub fn many(&self) -> &'static str {
        self.0.name.many
    }

    /// A statement of this crate, for this aggregate. Safe, since nothing comes into it but a name that was checked.
    pub(crate) fn sql(&self, statement: &'static str) -> AssertSqlSafe<Arc<str>> {
        let place = (statement.as_ptr().addr(), statement.len());
        let known = self.0.worded.read().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        AssertSqlSafe(known.unwrap_or_else(|| {
            let worded: Arc<str> = self.word(statement).into();
            let mut all = self.0.worded.write().unwrap_or_else(PoisonError::into_inner);
            all.insert(place, Arc::clone(&worded));
            worded
        }))
    }

    /// A text that is written for an aggregate that is called `aggregate`.
    pub fn word(&self, statement: &str) -> String {
        let one = self.one();
        let (first, rest) = one.split_at(1);
        let capital = format!("{}{rest}", first.to_uppercase());
        statement.replace("aggregate", one).replace("Aggregate", &capital)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Counter;

    #[test]
    fn a_statement_is_worded_for_its_aggregate() {
        let names = Names::of::<Counter>();
        let statement = "-- Aggregates.\nSELECT aggregate_id FROM aggregate_event";
        for _ in 0..2 {
            assert_eq!(&*names.sql(statement).0, "-- Counters.\nSELECT counter_id FROM counter_event");
        }
    }
}
