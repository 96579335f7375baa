//! What goes over the wire, and its way into and out of the domain's values.

use chrono::{DateTime, Utc};
use deserr::{Deserr, IntoValue, Sequence, Value, ValuePointerRef};
use kit::http::json::FieldErrors;
use kit::schema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::schema::Object;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::list::ListedOrder;
use crate::order::{
    Command, Currency, CustomerId, InvalidValue, Item, Items, Placed, Quantity, ShortText, Sku, Status,
    UnitPrice,
};

// Read by deserr. What is told to serde is for the documentation, and for the fingerprint of an idempotency key.

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct CreateOrder {
    #[deserr(try_from(String) = to_customer -> InvalidValue)]
    #[schema(value_type = Uuid, example = "0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10")]
    pub customer_id: CustomerId,
    /// A code of ISO 4217.
    #[deserr(try_from(String) = to_currency -> InvalidValue)]
    #[schema(schema_with = currency_code)]
    pub currency: Currency,
    /// Their total is at most 2^53 - 1 minor units.
    #[deserr(try_from(NewItems) = to_items -> InvalidValue)]
    #[serde(serialize_with = "lines")]
    #[schema(value_type = Vec<NewItem>, min_items = 1, max_items = 100)]
    pub items: Items,
}

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    #[deserr(try_from(String) = to_sku -> InvalidValue)]
    #[schema(value_type = String, example = "tea-assam-250g", pattern = "^[A-Za-z0-9._/-]{1,64}$", min_length = 1, max_length = 64)]
    pub sku: Sku,
    #[deserr(try_from(i64) = Quantity::parse -> InvalidValue)]
    #[schema(value_type = i64, example = 2, minimum = 1, maximum = 1_000_000)]
    pub quantity: Quantity,
    /// In the currency's minor unit, such as cents.
    #[deserr(try_from(i64) = UnitPrice::parse -> InvalidValue)]
    #[schema(value_type = i64, example = 1250, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub unit_price_minor: UnitPrice,
}

/// As many as an order may hold: of more, no line is looked at.
struct NewItems(Vec<NewItem>);

impl Deserr<FieldErrors> for NewItems {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        place: ValuePointerRef<'_>,
    ) -> Result<Self, FieldErrors> {
        if let Value::Sequence(lines) = &value {
            Items::check_length(lines.len()).map_err(|error| FieldErrors::one(place, error))?;
        }
        Vec::deserialize_from_value(value, place).map(Self)
    }
}

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PayOrder {
    /// The payment's reference at the payment provider.
    #[deserr(default, try_from(Option<String>) = to_text -> InvalidValue)]
    #[schema(value_type = Option<String>, example = "pi_3N8s2L", pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$", min_length = 1, max_length = 200)]
    pub payment_reference: Option<ShortText>,
}

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct ShipOrder {
    #[deserr(default, try_from(Option<String>) = to_text -> InvalidValue)]
    #[schema(value_type = Option<String>, example = "JD014600003828", pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$", min_length = 1, max_length = 200)]
    pub tracking_number: Option<ShortText>,
    #[deserr(default, try_from(Option<String>) = to_text -> InvalidValue)]
    #[schema(value_type = Option<String>, example = "DHL", pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$", min_length = 1, max_length = 200)]
    pub carrier: Option<ShortText>,
}

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct CompleteOrder {}

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    #[deserr(default, try_from(Option<String>) = to_text -> InvalidValue)]
    #[schema(value_type = Option<String>, example = "changed my mind", pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$", min_length = 1, max_length = 200)]
    pub reason: Option<ShortText>,
}

fn to_customer(text: String) -> Result<CustomerId, InvalidValue> {
    CustomerId::parse(&text)
}

/// Every code that is taken.
fn currency_code() -> Object {
    let codes: Vec<_> = Currency::all().map(Currency::code).collect();
    let mut schema = schema::one_of(&codes);
    schema.examples = vec!["EUR".into()];
    schema
}

