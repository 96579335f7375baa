//! Values that cannot be invalid: a private field and one way in, `parse`.

use std::fmt;

use kit::value::InvalidValue;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Largest amount in minor units, 2^53 − 1: what every JSON reader, JavaScript included, holds exactly.
pub const AMOUNT_MAX: i64 = 9_007_199_254_740_991;
/// Largest number of pieces of one item.
pub const QUANTITY_MAX: i64 = 1_000_000;
/// Most items in one order: bounds the size of its first event far below Kafka's 1 MiB a message.
pub const ITEMS_MAX: usize = 100;
/// Longest SKU, in characters.
pub const SKU_LENGTH_MAX: usize = 64;

/// Identity of an order. Made by the service, version 7, so that new orders sort after old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a customer, given by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct CustomerId(pub Uuid);

impl CustomerId {
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let id = Uuid::try_parse(text).map(Self);
        id.map_err(|error| InvalidValue::because(format!("must be a UUID: {error}")))
    }
}

/// A stock keeping unit: 1 to 64 letters, digits, `.`, `_`, `-` or `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sku(String);

impl Sku {
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        if text.is_empty() || text.len() > SKU_LENGTH_MAX || !text.chars().all(allowed) {
            return Err(InvalidValue::because(format!(
                "must be 1 to {SKU_LENGTH_MAX} letters, digits, '.', '_', '-' or '/'"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Number of pieces, 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(i64);

impl Quantity {
    pub fn parse(pieces: i64) -> Result<Self, InvalidValue> {
        if !(1..=QUANTITY_MAX).contains(&pieces) {
            return Err(InvalidValue::because(format!("must be between 1 and {QUANTITY_MAX}, was {pieces}")));
        }
        Ok(Self(pieces))
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// Price of one piece in minor units (cents, for EUR), 0 to 2^53 − 1. Free is a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitPrice(i64);

impl UnitPrice {
    pub fn parse(minor: i64) -> Result<Self, InvalidValue> {
        if !(0..=AMOUNT_MAX).contains(&minor) {
            return Err(InvalidValue::because(format!(
                "must be between 0 and {AMOUNT_MAX} minor units, was {minor}"
            )));
        }
        Ok(Self(minor))
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// An ISO 4217 code in capitals, such as `EUR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    pub fn parse(code: &str) -> Result<Self, InvalidValue> {
        iso_currency::Currency::from_code(code)
            .map(Self)
            .ok_or_else(|| InvalidValue::because("must be an ISO 4217 code in capitals, such as EUR"))
    }

    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Each that there is, by its code.
    pub fn all() -> impl Iterator<Item = Self> {
        let letters = 'A'..='Z';
        let codes = letters.clone().flat_map(move |first| {
            letters.clone().flat_map({
                let letters = letters.clone();
                move |second| letters.clone().map(move |third| String::from_iter([first, second, third]))
            })
        });
        codes.filter_map(|code| Self::parse(&code).ok())
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub sku: Sku,
    pub quantity: Quantity,
    pub unit_price_minor: UnitPrice,
}

/// The lines of an order: 1 to 100, their total at most 2^53 − 1 minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    lines: Vec<Item>,
    total_minor: i64,
}

impl Items {
    /// Whether an order may have so many lines; asked before they are looked at.
    pub fn check_length(length: usize) -> Result<(), InvalidValue> {
        if (1..=ITEMS_MAX).contains(&length) {
            return Ok(());
        }
        Err(InvalidValue::because(format!("must hold 1 to {ITEMS_MAX} items, held {length}")))
    }

    pub fn parse(lines: Vec<Item>) -> Result<Self, InvalidValue> {
        Self::check_length(lines.len())?;
        // i128 cannot overflow here: 100 lines of at most 10^6 × 2^53 each.
        let total: i128 = lines
            .iter()
            .map(|line| i128::from(line.quantity.get()) * i128::from(line.unit_price_minor.get()))
            .sum();
        match i64::try_from(total) {
            Ok(total_minor) if total_minor <= AMOUNT_MAX => Ok(Self { lines, total_minor }),
            _ => Err(InvalidValue::because(format!(
                "the total of {total} minor units is more than {AMOUNT_MAX}"
            ))),
        }
    }

    pub fn lines(&self) -> &[Item] {
        &self.lines
    }

    pub fn total_minor(&self) -> i64 {
        self.total_minor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(quantity: i64, unit_price_minor: i64) -> Item {
        Item {
            sku: Sku::parse("tea").unwrap(),
            quantity: Quantity::parse(quantity).unwrap(),
            unit_price_minor: UnitPrice::parse(unit_price_minor).unwrap(),
        }
    }

    #[test]
    fn values_at_and_beyond_their_bounds() {
        assert!(Quantity::parse(0).is_err());
        assert!(Quantity::parse(-1).is_err());
        assert!(Quantity::parse(QUANTITY_MAX).is_ok());
        assert!(Quantity::parse(QUANTITY_MAX + 1).is_err());
        assert!(UnitPrice::parse(-1).is_err());
        assert!(UnitPrice::parse(0).is_ok());
        assert!(UnitPrice::parse(AMOUNT_MAX).is_ok());
        assert!(UnitPrice::parse(AMOUNT_MAX + 1).is_err());
        assert!(Sku::parse("").is_err());
        assert!(Sku::parse("a b").is_err());
        assert!(Sku::parse(&"x".repeat(SKU_LENGTH_MAX)).is_ok());
        assert!(Sku::parse(&"x".repeat(SKU_LENGTH_MAX + 1)).is_err());
    }

    #[test]
    fn a_currency_is_an_iso_code_in_capitals() {
        assert_eq!(Currency::parse("EUR").unwrap().code(), "EUR");
        for wrong in ["eur", "EURO", "ZZZ", ""] {
            assert!(Currency::parse(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_total_is_summed_and_bounded() {
        assert_eq!(Items::parse(vec![item(2, 150), item(1, 99)]).unwrap().total_minor(), 399);
        assert!(Items::parse(vec![]).is_err());
        assert!(Items::parse(vec![item(1, 1); ITEMS_MAX]).is_ok());
        assert!(Items::parse(vec![item(1, 1); ITEMS_MAX + 1]).is_err());
        assert!(Items::parse(vec![item(1, AMOUNT_MAX)]).is_ok());
        assert!(Items::parse(vec![item(1, AMOUNT_MAX), item(1, 1)]).is_err());
        assert!(Items::parse(vec![item(QUANTITY_MAX, AMOUNT_MAX)]).is_err());
    }
}
