//! Settings that hold a password.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Reads a setting whose value is never shown. clap by itself shows the value that it refuses. `variable` is what the refusal calls it.
pub fn secret<T>(variable: &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    Parser { variable, value: PhantomData }
}

#[derive(Clone)]
struct Parser<T> {
    variable: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> TypedValueParser for Parser<T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        T::from_str(&value.to_string_lossy()).map_err(|why| {
            Error::raw(ErrorKind::ValueValidation, format!("{}: {why}\n", self.variable)).with_cmd(command)
        })
    }
}
