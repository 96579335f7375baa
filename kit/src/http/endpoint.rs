//! The rows of a service's table of endpoints.

use crate::auth::Permission;

/// For whom an endpoint is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// On every address.
    Public,
    /// On the operators' address alone, where there is one.
    Operators,
}

/// What an address serves. Data of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    Everything,
    /// Operators have an address of their own: here the rest of the endpoints is not there.
    PublicSide,
}

/// A path, its methods, and who may use them.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    pub path: &'static str,
    pub methods: &'static [&'static str],
    /// `None`: everybody, also without a token.
    pub permission: Option<Permission>,
    pub side: Side,
}

impl Endpoint {
    /// HEAD is what GET answers, without the body.
    pub const fn read(path: &'static str, permission: Permission) -> Self {
        Self { path, methods: &["GET", "HEAD"], permission: Some(permission), side: Side::Public }
    }

    /// For everybody.
    pub const fn open(path: &'static str) -> Self {
        Self { path, methods: &["GET", "HEAD"], permission: None, side: Side::Public }
    }

    /// A read that does not end by itself.
    pub const fn stream(path: &'static str, permission: Permission) -> Self {
        Self { path, methods: &["GET"], permission: Some(permission), side: Side::Public }
    }

    pub const fn command(path: &'static str, permission: Permission) -> Self {
        Self { path, methods: &["POST"], permission: Some(permission), side: Side::Public }
    }

    /// On the operators' side.
    pub const fn apart(self) -> Self {
        Self { side: Side::Operators, ..self }
    }
}
