//! The workflow by curl as a test: on real servers, and with answers that are not the expected ones.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Output};

use stack::local::{Home, Part};

const NAME: &str = "story-test";

fn tool(arguments: &[&str]) -> Command {
    let mut tool = support::tool();
    tool.env_remove("ORDERS_URL").env_remove("BONUS_URL").args(["--stack", NAME]).args(arguments);
    tool
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The story, on the services at these addresses.
fn story(orders: &str, bonus: &str) -> Output {
    tool(&["story"]).env("ORDERS_URL", orders).env("BONUS_URL", bonus).output().unwrap()
}

#[test]
fn every_answer_is_the_expected_one_and_another_ends_the_story() {
    let home = Home::named(NAME).unwrap();
    assert!(tool(&["down", "--wipe"]).status().unwrap().success());
    let up = tool(&["up"]).output().unwrap();
    assert!(up.status.success(), "{}", told(&up));
    let state = home.load();
    let url = |part: Part| format!("http://127.0.0.1:{}", state.parts[&part].port);
    let (orders, bonus) = (url(Part::Orders), url(Part::Bonus));

    let played = story(&orders, &bonus);
    let text = told(&played);
    assert!(played.status.success(), "{text}");
    assert_eq!(text.lines().last(), Some("story: every answer was the expected one"), "{text}");
    for (shown, times) in [
        ("HTTP/1.1 201 Created", 3),
        ("HTTP/1.1 409 Conflict", 1),
        ("idempotent-replayed: true", 1),
        ("$ curl -i ", 16),
        ("\"points\": 140,", 1),
    ] {
        assert_eq!(text.matches(shown).count(), times, "{shown}: {text}");
    }

    // The other way round: whoever answers is not the order service.
    let wrong = story(&bonus, &orders);
    let text = told(&wrong);
    assert_eq!(wrong.status.code(), Some(1), "{text}");
    assert!(text.contains("step 1, Create an order") && text.contains("expected status 201"), "{text}");
    assert!(!text.contains("\n2. "), "it went on: {text}");

    // Without a database the order service answers, and not as expected.
    assert!(tool(&["kill", "postgres"]).status().unwrap().success());
    let refused = story(&orders, &bonus);
    let text = told(&refused);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("HTTP/1.1 503 ") && text.contains("expected status 201"), "{text}");

    let half = tool(&["story", "--orders", &orders]).output().unwrap();
    assert_eq!(half.status.code(), Some(2), "one address without the other: {}", told(&half));
    assert!(tool(&["down", "--wipe"]).status().unwrap().success());
    assert!(!home.directory.exists());
}

#[test]
fn a_story_on_a_stack_of_its_own_leaves_nothing() {
    let name = "story-own-test";
    let mut tool = support::tool();
    let played = tool.env_remove("ORDERS_URL").env_remove("BONUS_URL").args(["--stack", name, "story"]);
    let played = played.output().unwrap();
    assert!(played.status.success(), "{}", told(&played));
    assert!(!Home::named(name).unwrap().directory.exists());
}
