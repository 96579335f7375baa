//! Which orders a caller may know of. A customer cannot tell another one's order from one that is not there.

use engine::Visibility;
use engine::aggregate::AggregateId;
use engine::journal::{ReadError, Reader, StoredEvent};
use kit::auth::Scope;

use crate::order::Order;

/// For commands: decided by the order's actor, on the state that the command would be decided on.
pub(super) fn visibility(scope: Scope) -> Visibility<Order> {
    match scope {
        Scope::All => Visibility::all(),
        Scope::Customer(_) => Visibility::of(move |order| may_know(scope, order)),
    }
}

/// For reads.
pub(super) fn may_know(scope: Scope, order: &Order) -> bool {
    match order {
        Order::Placed(order) => scope.includes(order.customer_id.0),
        Order::Unplaced => scope == Scope::All,
    }
}

/// Of a history by its first event. One that cannot be read is nobody's.
pub(super) fn may_know_history(scope: Scope, history: &[StoredEvent]) -> bool {
    let owner = || Some(history.first()?.decode::<Order>().ok()?.data.customer_id.0);
    scope == Scope::All || owner().is_some_and(|owner| scope.includes(owner))
}

/// Of an order of which some event cannot be read.
pub(super) async fn may_know_unreadable(
    scope: Scope,
    reader: &Reader,
    id: AggregateId,
) -> Result<bool, ReadError> {
    Ok(scope == Scope::All || may_know_history(scope, &reader.history(id, 1).await?))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    use super::*;

    const OWN: Scope = Scope::Customer(Uuid::from_u128(1));

    fn created(customer: u128, event_type: &str) -> StoredEvent {
        let id = Uuid::from_u128(9);
        let payload = serde_json::json!({
            "event_id": id, "event_type": event_type, "order_id": id, "version": 1, "customer_id": Uuid::from_u128(customer),
            "occurred_at": DateTime::<Utc>::UNIX_EPOCH, "currency": "EUR",
            "items": [{ "sku": "tea", "quantity": 1, "unit_price_minor": 1 }],
        });
        StoredEvent {
            seq: 1,
            event_id: id,
            aggregate_id: AggregateId(id),
            version: 1,
            event_type: event_type.to_owned(),
            payload: payload.to_string(),
            metadata: "{}".to_owned(),
            occurred_at: DateTime::UNIX_EPOCH,
            committed_at: None,
        }
    }

    #[test]
    fn a_history_is_its_customers() {
        let (own, others) = (created(1, "OrderCreated"), created(2, "OrderCreated"));
        let unreadable = created(1, "OrderOpened");
        assert!(may_know_history(OWN, std::slice::from_ref(&own)));
        assert!(may_know_history(OWN, &[own.clone(), unreadable.clone()]));
        for hidden in [&[][..], &[others][..], &[unreadable.clone(), own][..]] {
            assert!(!may_know_history(OWN, hidden), "{hidden:?}");
        }
        assert!(may_know_history(Scope::All, &[unreadable]));
    }

    #[test]
    fn nobody_but_operators_may_know_of_what_is_not_there() {
        assert!(!may_know(OWN, &Order::Unplaced) && may_know(Scope::All, &Order::Unplaced));
    }
}
