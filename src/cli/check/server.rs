//! The server behind DATABASE_URL: whether it is a primary, its standbys, and a pooler in between.

use anyhow::Result;
use sqlx::{FromRow, PgConnection};

use kit::cli::check::Finding;
use kit::cli::counted;

/// What the service pins for its own sessions, or relies on.
const RELIED_ON: [&str; 9] = [
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "synchronous_commit",
    "transaction_timeout",
];

#[derive(Debug, Clone, FromRow)]
struct Server {
    standby: bool,
    read_only: bool,
    encoding: String,
    synchronous_names: String,
    standbys: i64,
    synchronous_standbys: i64,
    unknown_standbys: i64,
}

/// Of a session with everything pinned.
pub(super) async fn check(connection: &mut PgConnection) -> Result<Vec<Finding>> {
    let server: Server = sqlx::query_as(include_str!("sql/server.sql")).fetch_one(&mut *connection).await?;
    let (set_elsewhere, arrived): (Vec<String>, bool) =
        sqlx::query_as(include_str!("sql/settings.sql")).fetch_one(&mut *connection).await?;
    Ok(vec![role(&server), encoding(&server), standbys(&server), settings(&set_elsewhere, arrived)])
}

fn role(server: &Server) -> Finding {
    if server.standby {
        let advice = "Lead DATABASE_URL to the primary. Until then commands are answered 503 and nothing is published.";
        return Finding::fail("server", "a standby", advice);
    }
    if server.read_only {
        let advice = "Switch default_transaction_read_only off, once it is known why it is on.";
        return Finding::fail("server", "takes no writes: default_transaction_read_only is on", advice);
    }
    Finding::ok("server", "a primary that takes writes")
}

fn encoding(server: &Server) -> Finding {
    match server.encoding.as_str() {
        "UTF8" => Finding::ok("encoding", "UTF8"),
        other => {
            let advice = "Make the database anew with ENCODING 'UTF8': text beyond its encoding is refused.";
            Finding::fail("encoding", other, advice)
        }
    }
}

fn standbys(server: &Server) -> Finding {
    let attached = counted(server.standbys, "standby server");
    if server.standbys > 0 && server.unknown_standbys == server.standbys {
        let advice = "GRANT pg_monitor to the role, or ask as a superuser.";
        return Finding::warn("standbys", format!("{attached} attached; this role may not see more"), advice);
    }
    match (server.synchronous_names.is_empty(), server.synchronous_standbys, server.standbys) {
        (false, 0, _) => {
            let message = format!(
                "{attached} attached, and none is synchronous, though synchronous_standby_names is {:?}",
                server.synchronous_names
            );
            let advice =
                "Commits wait, and commands are answered 503: bring it back, or take it off the list.";
            Finding::fail("standbys", message, advice)
        }
        (false, synchronous, _) => {
            Finding::ok("standbys", format!("{attached} attached, {synchronous} synchronous"))
        }
        (true, _, 0) => Finding::ok("standbys", "none attached"),
        (true, ..) => {
            let advice = "A failover may lose acknowledged commands: see `Failover of Postgres` in docs/operations.md.";
            Finding::warn("standbys", format!("{attached} attached, none synchronous"), advice)
        }
    }
}

fn settings(set_elsewhere: &[String], arrived: bool) -> Finding {
    if !arrived {
        let advice = "Something between here and Postgres drops them, such as a pooler's ignore_startup_parameters. Go around it.";
        return Finding::fail(
            "sessions",
            "the settings that the service pins do not reach the server",
            advice,
        );
    }
    let relied_on = |set: &&String| {
        RELIED_ON
            .iter()
            .any(|name| set.split_once(" sets ").is_some_and(|(_, set)| set.starts_with(&format!("{name}="))))
    };
    let deviating: Vec<&str> = set_elsewhere.iter().filter(relied_on).map(String::as_str).collect();
    if deviating.is_empty() {
        return Finding::ok("sessions", "role and database set nothing that the service relies on");
    }
    let advice = "The service pins its own values; other clients of the role do not. Name a schema in DATABASE_URL, by \
                  `?options=-csearch_path%3D…`: a search_path of the role is not used.";
    Finding::warn("sessions", deviating.join("; "), advice)
}

pub(super) fn between(pooled: bool) -> Finding {
    match pooled {
        false => Finding::ok("pooler", "none that shares sessions"),
        true => Finding::fail(
            "pooler",
            "a pooler lends sessions a transaction at a time",
            "Go around it, or set pool_mode = session: the lease and LISTEN need a session of their own.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::cli::check::Level;

    fn server() -> Server {
        Server {
            standby: false,
            read_only: false,
            encoding: "UTF8".into(),
            synchronous_names: String::new(),
            standbys: 0,
            synchronous_standbys: 0,
            unknown_standbys: 0,
        }
    }

    #[test]
    fn a_server_that_takes_no_writes_fails() {
        assert_eq!(role(&server()).level, Level::Ok);
        assert_eq!(role(&Server { standby: true, read_only: true, ..server() }).level, Level::Fail);
        assert_eq!(role(&Server { read_only: true, ..server() }).level, Level::Fail);
        assert_eq!(encoding(&Server { encoding: "LATIN1".into(), ..server() }).level, Level::Fail);
    }

    #[test]
    fn what_a_failover_may_cost_is_told_by_the_standbys() {
        let attached = |names: &str, standbys, synchronous_standbys, unknown_standbys| {
            let synchronous_names = names.to_owned();
            let server =
                Server { synchronous_names, standbys, synchronous_standbys, unknown_standbys, ..server() };
            super::standbys(&server).level
        };
        assert_eq!(attached("", 0, 0, 0), Level::Ok);
        assert_eq!(attached("", 1, 0, 0), Level::Warn, "asynchronous");
        assert_eq!(attached("*", 2, 1, 0), Level::Ok);
        assert_eq!(attached("*", 0, 0, 0), Level::Fail, "commits wait");
        assert_eq!(attached("*", 1, 0, 1), Level::Warn, "unknown");
    }

    #[test]
    fn what_a_role_sets_is_named_if_it_matters() {
        let set = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
            settings(&set, true)
        };
        assert_eq!(set(&["role sets work_mem=64MB"]).level, Level::Ok);
        let found =
            set(&["database sets lock_timeout=1s", "role sets search_path=shop", "role sets work_mem=64MB"]);
        assert_eq!(found.level, Level::Warn);
        assert_eq!(found.message, "database sets lock_timeout=1s; role sets search_path=shop");
        assert_eq!(settings(&[], false).level, Level::Fail);
        assert_eq!(between(true).level, Level::Fail);
    }
}
