//! `stack exec` leaves nothing behind, however it ends.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

const SHOW: &str = r#"echo "${DATABASE_URL##*@} ${REDIS_URL##*/} $KAFKA_BROKERS";"#;

/// The servers' addresses, as the command has printed them.
fn addresses(line: &str) -> Vec<String> {
    line.split_whitespace().map(|address| address.trim_end_matches("/app").to_owned()).collect()
}

fn all_closed(addresses: &[String]) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while addresses.iter().any(|address| TcpStream::connect(address).is_ok()) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn the_command_has_servers_and_its_exit_code_is_passed_on() {
    let script = format!("{SHOW} exit 7");
    let output = support::tool().args(["exec", "--", "sh", "-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let addresses = addresses(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(addresses.len(), 3);
    assert!(all_closed(&addresses));
}

#[test]
fn a_killed_run_takes_everything_with_it() {
    let script = format!("{SHOW} exec sleep 60");
    let mut run =
        support::tool().args(["exec", "--", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let addresses = addresses(&line);
    assert_eq!(addresses.len(), 3);
    assert!(addresses.iter().all(|address| TcpStream::connect(address).is_ok()));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(all_closed(&addresses));
    // The command is dead too: it held the other end of the pipe.
    line.clear();
    assert_eq!(output.read_line(&mut line).unwrap(), 0);
}
