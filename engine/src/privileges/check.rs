//! For the command `check`: as which role the service would run, and what the role lacks.

use kit::cli::check::Finding;

use super::Standing;

/// Most statements in an advice.
const STATEMENTS_MAX: usize = 4;

/// What the role is. `program` has the command that migrates and grants.
pub fn role(standing: &Standing, program: &str) -> Finding {
    const NAME: &str = "role";
    let Standing { role, superuser, owns, is_there, may_create, beyond, .. } = standing;
    let advice =
        format!("Serve as a role of its own, and `{program} migrate --grant-to ROLE`: see docs/security.md.");
    if *superuser {
        return Finding::warn(NAME, format!("{role} is a superuser: the whole server is its own"), advice);
    }
    if *owns {
        let message = format!("{role} owns the tables: it may change events, and drop tables");
        return Finding::warn(NAME, message, advice);
    }
    let mut besides: Vec<&str> = beyond.iter().map(String::as_str).collect();
    if *is_there && *may_create {
        besides.push("CREATE in the schema");
    }
    match (is_there, besides.is_empty()) {
        (false, _) => Finding::ok(NAME, role.as_str()),
        (true, true) => Finding::ok(NAME, format!("{role} may do no more on the tables than serving needs")),
        (true, false) => {
            let message = format!("{role} may do more than serving needs: {}", besides.join(", "));
            Finding::warn(
                NAME,
                message,
                format!("`{program} migrate --grant-to {role}` revokes what was granted to it."),
            )
        }
    }
}

/// What the role needs and lacks on what is there.
pub fn lacking(standing: &Standing, program: &str) -> Finding {
    const NAME: &str = "privileges";
    let Standing { role, lacking, .. } = standing;
    if lacking.is_empty() {
        return Finding::ok(NAME, format!("{role} has what the service needs"));
    }
    let mut statements: Vec<String> =
        lacking.iter().take(STATEMENTS_MAX).map(|lacking| grant(lacking, role)).collect();
    if lacking.len() > STATEMENTS_MAX {
        statements.push("…".to_owned());
    }
    let advice = format!("`{program} migrate --grant-to {role}` grants it, or {}", statements.join("; "));
    Finding::fail(NAME, format!("{role} lacks {}", lacking.join(", ")), advice)
}

/// Whether a start could migrate a schema that is not up to date.
pub fn migrating(standing: &Standing, program: &str) -> Finding {
    let Standing { role, owns, is_there, may_create, .. } = standing;
    if *may_create && (*owns || !is_there) {
        return Finding::ok("privileges", format!("{role} may migrate"));
    }
    let advice = format!("`{program} migrate` does, as the role that owns the tables or is to own them.");
    Finding::fail(
        "privileges",
        format!("{role} may not migrate the schema, and the service would not start"),
        advice,
    )
}

/// Of `SELECT on account`.
fn grant(lacking: &str, role: &str) -> String {
    let (privilege, object) = lacking.split_once(" on ").unwrap_or((lacking, ""));
    let kind = if privilege == "EXECUTE" { "FUNCTION " } else { "" };
    format!("GRANT {privilege} ON {kind}{object} TO {role}")
}

#[cfg(test)]
mod tests {
    use kit::cli::check::Level;

    use super::*;

    fn standing() -> Standing {
        Standing {
            role: "serving".to_owned(),
            superuser: false,
            owns: false,
            is_there: true,
            may_create: false,
            lacking: Vec::new(),
            beyond: Vec::new(),
        }
    }

    #[test]
    fn a_role_that_may_do_more_than_it_needs_is_a_warning() {
        let level = |standing: Standing| role(&standing, "orders").level;
        assert_eq!(level(standing()), Level::Ok);
        assert_eq!(level(Standing { superuser: true, ..standing() }), Level::Warn);
        assert_eq!(level(Standing { owns: true, ..standing() }), Level::Warn);
        assert_eq!(level(Standing { may_create: true, ..standing() }), Level::Warn);
        assert_eq!(
            level(Standing { beyond: vec!["DELETE on order_event".to_owned()], ..standing() }),
            Level::Warn
        );
        assert_eq!(level(Standing { is_there: false, may_create: true, ..standing() }), Level::Ok);
    }

    #[test]
    fn what_a_role_lacks_is_told_with_the_statement_that_grants_it() {
        assert_eq!(super::lacking(&standing(), "orders").level, Level::Ok);
        let lacking = ["SELECT on outbox_message", "EXECUTE on server_timeline"].map(str::to_owned).to_vec();
        let found = super::lacking(&Standing { lacking, ..standing() }, "orders");
        assert_eq!(found.level, Level::Fail);
        let advice = found.advice.unwrap_or_default();
        assert!(advice.contains("orders migrate --grant-to serving"), "{advice}");
        assert!(advice.contains("GRANT SELECT ON outbox_message TO serving"), "{advice}");
        assert!(advice.contains("GRANT EXECUTE ON FUNCTION server_timeline TO serving"), "{advice}");
    }

    #[test]
    fn only_the_owner_migrates_what_is_there() {
        let level = |standing: Standing| migrating(&standing, "orders").level;
        assert_eq!(level(standing()), Level::Fail);
        assert_eq!(level(Standing { may_create: true, ..standing() }), Level::Fail);
        assert_eq!(level(Standing { may_create: true, owns: true, ..standing() }), Level::Ok);
        assert_eq!(level(Standing { may_create: true, is_there: false, ..standing() }), Level::Ok);
    }
}
