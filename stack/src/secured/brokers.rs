//! Kafka, secured.

use anyhow::Result;

use super::{BROKERS, KAFKA, SERVICES, Secured};
use crate::servers::kafka::{ClientSecurity, ListenerSecurity, Mechanism, Security, User};

const LOGIN: Mechanism = Mechanism::ScramSha512;

impl Secured {
    /// Of the main listeners, and of the brokers among themselves.
    pub(crate) fn brokers(&self) -> Result<Security> {
        let users = [BROKERS, SERVICES].map(|name| Ok(User::new(name, &self.password(name)?)));
        Ok(Security {
            listener: self.listener(),
            client: self.client_of_brokers()?,
            users: users.into_iter().collect::<Result<_>>()?,
        })
    }

    /// Of every listener.
    pub(crate) fn listener(&self) -> ListenerSecurity {
        ListenerSecurity {
            certificate: Some(self.identity(KAFKA)),
            client_authority: None,
            mechanisms: vec![LOGIN],
        }
    }

    /// How services get in, and this tool.
    pub(crate) fn client_of_brokers(&self) -> Result<ClientSecurity> {
        let user = User::new(SERVICES, &self.password(SERVICES)?);
        Ok(ClientSecurity {
            authority: Some(self.authority()),
            certificate: None,
            login: Some((LOGIN, user)),
        })
    }
}
