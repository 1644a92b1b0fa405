//! Report: a row for each figure, printed when it is known, and written to `target/report/` at the end.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    Outcome,
    chart::{self, Bar, Line},
    settings::Settings,
};

/// Table of the figures.
pub(crate) struct Table {
    start: Instant,
    report: Report,
}

/// Everything that was measured, as in `target/report/report.json`.
#[derive(Serialize)]
struct Report {
    machine: String,
    clients: usize,
    pushes_per_second: f64,
    figures: Vec<Entry>,
    curves: Vec<Curve>,
}

/// A figure. Left out: the reason is in `note`.
#[derive(Serialize)]
struct Entry {
    name: String,
    unit: String,
    tricast: Option<f64>,
    baseline: Option<f64>,
    /// Smallest, median and largest ratio.
    ratio: Option<(f64, f64, f64)>,
    target: String,
    note: String,
}

/// A cost against one quantity.
#[derive(Serialize)]
pub(crate) struct Curve {
    /// Name, also of the chart.
    pub(crate) name: &'static str,
    /// The quantity.
    pub(crate) of: &'static str,
    /// Unit of the cost.
    pub(crate) unit: &'static str,
    /// Quantity and cost.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Measured pairs: tricast's value and the baseline.
#[derive(Default)]
pub(crate) struct Ratio {
    pairs: Vec<(f64, f64)>,
}

impl Ratio {
    /// Adds the two values of one repetition.
    pub(crate) fn add(&mut self, ours: f64, beside: f64) {
        self.pairs.push((ours, beside));
    }

    fn ours(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.0))
    }

    fn beside(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.1))
    }

    /// Returns the smallest, the median and the largest ratio; each is taken within a repetition. `None` if the baseline
    /// is zero.
    fn ratios(&self) -> Option<(f64, f64, f64)> {
        if self.pairs.iter().any(|(ours, beside)| *beside < ours * 1e-3) {
            return None;
        }
        let ratios = || self.pairs.iter().map(|(ours, beside)| ours / beside);
        Some((ratios().fold(f64::MAX, f64::min), median(ratios()), ratios().fold(f64::MIN, f64::max)))
    }
}

impl Table {
    /// Prints the circumstances of the measurement, and the head of the table.
    pub(crate) fn begin(settings: &Settings) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |c| c.1);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let place = if settings.pinned { "a core to itself" } else { "NOT pinned: ratios may be off" };
        println!("tricast {}, one worker, {place}", env!("CARGO_PKG_VERSION"));
        let machine = format!("{} cores {cpu}, Linux {}", settings.cores, kernel.trim());
        println!("{machine}, load {}", load());
        let per_second = 1.0 / settings.period.as_secs_f64();
        println!(
            "{} clients, {per_second:.0} pushes a second, {} repetitions{}\n",
            settings.clients,
            settings.repetitions,
            if settings.quick { ", QUICK" } else { "" }
        );
        row("figure", "tricast", "beside", "ratio", "min..max", "target", "");
        let (figures, curves) = (Vec::new(), Vec::new());
        let report = Report { machine, clients: settings.clients, pushes_per_second: per_second, figures, curves };
        Self { start: Instant::now(), report }
    }

    /// Prints a figure without a baseline.
    pub(crate) fn single(&mut self, name: &str, unit: &str, value: f64, target: &str, note: &str) {
        row(name, &with_unit(value, unit), "-", "-", "", target, note);
        self.add(name, unit, Some(value), None, target, note);
    }

    /// Prints a figure that could not be measured.
    pub(crate) fn left_out(&mut self, name: &str, reason: &str) {
        row(name, "-", "-", "-", "", "", &format!("left out: {reason}"));
        self.add(name, "", None, None, "", reason);
    }

    /// Prints a curve, a row for each point.
    pub(crate) fn curve(&mut self, curve: Curve) {
        for (quantity, cost) in &curve.points {
            let name = format!("{}: {quantity} {}", curve.name, curve.of);
            row(&name, &with_unit(*cost, curve.unit), "-", "-", "", "", "");
        }
        self.report.curves.push(curve);
    }

    fn add(&mut self, name: &str, unit: &str, ours: Option<f64>, ratio: Option<&Ratio>, target: &str, note: &str) {
        self.report.figures.push(Entry {
            name: name.into(),
            unit: unit.into(),
            tricast: ours,
            baseline: ratio.map(Ratio::beside),
            ratio: ratio.and_then(Ratio::ratios),
            target: target.into(),
            note: note.into(),
        });
    }

    /// Prints the time that the report took, and the load. Writes the report with its charts into `directory`.
    pub(crate) fn end(self, directory: &Path) -> Outcome<()> {
        println!("\n{:.0} s, load now {}", self.start.elapsed().as_secs_f64(), load());
        fs::create_dir_all(directory)?;
        fs::write(directory.join("report.json"), serde_json::to_vec_pretty(&self.report)?)?;
        let figures = self.report.figures.iter();
        let bars: Vec<_> = figures.filter_map(|entry| Some(Bar { name: &entry.name, ratios: entry.ratio? })).collect();
        if !bars.is_empty() {
            let title = "tricast / baseline in the same run: 1 is the cost of the baseline";
            fs::write(directory.join("ratios.svg"), chart::bars(title, &bars))?;
        }
        for Curve { name, of, unit, points } in &self.report.curves {
            let line = Line { name: "tricast", points };
            fs::write(
                directory.join(format!("{}.svg", name.replace(' ', "-"))),
                chart::lines(name, of, unit, &[line]),
            )?;
        }
        println!("report and charts: {}", directory.display());
        Ok(())
    }

    /// Prints a figure with its baseline.
    pub(crate) fn line(&mut self, name: &str, unit: &str, ratio: &Ratio, target: &str, note: &str) {
        let (median, spread) = match ratio.ratios() {
            None => ("-".into(), String::new()),
            Some((_, median, _)) if ratio.pairs.len() == 1 => (format!("{median:.2}"), String::new()),
            Some((least, median, most)) => (format!("{median:.2}"), format!("{least:.2}..{most:.2}")),
        };
        let (ours, beside) = (with_unit(ratio.ours(), unit), with_unit(ratio.beside(), unit));
        row(name, &ours, &beside, &median, &spread, target, note);
        self.add(name, unit, Some(ratio.ours()), Some(ratio), target, note);
    }
}

fn row(name: &str, ours: &str, beside: &str, ratio: &str, spread: &str, target: &str, note: &str) {
    println!("{name:<34} {ours:>10} {beside:>10} {ratio:>7} {spread:>12} {target:>9}  {note}");
    // Flushes each line, also into a pipe; a failure does not matter.
    drop(io::stdout().flush());
}

fn with_unit(value: f64, unit: &str) -> String {
    if value < 100.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Returns `time` in microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
