//! The steps without a fault, and what each step checks with.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use uuid::Uuid;

use super::engine::{Project, SERVICES, text};
use crate::demo::{Book, Clients, Command, check_order, create_orders, eventually};
use crate::say;
use crate::servers::kafka::Access;

/// On a machine that compiles beside it.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Of a step.
const ORDERS: usize = 20;
/// As docs/docker.md has it.
const COUNT: [&str; 9] =
    ["exec", "-T", "postgres", "psql", "-U", "app", "-Atc", "SELECT count(*) FROM outbox_message", "app"];

pub(super) struct Story {
    pub(super) project: Project,
    pub(super) clients: Clients,
    pub(super) http: reqwest::Client,
    book: Book,
}

impl Story {
    pub(super) fn new(project: Project) -> Result<Self> {
        let clients = Clients::new(
            format!("http://{}", project.address("orders")),
            format!("http://{}", project.address("bonus")),
            &format!("redis://{}", project.address("redis")),
            &format!("postgresql://app:app@{}/app", project.address("postgres")),
        )?;
        let clients = clients.with_operators(format!("http://{}", project.address("orders_admin")));
        let http = crate::http_client().timeout(Duration::from_secs(15)).build()?;
        Ok(Self { project, clients, http, book: Book::default() })
    }

    /// One step, in one line: what was done, what was found.
    pub(super) async fn play(
        &mut self,
        step: &str,
        play: impl AsyncFnOnce(&mut Self) -> Result<String>,
    ) -> Result<()> {
        let begun = Instant::now();
        let found = play(self).await.map_err(|error| error.context(format!("step `{step}`")))?;
        say::done(format!("{step:<18}"), format_args!("{:>7}  {found}", say::seconds(begun.elapsed())));
        Ok(())
    }

    /// For whoever has to find out why a step failed.
    pub(super) fn show_logs(&self) {
        let logs = self.project.output(&["logs", "--no-color", "--tail", "30"]);
        say::answer(logs.map_or_else(|error| format!("{error:#}"), |output| text(&output.stdout)));
    }

    pub(super) async fn build(&mut self) -> Result<String> {
        self.project.run(&["build"])?;
        Ok("both images".to_owned())
    }

    pub(super) async fn up(&mut self) -> Result<String> {
        self.project.run(&["up", "--detach", "--wait", "--wait-timeout", "180"])?;
        for service in SERVICES {
            let container = self.project.container(service)?;
            ensure!(container.health() == "healthy", "{service} is {}", container.health());
        }
        Ok(format!("{} services healthy", SERVICES.len()))
    }

    /// The line that `docker compose up` shows, and what is there.
    pub(super) async fn where_to_look(&mut self) -> Result<String> {
        let log = self.project.run(&["logs", "--no-log-prefix", "--no-color", "orders"])?;
        let line = log.lines().find(|line| line.contains("http://localhost:3002/dashboard"));
        ensure!(line.is_some(), "no line of the log says where the control room is:\n{log}");
        for path in ["/", "/dashboard"] {
            for (address, expected) in [("orders_admin", 200), ("orders", 404)] {
                let url = format!("http://{}{path}", self.project.address(address));
                let status = self.http.get(&url).send().await?.status();
                ensure!(status == expected, "GET {url} answers {status}");
            }
        }
        Ok("the log says it; control room and Swagger UI answer operators alone".to_owned())
    }

    pub(super) async fn all_is_well(&mut self) -> Result<String> {
        let orders = self.trade().await?;
        let arrived = self.all_arrives().await?;
        Ok(format!("{orders}; {arrived}"))
    }

    pub(super) async fn check_is_content(&mut self) -> Result<String> {
        let report = self.project.run(&["exec", "-T", "orders", "orders", "check"])?;
        ensure!(!report.contains("FAIL"), "{report}");
        Ok(format!("{} checks, none fails", report.matches(" OK ").count()))
    }

