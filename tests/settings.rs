//! A setting is told in the code, in docs/configuration.md, in .env.example, and some in docker-compose.yml: they must tell the same.

use std::collections::BTreeMap;

use clap::{CommandFactory, Parser};
use orders::config::Config;

const TABLES: &str = include_str!("../docs/configuration.md");
const EXAMPLE: &str = include_str!("../.env.example");
const COMPOSE: &str = include_str!("../docker-compose.yml");
/// Laid over it, for a system without Kafka.
const COMPOSE_REDIS: &str = include_str!("../docker-compose.redis.yml");
const DOCKERFILE: &str = include_str!("../Dockerfile");
/// As text, because neither service is a dependency of the other's tests.
const BONUS_CONFIG: [&str; 4] = [
    include_str!("../bonus/src/config.rs"),
    include_str!("../bonus/src/config/http.rs"),
    include_str!("../bonus/src/config/publication.rs"),
    include_str!("../bonus/src/config/topics.rs"),
];
/// What both services take alike, some of it under a prefix of each service.
const KIT_SETTINGS: [&str; 6] = [
    include_str!("../kit/src/settings/auth.rs"),
    include_str!("../kit/src/settings/clients.rs"),
    include_str!("../kit/src/settings/kafka.rs"),
    include_str!("../kit/src/settings/postgres.rs"),
    include_str!("../kit/src/settings/redis.rs"),
    include_str!("../kit/src/settings/traces.rs"),
];

/// Each variable with its default, if it has one.
type Settings = BTreeMap<String, Option<String>>;

fn orders() -> Settings {
    let command = Config::command();
    let setting = |argument: &clap::Arg| {
        let variable = argument.get_env()?.to_str()?.to_owned();
        let default = argument.get_default_values().first();
        Some((variable, default.and_then(|value| value.to_str()).map(str::to_owned)))
    };
    command.get_arguments().filter_map(setting).collect()
}

/// The code of all settings of the bonus service.
fn bonus_code() -> Vec<String> {
    let of_kit = KIT_SETTINGS.map(|file| file.replace("concat!($prefix, \"_", "\"BONUS_"));
    BONUS_CONFIG.map(str::to_owned).into_iter().chain(of_kit).collect()
}

fn bonus() -> Settings {
    let files = bonus_code();
    let code = files.iter().filter_map(|file| file.split("#[cfg(test)]").next());
    let attributes = code.flat_map(|code| code.split("#[arg(").skip(1));
    let attributes = attributes.filter_map(|rest| rest.split(")]").next());
    let quoted = |attribute: &str, name: &str| {
        let value = attribute.split_once(&format!("{name} = \""))?.1;
        value.split('"').next().map(str::to_owned)
    };
    let setting = |attribute: &str| {
        let default = quoted(attribute, "default_value").or_else(|| {
            let value = attribute.split_once("default_value_t = ")?.1.split([',', '\n']).next()?;
            // `6_000`, or a path such as `LogFormat::Pretty`.
            let value = value.rsplit("::").next()?;
            let number = value.starts_with(|c: char| c.is_ascii_digit());
            Some(if number { value.replace('_', "") } else { value.to_lowercase() })
        });
        Some((quoted(attribute, "env")?, default))
    };
    attributes.filter_map(setting).collect()
}

/// `VARIABLE` and value of a line `VARIABLE=value`, which may be commented out.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('#').unwrap_or(line).split_once('=')?;
    let is_variable =
        |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    is_variable(name).then_some((name, value))
}

/// The rows of the first table below `heading` in docs/configuration.md: variable and default.
fn table_below(heading: &str) -> Settings {
    let (_, below) = TABLES.split_once(&format!("\n{heading}\n")).unwrap_or_default();
    let lines = below.lines().skip_while(|line| !line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let variable = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let default = cells.next()?.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
        Some((variable.to_owned(), default.map(str::to_owned)))
    };
    lines.take_while(|line| line.starts_with('|')).filter_map(row).collect()
}

/// The lines of a service in a compose file. Mappings are indented by two there.
fn compose_service<'a>(file: &'a str, service: &str) -> Vec<&'a str> {
    let indented = |line: &&str, by: usize| line.is_empty() || line.chars().take(by).all(|c| c == ' ');
    let heading = format!("  {service}:");
    let lines = file.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| indented(line, 4)).collect()
}

