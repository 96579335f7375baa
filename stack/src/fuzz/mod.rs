//! `stack fuzz`: both services' OpenAPI documents, played by schemathesis with every check it has: no 5xx, no status, header or body that
//! the document does not have, no request refused that fits it, none accepted that does not, and none answered without a token.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::access::Issuer;
use crate::local::{Home, down};
use crate::servers::process::run;
use crate::servers::{Service, ServiceSettings};
use crate::site::Site;
use crate::{place, say};

/// Of PyPI. Another version has other checks.
const VERSION: &str = "4.32.5";
const CONFIGURATION: &str = include_str!("schemathesis.toml");
/// Phases of schemathesis, and what is not checked in them. In its phase of bounds this version sends `If-Match: "0"` without the quotes, and
/// calls that right.
const PASSES: [(&str, &[&str]); 2] =
    [("coverage", &["--exclude-checks", "positive_data_acceptance"]), ("examples,fuzzing,stateful", &[])];
/// Lines of a report that are shown of a failure; the rest is in its file.
const LINES_SHOWN: usize = 120;

#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Most requests that are made up for each operation, besides those that cover each bound of each value.
    #[arg(long, env = "CASES", default_value_t = 1_200, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Makes the same requests again.
    #[arg(long, env = "SEED", default_value_t = 1)]
    seed: u32,
}

/// True if no check failed.
pub fn fuzz(home: Home, settings: &Settings, reports: &Path) -> Result<bool> {
    let _lock = home.lock()?;
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let program = program()?;
    // Crashes that are asked for are answered 500.
    let orders = ServiceSettings::orders()?.with("ENABLE_FAULTS", "false");
    let issuer = Issuer::of_ed25519()?;
    std::fs::create_dir_all(&home.directory)?;
    let orders = issuer.required(orders, "ORDERS", &home.directory)?;
    let site = Site::start(&home.directory, 1, &orders)?;
    let bonus = ServiceSettings::bonus()?
        .with("DATABASE_URL", site.postgres.url())
        .with("KAFKA_BROKERS", site.kafka.brokers())
        .with("REDIS_URL", site.redis.url());
    let bonus = issuer.required(bonus, "BONUS", &home.directory)?;
    let bonus = Service::start(&home.directory, bonus)?;
    std::fs::create_dir_all(reports)?;
    let configuration = home.directory.join("schemathesis.toml");
    std::fs::write(&configuration, CONFIGURATION)?;
    let token = issuer.token("fuzz", &["admin"])?;
    let mut passed = true;
    for (name, service) in [("orders", site.service(0)?), ("bonus", &bonus)] {
        for (phases, excluded) in PASSES {
            let report = reports.join(format!("fuzz-{name}-{}.txt", phases.replace(',', "-")));
            let run = Run {
                program: &program,
                configuration: &configuration,
                token: &token,
                phases,
                excluded,
                settings,
            };
            passed &= run.play(name, service, &report)?;
        }
    }
    Ok(passed)
}

struct Run<'a> {
    program: &'a Path,
    configuration: &'a Path,
    token: &'a str,
    phases: &'static str,
    excluded: &'static [&'static str],
    settings: &'a Settings,
}

impl Run<'_> {
    fn play(&self, name: &str, service: &Service, report: &Path) -> Result<bool> {
        let written = std::fs::File::create(report)?;
        // It keeps what failed where it runs.
        let folder = self.configuration.parent().context("the configuration is in no folder")?;
        let ended = Command::new(self.program)
            .current_dir(folder)
            .arg("--config-file")
            .arg(self.configuration)
            .args(["--no-color", "run", "--checks", "all", "--phases", self.phases])
            .args(self.excluded)
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args([
                "--max-examples",
                &self.settings.cases.to_string(),
                "--seed",
                &self.settings.seed.to_string(),
            ])
            .arg(format!("{}/api-docs/openapi.json", service.url()))
            .stdin(Stdio::null())
            .stdout(written.try_clone()?)
            .stderr(written)
            .status()
            .context("schemathesis cannot be run")?;
        let text = std::fs::read_to_string(report)?;
        let cases = text.lines().find(|line| line.contains(" generated, ")).map(str::trim);
        match (ended.code(), cases) {
            (Some(0), Some(cases)) => {
                say::done(name, format!("{}: {cases}", self.phases));
                Ok(true)
            }
            // Its own code for a check that failed. Any other means that it could not do its work.
            (Some(1), _) => {
                let shown: Vec<&str> =
                    text.lines().skip_while(|line| !line.contains("FAILURES")).take(LINES_SHOWN).collect();
                say::error(format!("{name}: {}\nAll of it: {}", shown.join("\n"), report.display()));
                Ok(false)
            }
            _ => bail!("schemathesis has ended with {ended}: {}", report.display()),
        }
    }
}

/// Schemathesis, in an environment of its own in Cargo's output directory.
fn program() -> Result<PathBuf> {
    let environment = place::target().join(format!("schemathesis-{VERSION}"));
    let program = environment.join("bin/schemathesis");
    if program.exists() {
        return Ok(program);
    }
    say::line(format!("Fetching schemathesis {VERSION} by pip"));
    let python = "Python 3.10 or newer with venv is needed (Debian: the package python3-venv)";
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment)).context(python)?;
    let package = format!("schemathesis=={VERSION}");
    run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", &package]))
        .context("pip cannot fetch schemathesis from the Python Package Index")?;
    ensure!(program.exists(), "pip has installed no {}", program.display());
    Ok(program)
}
