//! A bonus process that asks for tokens.

use stack::access::{AUDIENCE, ISSUER, Issuer};
use tempfile::TempDir;

use super::World;
use super::process::Bonus;

pub struct Guard {
    pub bonus: Bonus,
    pub issuer: Issuer,
    _keys: TempDir,
}

impl Guard {
    pub async fn start(world: &World) -> Self {
        Self::start_with(world, &[]).await
    }

    /// Of a group of its own, so that it takes no messages from the world's other process. A caller may ask as often as they like.
    pub async fn start_with(world: &World, more: &[(&str, &str)]) -> Self {
        let (issuer, keys) = (Issuer::new().unwrap(), TempDir::new().unwrap());
        let jwks = issuer.publish(keys.path()).unwrap();
        let group = format!("{}-guarded", world.group);
        let settings = [
            ("BONUS_AUTH", "jwt"),
            ("BONUS_AUTH_JWKS", jwks.to_str().unwrap()),
            ("BONUS_AUTH_ISSUER", ISSUER),
            ("BONUS_AUTH_AUDIENCE", AUDIENCE),
            ("BONUS_GROUP_ID", group.as_str()),
            ("BONUS_RATE_LIMIT_PER_SECOND", "0"),
        ];
        let bonus = Bonus::start_with(world, &[&settings[..], more].concat()).await;
        Self { bonus, issuer, _keys: keys }
    }
}