fn to_currency(code: String) -> Result<Currency, InvalidValue> {
    Currency::parse(&code)
}

fn to_sku(text: String) -> Result<Sku, InvalidValue> {
    Sku::parse(&text)
}

fn to_text(text: Option<String>) -> Result<Option<ShortText>, InvalidValue> {
    text.as_deref().map(ShortText::parse).transpose()
}

fn to_items(NewItems(items): NewItems) -> Result<Items, InvalidValue> {
    let line = |NewItem { sku, quantity, unit_price_minor }| Item { sku, quantity, unit_price_minor };
    Items::parse(items.into_iter().map(line).collect())
}

fn lines<S: Serializer>(items: &Items, serializer: S) -> Result<S::Ok, S::Error> {
    items.lines().serialize(serializer)
}

/// A request body that becomes a command.
pub(super) trait IntoCommand: Serialize + Deserr<FieldErrors> {
    fn into_command(self) -> Command;
}

impl IntoCommand for CreateOrder {
    fn into_command(self) -> Command {
        let Self { customer_id, currency, items } = self;
        Command::Create { customer_id, currency, items }
    }
}

impl IntoCommand for PayOrder {
    fn into_command(self) -> Command {
        Command::Pay { payment_reference: self.payment_reference }
    }
}

impl IntoCommand for ShipOrder {
    fn into_command(self) -> Command {
        Command::Ship { tracking_number: self.tracking_number, carrier: self.carrier }
    }
}

impl IntoCommand for CompleteOrder {
    fn into_command(self) -> Command {
        Command::Complete
    }
}

impl IntoCommand for CancelOrder {
    fn into_command(self) -> Command {
        Command::Cancel { reason: self.reason }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderView {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    #[schema(value_type = Status)]
    pub status: String,
    #[schema(example = "EUR", pattern = "^[A-Z]{3}$")]
    pub currency: String,
    #[schema(value_type = Vec<NewItem>, min_items = 1, max_items = 100)]
    pub items: Box<RawValue>,
    #[schema(example = 2500, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub total_minor: i64,
    /// Counts the order's events; the `ETag`.
    #[schema(example = 1, minimum = 1)]
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

    pub(super) fn of_row(row: ListedOrder) -> Result<Self, serde_json::Error> {
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
    #[schema(
        nullable = false,
        pattern = "^(0|-[1-9][0-9]{0,15}|[1-9][0-9]{0,16})-[1-9][0-9]{0,17}$",
        example = "1795744800000000-1042"
    )]
    pub next_cursor: Option<String>,
    /// Events that this list does not show yet. A single order never lags.
    #[schema(minimum = 0)]
    pub lag_events: i64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListOrders {
    /// Only this customer's orders.
    #[param(nullable = false)]
    pub customer_id: Option<Uuid>,
    /// Only orders in this status.
    #[param(nullable = false)]
    pub status: Option<Status>,
    /// Only orders created at this time or later, by RFC 3339. The year has four digits.
    #[param(nullable = false, example = "2026-11-01T00:00:00Z")]
    pub created_from: Option<DateTime<Utc>>,
    /// Only orders created before this time.
    #[param(nullable = false, example = "2026-12-01T00:00:00Z")]
    pub created_before: Option<DateTime<Utc>>,
    /// `next_cursor` of the page before.
    #[param(
        nullable = false,
        pattern = "^(0|-[1-9][0-9]{0,15}|[1-9][0-9]{0,16})-[1-9][0-9]{0,17}$",
        example = "1795744800000000-1042"
    )]
    pub cursor: Option<String>,
    /// Orders a page.
    #[param(nullable = false, minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<i64>,
}

/// One event of an order's history.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Position in the journal.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub event_id: Uuid,
    #[schema(example = "OrderCreated")]
    pub event_type: String,
    #[schema(minimum = 1)]
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
