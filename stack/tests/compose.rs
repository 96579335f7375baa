//! `stack compose-test` where no engine answers. Where one does, it is a test of its own: `make compose-test`.
#![allow(clippy::unwrap_used)]

mod support;

#[test]
fn without_an_engine_it_says_so_and_ends_with_3() {
    let nowhere = tempfile::tempdir().unwrap();
    let engine = format!("unix://{}", nowhere.path().join("docker.sock").display());
    let output = support::tool().arg("compose-test").env("DOCKER_HOST", engine).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.lines().last().unwrap().starts_with("compose-test: NO ENGINE: "), "{said}");
}
