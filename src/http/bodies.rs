//! Bodies of commands, read without a service.

use kit::http::{INTERNAL, Problem, json};

use super::dto::{CancelOrder, CompleteOrder, CreateOrder, IntoCommand, PayOrder, ShipOrder};

/// The body of an operation, named as in the OpenAPI document, written again as it was understood; `None` if it has no body. For
/// whoever checks bodies without a service.
pub fn read_body(operation: &str, body: &[u8]) -> Option<Result<String, Problem>> {
    fn read<T: IntoCommand>(body: &[u8]) -> Result<String, Problem> {
        let understood: T = json::parse(body)?;
        serde_json::to_string(&understood).map_err(|error| Problem::new(&INTERNAL, error.to_string()))
    }
    Some(match operation {
        "create_order" => read::<CreateOrder>(body),
        "pay_order" => read::<PayOrder>(body),
        "ship_order" => read::<ShipOrder>(body),
        "complete_order" => read::<CompleteOrder>(body),
        "cancel_order" => read::<CancelOrder>(body),
        _ => return None,
    })
}
