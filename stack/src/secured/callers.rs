//! Clients of the services, as this tool needs them: whom they trust, and who they are.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use reqwest::{Certificate, ClientBuilder, RequestBuilder};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Secured;
use crate::access::Issuer;

/// By default of services that are not secured: they trust what the machine trusts, and are nobody.
#[derive(Clone, Default)]
pub(crate) struct Callers(Option<Arc<Keys>>);

struct Keys {
    authority: Certificate,
    issuer: Arc<Issuer>,
}

impl Callers {
    pub(super) fn new(authority: &Path, issuer: Arc<Issuer>) -> Result<Self> {
        let authority = Certificate::from_pem(&fs::read(authority)?)?;
        Ok(Self(Some(Arc::new(Keys { authority, issuer }))))
    }

    pub(crate) fn of(secured: Option<&Secured>) -> Result<Self> {
        secured.map_or_else(|| Ok(Self::default()), Secured::callers)
    }

    pub(crate) fn client(&self) -> ClientBuilder {
        let client = crate::http_client();
        match &self.0 {
            None => client,
            Some(keys) => client.tls_certs_only([keys.authority.clone()]),
        }
    }

    pub(crate) fn as_customer(&self, request: RequestBuilder, customer: Uuid) -> Result<RequestBuilder> {
        self.with_token(request, &customer.to_string(), "customer")
    }

    /// Each by another name has an allowance of its own.
    pub(crate) fn as_operator(&self, request: RequestBuilder, name: &str) -> Result<RequestBuilder> {
        self.with_token(request, name, "operator")
    }

    fn with_token(&self, request: RequestBuilder, subject: &str, role: &str) -> Result<RequestBuilder> {
        match self.token(subject, role)? {
            None => Ok(request),
            Some(token) => Ok(request.bearer_auth(token)),
        }
    }

    /// An idempotency key as the journal has it: a known caller's is a digest of both, so that two callers may use the same one.
    pub(crate) fn stored_key(&self, subject: &str, key: &str) -> String {
        if self.0.is_none() {
            return key.to_owned();
        }
        let mut digest = Sha256::new();
        digest.update((subject.len() as u64).to_be_bytes());
        digest.update(subject);
        digest.update(key);
        format!("caller:{:x}", digest.finalize())
    }

    /// For an hour; `None`: services ask for none.
    pub(crate) fn token(&self, subject: &str, role: &str) -> Result<Option<String>> {
        self.0.as_ref().map(|keys| keys.issuer.token(subject, &[role])).transpose()
    }
}
