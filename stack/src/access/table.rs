//! The table of `docs/security.md`.

use anyhow::{Context, Result, ensure};

pub const ROLES: [&str; 3] = ["customer", "operator", "admin"];

/// An endpoint, and what each role may reach by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `GET` or `POST`.
    pub method: String,
    pub path: String,
    /// On the operators' address alone, where there is one.
    pub apart: bool,
    /// Also without a token.
    pub everybody: bool,
    /// `all`, `own` or `–`, in the order of [`ROLES`].
    pub roles: [String; 3],
}

/// The rows of the table below `heading`.
pub fn rows(document: &str, heading: &str) -> Result<Vec<Row>> {
    let (_, below) = document.split_once(&format!("\n{heading}\n")).with_context(|| heading.to_owned())?;
    let lines =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    // Without the head, and the line below it.
    lines.skip(2).map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [endpoint, address, everybody, customer, operator, admin] = cells[..] else {
        anyhow::bail!("six cells are needed: {line}");
    };
    ensure!(["every", "operators"].contains(&address), "{address:?} is no address: {line}");
    let (method, path) = endpoint.trim_matches('`').split_once(' ').with_context(|| line.to_owned())?;
    for cell in [everybody, customer, operator, admin] {
        ensure!(["all", "own", "–"].contains(&cell), "{cell:?} is no cell: {line}");
    }
    Ok(Row {
        method: method.to_owned(),
        path: path.to_owned(),
        apart: address == "operators",
        everybody: everybody == "all",
        roles: [customer, operator, admin].map(str::to_owned),
    })
}