    pub(super) async fn topic_in_order(&mut self) -> Result<String> {
        let (kafka, versions) = (Access::plain(self.project.address("kafka")), self.book.versions());
        let topic = check_order(&tokio::task::block_in_place(|| crate::topic::read(&kafka))?, &versions)?;
        Ok(format!(
            "{} messages, {} events of {} orders, versions in order; {} repeated",
            topic.messages, topic.events, topic.orders, topic.repeated
        ))
    }

    pub(super) async fn down(&mut self) -> Result<String> {
        self.clients.database.close().await;
        let begun = Instant::now();
        self.project.run(&["down"])?;
        let took = say::seconds(begun.elapsed());
        let remains = self.project.remains()?;
        let volumes = remains.matches("volume ").count();
        ensure!(!remains.contains("container ") && volumes == 3, "after `down` there is: {remains}");
        self.project.run(&["down", "--volumes", "--rmi", "local"])?;
        let remains = self.project.remains()?;
        ensure!(remains.is_empty(), "after `down --volumes` there is: {remains}");
        Ok(format!("in {took}, the data kept; with --volumes nothing remains"))
    }

    /// Orders created, one taken to its end, one cancelled; every command answered as if all were well.
    pub(super) async fn trade(&mut self) -> Result<String> {
        let customers: Vec<Uuid> = (0..4).map(|_| Uuid::new_v4()).collect();
        let (orders, latency) = create_orders(&self.clients, &customers, ORDERS).await?;
        for (order, customer) in &orders {
            self.book.created(*order, *customer);
        }
        let whole_life = [Command::Pay, Command::Ship, Command::Complete];
        for ((order, customer), commands) in orders.iter().zip([&whole_life[..], &[Command::Cancel]]) {
            for command in commands {
                self.clients.command(*order, *customer, *command).await?;
                self.book.carried_out(*order, *command);
            }
        }
        Ok(format!("{ORDERS} orders, every one 201 (slowest {:.0} ms)", latency.max_ms))
    }

    /// The events of so many calls of [`Self::trade`].
    pub(super) fn traded(times: usize) -> usize {
        times * (ORDERS + 4)
    }

    pub(super) fn pending(&self) -> Result<usize> {
        Ok(self.project.run(&COUNT)?.trim().parse()?)
    }

    /// Waits until the outbox is empty, the publisher is calm, and every customer has the points of every event, once.
    pub(super) async fn all_arrives(&self) -> Result<String> {
        let begun = Instant::now();
        let published = async || {
            let outbox = self.clients.outbox().await?;
            Ok((outbox.pending == 0 && outbox.breaker == "closed").then_some(()))
        };
        eventually(PATIENCE, "the outbox to be empty", published).await?;
        let took = say::seconds(begun.elapsed());
        let expected = self.book.ledger_rows();
        let credited = async || {
            let rows = self.clients.count("SELECT count(*) FROM bonus.ledger").await?;
            Ok((rows >= expected).then_some(rows))
        };
        let rows = eventually(PATIENCE, "the bonus service to have every event", credited).await?;
        ensure!(rows == expected, "the ledger has {rows} rows, {expected} are right");
        for (customer, points) in self.book.points() {
            let found = self.clients.points(customer).await?.unwrap_or_default();
            if found != points {
                bail!("customer {customer} has {found} points, {points} are right");
            }
        }
        Ok(format!("outbox empty after {took}, every point right"))
    }

    /// Waits for a container's health, and says when it was there.
    pub(super) async fn health(&self, service: &str, wanted: &str) -> Result<Instant> {
        let look = async || Ok((self.project.container(service)?.health() == wanted).then(Instant::now));
        eventually(PATIENCE, &format!("{service} to be {wanted}"), look).await
    }

    pub(super) async fn readiness(&self) -> Result<u16> {
        let url = format!("http://{}/readyz", self.project.address("orders"));
        Ok(self.http.get(url).send().await?.status().as_u16())
    }

    /// As a load balancer sees them.
    pub(super) async fn services_are_ready(&self) -> Result<()> {
        let readiness = self.readiness().await?;
        ensure!(readiness == 200, "GET /readyz answers {readiness}");
        for service in ["orders", "bonus"] {
            let container = self.project.container(service)?;
            ensure!(container.health() == "healthy", "{service} is {}", container.health());
        }
        Ok(())
    }
}
