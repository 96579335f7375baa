//! Who may use which endpoint. The routes, the OpenAPI document and `docs/security.md` have the same rows.

use kit::auth::Permission;
use kit::http::Endpoint;

pub const ENDPOINTS: [Endpoint; 12] = [
    Endpoint::read("/api/bonuses/{customer_id}", Permission::OWN_OR_OPERATOR),
    Endpoint::read("/api/bonuses/{customer_id}/ledger", Permission::OWN_OR_OPERATOR),
    Endpoint::read("/api/orders/{order_id}/ledger", Permission::OPERATOR),
    Endpoint::read("/api/summary", Permission::OPERATOR),
    Endpoint::read("/api/outbox", Permission::OPERATOR).apart(),
    Endpoint::read("/api/outbox/quarantine", Permission::OPERATOR).apart(),
    Endpoint::command("/api/outbox/quarantine/{id}/release", Permission::OPERATOR).apart(),
    Endpoint::command("/api/outbox/quarantine/{id}/discard", Permission::OPERATOR).apart(),
    Endpoint::read("/api/actors", Permission::OPERATOR).apart(),
    Endpoint::open("/livez"),
    Endpoint::open("/readyz"),
    Endpoint::read("/metrics", Permission::OPERATOR).apart(),
];
