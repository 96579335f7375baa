//! Who may use which endpoint. The routes, the OpenAPI document and `docs/security.md` have the same rows.

use kit::auth::{Permission, Scope};
use kit::http::{Caller, Endpoint};

pub const ENDPOINTS: [Endpoint; 21] = [
    Endpoint::command("/api/orders", Permission::OWN_OR_ADMIN),
    Endpoint::read("/api/orders", Permission::OWN_OR_OPERATOR),
    Endpoint::read("/api/orders/{id}", Permission::OWN_OR_OPERATOR),
    Endpoint::read("/api/orders/{id}/events", Permission::OWN_OR_OPERATOR),
    Endpoint::command("/api/orders/{id}/pay", Permission::OWN_OR_ADMIN),
    Endpoint::command("/api/orders/{id}/ship", Permission::OPERATOR),
    Endpoint::command("/api/orders/{id}/complete", Permission::OPERATOR),
    Endpoint::command("/api/orders/{id}/cancel", Permission::OWN_OR_ADMIN),
    Endpoint::read("/api/outbox", Permission::OPERATOR).apart(),
    Endpoint::read("/api/outbox/quarantine", Permission::OPERATOR).apart(),
    Endpoint::command("/api/outbox/quarantine/{id}/release", Permission::OPERATOR).apart(),
    Endpoint::command("/api/outbox/quarantine/{id}/discard", Permission::OPERATOR).apart(),
    Endpoint::read("/api/actors", Permission::OPERATOR).apart(),
    Endpoint::command("/api/actors/{name}/crash", Permission::ADMIN).apart(),
    Endpoint::open("/livez"),
    Endpoint::open("/readyz"),
    Endpoint::read("/metrics", Permission::OPERATOR).apart(),
    Endpoint::open("/dashboard").apart(),
    Endpoint::stream("/dashboard/feed", Permission::OPERATOR).apart(),
    Endpoint::read("/dashboard/orders/{id}", Permission::OPERATOR).apart(),
    // The page's own files.
    Endpoint::open("/dashboard/{asset}").apart(),
];

const COMMANDS: [(&str, &str); 5] = [
    ("create", "/api/orders"),
    ("pay", "/api/orders/{id}/pay"),
    ("ship", "/api/orders/{id}/ship"),
    ("complete", "/api/orders/{id}/complete"),
    ("cancel", "/api/orders/{id}/cancel"),
];
const CRASH: &str = "/api/actors/{name}/crash";

/// The commands that the caller may send for whatever order.
pub(super) fn commands(caller: &Caller) -> Vec<&'static str> {
    COMMANDS.into_iter().filter(|(_, path)| may_post(caller, path)).map(|(name, _)| name).collect()
}

pub(super) fn may_crash(caller: &Caller) -> bool {
    may_post(caller, CRASH)
}

fn may_post(caller: &Caller, path: &str) -> bool {
    let Some(identity) = &caller.identity else { return true };
    let is_this = |endpoint: &&Endpoint| endpoint.path == path && endpoint.methods.contains(&"POST");
    let permission = ENDPOINTS.iter().find(is_this).and_then(|endpoint| endpoint.permission);
    permission.and_then(|permission| permission.scope(identity)) == Some(Scope::All)
}

#[cfg(test)]
mod tests {
    use kit::auth::{Identity, Role};

    use super::*;

    fn caller(roles: Option<&[Role]>) -> Caller {
        let identity = roles.map(|roles| Identity {
            subject: "kim".to_owned(),
            roles: roles.to_vec(),
            customer_id: Some(uuid::Uuid::nil()),
            ends_at: u64::MAX,
        });
        Caller { scope: Scope::All, identity }
    }

    #[test]
    fn the_page_offers_what_the_table_grants() {
        let all = ["create", "pay", "ship", "complete", "cancel"];
        for (roles, expected, faults) in [
            (None, &all[..], true),
            (Some(&[Role::Admin][..]), &all[..], true),
            (Some(&[Role::Operator][..]), &["ship", "complete"][..], false),
            // Only their own.
            (Some(&[Role::Customer][..]), &[], false),
        ] {
            let caller = caller(roles);
            assert_eq!((commands(&caller).as_slice(), may_crash(&caller)), (expected, faults), "{roles:?}");
        }
    }
}
