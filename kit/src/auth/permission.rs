//! Roles, and what they may do. Each row of the table in `docs/security.md` is one [`Permission`].

use std::fmt;

use uuid::Uuid;

/// What a caller is to the service. A caller may have several roles, and then may do what any of them may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Has orders and points of their own.
    Customer,
    /// Runs the business, and the service.
    Operator,
    /// May do everything, faults included.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Customer, Self::Operator, Self::Admin];

    /// As a token has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// `None` for what is no role of ours: an issuer serves other services too.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a role may reach by an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    Nothing,
    /// What belongs to the caller.
    Own,
    All,
}

/// What each role may reach by an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    pub customer: Grant,
    pub operator: Grant,
    pub admin: Grant,
}

/// What a request may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    All,
    /// What belongs to this customer, and nothing else.
    Customer(Uuid),
}

/// Who a token says the caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The claim `sub`.
    pub subject: String,
    pub roles: Vec<Role>,
    /// Always there for a customer.
    pub customer_id: Option<Uuid>,
    /// Seconds since 1970: from then on the token is good no more, leeway included.
    pub ends_at: u64,
}

impl Permission {
    /// Customers on what is their own; operators and admins on everything.
    pub const OWN_OR_OPERATOR: Self = Self { customer: Grant::Own, operator: Grant::All, admin: Grant::All };
    /// Customers on what is their own; admins on everything.
    pub const OWN_OR_ADMIN: Self = Self { customer: Grant::Own, operator: Grant::Nothing, admin: Grant::All };
    pub const OPERATOR: Self = Self { customer: Grant::Nothing, operator: Grant::All, admin: Grant::All };
    pub const ADMIN: Self = Self { customer: Grant::Nothing, operator: Grant::Nothing, admin: Grant::All };

    pub fn of(&self, role: Role) -> Grant {
        match role {
            Role::Customer => self.customer,
            Role::Operator => self.operator,
            Role::Admin => self.admin,
        }
    }

    /// The roles that may do something by the operation.
    pub fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        let permission = *self;
        Role::ALL.into_iter().filter(move |role| permission.of(*role) != Grant::Nothing)
    }

    /// What the caller may touch by the operation; `None`: nothing.
    pub fn scope(&self, identity: &Identity) -> Option<Scope> {
        let has = |wanted| identity.roles.iter().any(|role| self.of(*role) == wanted);
        if has(Grant::All) {
            return Some(Scope::All);
        }
        identity.customer_id.filter(|_| has(Grant::Own)).map(Scope::Customer)
    }
}

impl Scope {
    /// Whether what belongs to this customer may be touched.
    pub fn includes(self, customer_id: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Customer(own) => own == customer_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(roles: &[Role]) -> Identity {
        let customer_id = Some(Uuid::from_u128(1));
        Identity { subject: "s".to_owned(), roles: roles.to_vec(), customer_id, ends_at: u64::MAX }
    }

    #[test]
    fn a_caller_may_touch_what_any_of_their_roles_may() {
        use Role::{Admin, Customer, Operator};
        let own = Some(Scope::Customer(Uuid::from_u128(1)));
        let all = Some(Scope::All);
        let table: [(&[Role], [Option<Scope>; 4]); 5] = [
            (&[], [None, None, None, None]),
            (&[Customer], [own, own, None, None]),
            (&[Operator], [all, None, all, None]),
            (&[Admin], [all, all, all, all]),
            (&[Customer, Operator], [all, own, all, None]),
        ];
        for (roles, expected) in table {
            let permissions = [
                Permission::OWN_OR_OPERATOR,
                Permission::OWN_OR_ADMIN,
                Permission::OPERATOR,
                Permission::ADMIN,
            ];
            assert_eq!(permissions.map(|permission| permission.scope(&who(roles))), expected, "{roles:?}");
        }
    }

    #[test]
    fn without_a_customer_id_nothing_is_ones_own() {
        let nobody = Identity { customer_id: None, ..who(&[Role::Customer]) };
        assert_eq!(Permission::OWN_OR_OPERATOR.scope(&nobody), None);
    }

    #[test]
    fn a_scope_includes_what_belongs_to_its_customer() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(Scope::All.includes(other));
        assert!(Scope::Customer(one).includes(one) && !Scope::Customer(one).includes(other));
    }

    #[test]
    fn a_role_is_known_by_its_name() {
        for role in Role::ALL {
            assert_eq!(Role::of(role.name()), Some(role));
        }
        assert_eq!(Role::of("Admin"), None);
    }
}
