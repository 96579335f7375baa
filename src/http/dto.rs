//! What goes over the wire, and its way into and out of the domain's values.

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::body::Object;
use super::problem::{FieldError, Problem};
use crate::order::{
    Command, Currency, CustomerId, InvalidValue, Item, Items, OrderId, Placed, Quantity, ShortText, Sku,
    Status, UnitPrice,
};
use crate::projection::Listed;

#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrder {
    #[garde(skip)]
    #[schema(example = "0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10")]
    pub customer_id: Uuid,
    /// ISO 4217.
    #[garde(custom(parses(Currency::parse)))]
    #[schema(example = "EUR")]
    pub currency: String,
    /// 1 to 100 items.
    #[garde(dive)]
    #[serde(deserialize_with = "objects")]
    #[schema(min_items = 1, max_items = 100)]
    pub items: Vec<NewItem>,
}

#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    #[garde(custom(parses(Sku::parse)))]
    #[schema(example = "tea-assam-250g", min_length = 1, max_length = 64)]
    pub sku: String,
    #[garde(custom(|quantity: &i64, _: &()| rule(Quantity::parse(*quantity))))]
    #[schema(example = 2, minimum = 1, maximum = 1_000_000)]
    pub quantity: i64,
    /// In the currency's minor unit, such as cents.
    #[garde(custom(|price: &i64, _: &()| rule(UnitPrice::parse(*price))))]
    #[schema(example = 1250, minimum = 0)]
    pub unit_price_minor: i64,
}

#[derive(Debug, Default, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayOrder {
    /// The payment's reference at the payment provider.
    #[garde(inner(custom(parses(ShortText::parse))))]
    #[schema(example = "pi_3N8s2L", max_length = 200)]
    pub payment_reference: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShipOrder {
    #[garde(inner(custom(parses(ShortText::parse))))]
    #[schema(example = "JD014600003828", max_length = 200)]
    pub tracking_number: Option<String>,
    #[garde(inner(custom(parses(ShortText::parse))))]
    #[schema(example = "DHL", max_length = 200)]
    pub carrier: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteOrder {}

#[derive(Debug, Default, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    #[garde(inner(custom(parses(ShortText::parse))))]
    #[schema(example = "changed my mind", max_length = 200)]
    pub reason: Option<String>,
}

fn objects<'de, D: Deserializer<'de>>(items: D) -> Result<Vec<NewItem>, D::Error> {
    let items: Vec<Object<NewItem>> = Vec::deserialize(items)?;
    Ok(items.into_iter().map(|Object(item)| item).collect())
}

fn rule<T>(parsed: Result<T, InvalidValue>) -> garde::Result {
    parsed.map(|_| ()).map_err(garde::Error::new)
}

/// A field rule that is the value's own `parse`: the rule stands once, in the domain.
fn parses<T>(parse: fn(&str) -> Result<T, InvalidValue>) -> impl Fn(&String, &()) -> garde::Result {
    move |text, _| rule(parse(text))
}

/// A request body that becomes a command.
pub(super) trait IntoCommand: Serialize + Validate<Context = ()> {
    fn into_command(self, order_id: OrderId) -> Result<Command, InvalidField>;
}

/// A rule about several values at once, found after each of them was valid.
pub(super) struct InvalidField(&'static str, InvalidValue);

impl From<InvalidField> for Problem {
    fn from(InvalidField(field, error): InvalidField) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), message: error.to_string() }])
    }
}

fn at<T>(field: &'static str, parsed: Result<T, InvalidValue>) -> Result<T, InvalidField> {
    parsed.map_err(|error| InvalidField(field, error))
}

fn text(field: &'static str, text: Option<String>) -> Result<Option<ShortText>, InvalidField> {
    text.map(|text| at(field, ShortText::parse(&text))).transpose()
}

impl IntoCommand for CreateOrder {
    fn into_command(self, order_id: OrderId) -> Result<Command, InvalidField> {
        let lines = self
            .items
            .iter()
            .map(|item| {
                Ok(Item {
                    sku: at("items", Sku::parse(&item.sku))?,
                    quantity: at("items", Quantity::parse(item.quantity))?,
                    unit_price_minor: at("items", UnitPrice::parse(item.unit_price_minor))?,
                })
            })
            .collect::<Result<_, InvalidField>>()?;
        Ok(Command::Create {
            order_id,
            customer_id: CustomerId(self.customer_id),
            currency: at("currency", Currency::parse(&self.currency))?,
            items: at("items", Items::parse(lines))?,
        })
    }
}

impl IntoCommand for PayOrder {
    fn into_command(self, _: OrderId) -> Result<Command, InvalidField> {
        Ok(Command::Pay { payment_reference: text("payment_reference", self.payment_reference)? })
    }
}

impl IntoCommand for ShipOrder {
    fn into_command(self, _: OrderId) -> Result<Command, InvalidField> {
        Ok(Command::Ship {
            tracking_number: text("tracking_number", self.tracking_number)?,
            carrier: text("carrier", self.carrier)?,
        })
    }
}

impl IntoCommand for CompleteOrder {
    fn into_command(self, _: OrderId) -> Result<Command, InvalidField> {
        Ok(Command::Complete)
    }
}

impl IntoCommand for CancelOrder {
    fn into_command(self, _: OrderId) -> Result<Command, InvalidField> {
        Ok(Command::Cancel { reason: text("reason", self.reason)? })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderView {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub status: String,
    #[schema(example = "EUR")]
    pub currency: String,
    #[schema(value_type = Vec<NewItem>)]
    pub items: Box<RawValue>,
    #[schema(example = 2500)]
    pub total_minor: i64,
    /// Counts the order's events; the `ETag`.
    #[schema(example = 1)]
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl OrderView {
    pub(super) fn of(order: &Placed) -> Result<Self, serde_json::Error> {
        Ok(Self {
            order_id: order.order_id.0,
            customer_id: order.customer_id.0,
            status: order.status.to_string(),
            currency: order.currency.code().to_owned(),
            items: serde_json::value::to_raw_value(order.items.lines())?,
            total_minor: order.items.total_minor(),
            version: order.version,
            created_at: order.created_at,
            updated_at: order.updated_at,
        })
    }

    pub(super) fn of_row(row: Listed) -> Result<Self, serde_json::Error> {
        Ok(Self {
            order_id: row.order_id,
            customer_id: row.customer_id,
            status: row.status,
            currency: row.currency,
            items: RawValue::from_string(row.items)?,
            total_minor: row.total_minor,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// A page of the list of orders.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPage {
    pub orders: Vec<OrderView>,
    /// Give it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Events that this list does not show yet. A single order never lags.
    pub lag_events: i64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListOrders {
    /// Only this customer's orders.
    pub customer_id: Option<Uuid>,
    /// Only orders in this status.
    pub status: Option<Status>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Orders a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
}

/// One event of an order's history.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Position in the journal.
    pub seq: i64,
    pub event_id: Uuid,
    #[schema(example = "OrderCreated")]
    pub event_type: String,
    pub version: i64,
    pub occurred_at: DateTime<Utc>,
    /// The event as it is published.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// Correlation, causation, trace context and idempotency key.
    #[schema(value_type = Object)]
    pub metadata: Box<RawValue>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventHistory {
    pub order_id: Uuid,
    pub events: Vec<EventView>,
}
