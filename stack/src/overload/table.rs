//! The report as tables.

use comfy_table::{CellAlignment, Table, presets};

use super::Report;
use super::load::Load;
use super::siege::Siege;
use crate::say;

fn table(header: Vec<String>, rows: Vec<(&str, Vec<String>)>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(header);
    for (what, values) in rows {
        table.add_row([what.to_owned()].into_iter().chain(values));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(super) fn print(report: &Report) {
    let loads = [&report.reference, &report.overload];
    let row = |show: &dyn Fn(&Load) -> String| loads.iter().map(|load| show(load)).collect();
    let header = [["clients".to_owned()].to_vec(), row(&|load| load.clients.to_string())].concat();
    let rows = vec![
        ("accepted a second", row(&|load| format!("{:.0}", load.accepted_per_second))),
        ("refused a second", row(&|load| format!("{:.0}", load.refused as f64 / load.seconds))),
        ("accepted, p50", row(&|load| format!("{:.1} ms", load.p50_ms))),
        ("accepted, p99", row(&|load| format!("{:.1} ms", load.p99_ms))),
        ("accepted, slowest", row(&|load| format!("{:.1} ms", load.max_ms))),
        ("memory, most", row(&|load| format!("{:.0} MiB", load.memory_max_mib))),
    ];
    say::put(format_args!("\n{}", table(header, rows)));
    say::line(format_args!(
        "idle {:.0} MiB; {} acknowledged and lost, {} refused and carried out",
        report.memory_idle_mib, report.acknowledged_and_lost, report.refused_and_carried_out
    ));
    besieged(&report.sieges);
    for broken in &report.broken {
        say::line(broken);
    }
}

fn besieged(sieges: &[Siege]) {
    let row = |show: &dyn Fn(&Siege) -> String| sieges.iter().map(show).collect();
    let header =
        [["beside 64 clients".to_owned()].to_vec(), row(&|siege| siege.kind.label().to_owned())].concat();
    let rows = vec![
        ("attackers", row(&|siege| siege.attackers.attackers.to_string())),
        ("of them connected at the end", row(&|siege| siege.attackers.connected.to_string())),
        ("connections ended", row(&|siege| siege.attackers.shut.to_string())),
        ("bodies answered", row(&|siege| siege.attackers.answered.to_string())),
        ("largest answer to one", row(&|siege| format!("{} B", siege.attackers.answer_bytes_max))),
        ("honest: accepted a second", row(&|siege| format!("{:.0}", siege.honest.accepted_per_second))),
        ("honest: p50", row(&|siege| format!("{:.1} ms", siege.honest.p50_ms))),
        ("honest: p99", row(&|siege| format!("{:.1} ms", siege.honest.p99_ms))),
        ("slowest probe", row(&|siege| format!("{:.0} ms", siege.probes.slowest_ms))),
        ("memory, before", row(&|siege| format!("{:.0} MiB", siege.memory_before_mib))),
        ("memory, most", row(&|siege| format!("{:.0} MiB", siege.honest.memory_max_mib))),
    ];
    say::put(format_args!("\n{}", table(header, rows)));
}