/// The environment of a service in a compose file.
fn compose_environment(file: &str, service: &str) -> BTreeMap<String, String> {
    let indented = |line: &&str, by: usize| line.is_empty() || line.chars().take(by).all(|c| c == ' ');
    compose_service(file, service)
        .into_iter()
        .skip_while(|line| *line != "    environment:")
        .skip(1)
        .take_while(|line| indented(line, 6))
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// Whether the order service starts with these values.
fn is_taken(values: &BTreeMap<String, String>) -> Result<(), clap::Error> {
    let command = Config::command();
    let option = |argument: &clap::Arg| {
        let value = values.get(argument.get_env()?.to_str()?)?;
        Some(format!("--{}={value}", argument.get_long()?))
    };
    let options = command.get_arguments().filter_map(option);
    Config::try_parse_from(std::iter::once("orders".to_owned()).chain(options)).map(|_| ())
}

#[test]
fn both_configurations_are_found() {
    let (orders, bonus) = (orders(), bonus());
    assert_eq!(orders["BACKOFF_CAP_MS"].as_deref(), Some("30000"));
    assert_eq!(orders["LOG_FORMAT"].as_deref(), Some("pretty"));
    assert_eq!(bonus["BONUS_HTTP_ADDR"].as_deref(), Some("127.0.0.1:3003"));
    assert_eq!(bonus["BONUS_BATCH_MESSAGES_MAX"].as_deref(), Some("1000"));
    assert_eq!(bonus["LOG_FORMAT"].as_deref(), Some("pretty"));
    assert_eq!(bonus["BONUS_DEAD_LETTER_TOPIC"], None);
    assert_eq!(bonus["BONUS_EVENTS_TOPIC"].as_deref(), Some("bonus.events"));
    let declared = bonus_code().into_iter().map(|file| file.matches("env = \"").count());
    assert_eq!(
        bonus.len(),
        declared.sum::<usize>(),
        "every setting of the bonus service was read from its code"
    );
}

#[test]
fn the_tables_tell_every_setting_and_its_default() {
    assert_eq!(table_below("## Order service"), orders());
    assert_eq!(table_below("## Bonus service"), bonus());
}

#[test]
fn the_example_tells_every_setting_and_its_default() {
    let services = [orders(), bonus()];
    let example: BTreeMap<&str, &str> = EXAMPLE.lines().filter_map(assignment).collect();
    assert_eq!(EXAMPLE.lines().filter_map(assignment).count(), example.len(), "a variable is there twice");
    for variable in services.iter().flat_map(BTreeMap::keys) {
        assert!(example.contains_key(variable.as_str()), "{variable} is missing in .env.example");
    }
    for (variable, value) in &example {
        let known: Vec<_> = services.iter().filter_map(|settings| settings.get(*variable)).collect();
        assert!(!known.is_empty(), "{variable} in .env.example is no setting of either service");
        let commented_out = EXAMPLE.lines().any(|line| line.starts_with(&format!("#{variable}=")));
        let without_default = known.iter().all(|default| default.is_none());
        assert_eq!(commented_out, without_default, "{variable}: only what has no default is commented out");
        let is_default = known.iter().any(|default| default.as_deref() == Some(value));
        assert!(without_default || is_default, "{variable}={value} in .env.example is not the default");
    }
    let values = example.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    is_taken(&values).unwrap();
}

#[test]
fn compose_sets_what_the_services_know() {
    for (service, settings) in [("orders", orders()), ("bonus", bonus())] {
        let environment = compose_environment(COMPOSE, service);
        assert!(environment.contains_key("DATABASE_URL"), "{service}: {environment:?}");
        for variable in environment.keys() {
            assert!(settings.contains_key(variable), "{service} in docker-compose.yml sets {variable}");
        }
    }
    is_taken(&compose_environment(COMPOSE, "orders")).unwrap();
}

/// What an engine makes of both files together: mappings are merged, and a service with a profile that nobody names is left out.
#[test]
fn without_kafka_compose_starts_none_builds_none_and_both_services_use_redis() {
    assert!(compose_service(COMPOSE_REDIS, "kafka").contains(&"    profiles: [kafka]"));
    for (service, settings, mq) in [("orders", orders(), "ORDERS_MQ"), ("bonus", bonus(), "BONUS_MQ")] {
        let lines = compose_service(COMPOSE_REDIS, service);
        assert!(lines.contains(&"        CARGO_OPTIONS: --no-default-features"), "{service}: {lines:?}");
        let mut environment = compose_environment(COMPOSE, service);
        environment.extend(compose_environment(COMPOSE_REDIS, service));
        assert_eq!(environment[mq], "redis");
        assert_eq!(environment["REDIS_URL"], "redis://redis:6379");
        for variable in environment.keys() {
            assert!(settings.contains_key(variable), "{service} in docker-compose.redis.yml sets {variable}");
        }
    }
    let mut environment = compose_environment(COMPOSE, "orders");
    environment.extend(compose_environment(COMPOSE_REDIS, "orders"));
    is_taken(&environment).unwrap();
    // Whatever a service depends on is started with it.
    let depends = COMPOSE.split("depends_on:").skip(1).filter_map(|rest| rest.lines().nth(1));
    assert!(depends.clone().count() >= 2 && depends.into_iter().all(|line| line.trim() == "postgres:"));
}

#[test]
fn containers_of_compose_have_no_right_that_they_do_not_need() {
    for service in ["orders", "bonus"] {
        let section: Vec<&str> = compose_service(COMPOSE, service).into_iter().map(str::trim).collect();
        for line in [
            "read_only: true",
            "cap_drop: [ALL]",
            "security_opt: [\"no-new-privileges:true\"]",
            "pids_limit: 256",
            "mem_limit: 1g",
        ] {
            assert!(section.contains(&line), "{service} in docker-compose.yml has no {line}");
        }
    }
}

#[test]
fn the_images_set_what_the_services_know() {
    let set = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let of_services: Vec<&str> =
        set.map(|(name, _)| name).filter(|name| !name.starts_with("CARGO_") && *name != "PATH").collect();
    assert!(!of_services.is_empty());
    for variable in of_services {
        assert!(orders().contains_key(variable) || bonus().contains_key(variable), "{variable}");
    }
}
