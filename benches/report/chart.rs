//! Charts of the report as SVG, readable on a light and on a dark page.

use std::fmt::Write;

/// A bar of the chart of ratios.
pub(crate) struct Bar<'a> {
    /// Name of the figure.
    pub(crate) name: &'a str,
    /// Smallest, median and largest ratio.
    pub(crate) ratios: (f64, f64, f64),
}

/// A line of a chart.
pub(crate) struct Line<'a> {
    /// Name, written at the end of the line.
    pub(crate) name: &'a str,
    /// Points from left to right; all numbers are positive.
    pub(crate) points: &'a [(f64, f64)],
}

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d1d9e0}.one{stroke:#59636e}\
    .bar{fill:#0969da}.range{stroke:#59636e}polyline{fill:none;stroke-width:2}.a{stroke:#0969da}.b{stroke:#8250df}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#3d444d}.bar{fill:#4493f8}.a{stroke:#4493f8}.b{stroke:#ab7df8}}";

/// Returns a chart of the ratios, with a logarithmic axis and a mark at 1, where tricast costs as much as the baseline.
pub(crate) fn bars(title: &str, bars: &[Bar<'_>]) -> String {
    const LEFT: f64 = 300.0;
    const WIDTH: f64 = 380.0;
    const ROW: f64 = 26.0;
    const TOP: f64 = 56.0;
    let least = bars.iter().map(|bar| bar.ratios.0).fold(0.5, f64::min);
    let most = bars.iter().map(|bar| bar.ratios.2).fold(2.0, f64::max);
    let axis = Axis::between(least, most, LEFT, LEFT + WIDTH);
    let bottom = TOP + ROW * bars.len() as f64;
    let mut svg = begin(LEFT + WIDTH + 60.0, bottom + 12.0, title);
    for (value, class) in axis.decades().map(|value| (value, "grid")).chain([(1.0, "one")]) {
        let x = axis.at(value);
        _ = write!(svg, r#"<line class="{class}" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom:.1}"/>"#);
        _ = write!(svg, r#"<text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{value}</text>"#, TOP - 6.0);
    }
    for (index, Bar { name, ratios: (least, median, most) }) in bars.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        let (one, end) = (axis.at(1.0), axis.at(*median));
        let (x, width) = (one.min(end), (one - end).abs().max(1.0));
        let (middle, text) = (y + ROW / 2.0, y + ROW / 2.0 + 4.5);
        _ = write!(svg, r#"<text x="{:.1}" y="{text:.1}" text-anchor="end">{}</text>"#, LEFT - 12.0, escaped(name));
        _ = write!(svg, r#"<rect class="bar" x="{x:.1}" y="{:.1}" width="{width:.1}" height="14"/>"#, middle - 7.0);
        let (from, to) = (axis.at(*least), axis.at(*most));
        _ = write!(svg, r#"<line class="range" x1="{from:.1}" x2="{to:.1}" y1="{middle:.1}" y2="{middle:.1}"/>"#);
        let after = one.max(end).max(to) + 6.0;
        _ = write!(svg, r#"<text x="{after:.1}" y="{text:.1}">{median:.2}</text>"#);
    }
    svg + "</svg>\n"
}

/// Returns a chart of lines on logarithmic axes.
pub(crate) fn lines(title: &str, x_axis: &str, y_axis: &str, lines: &[Line<'_>]) -> String {
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = 560.0;
    const TOP: f64 = 56.0;
    const BOTTOM: f64 = 330.0;
    let points = || lines.iter().flat_map(|line| line.points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        points().map(of).fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)))
    };
    let (x_range, y_range) = (range(|point| point.0), range(|point| point.1));
    let x = Axis::between(x_range.0, x_range.1, LEFT, RIGHT);
    // At least a decade, so that noise does not look like growth.
    let middle = (y_range.0 * y_range.1).sqrt();
    let y = Axis::between(y_range.0.min(middle / 3.2), y_range.1.max(middle * 3.2), BOTTOM, TOP);
    let mut svg = begin(RIGHT + 130.0, BOTTOM + 46.0, title);
    for value in y.decades() {
        let at = y.at(value);
        _ = write!(svg, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}"/>"#);
        _ = write!(
            svg,
            r#"<text class="soft" x="{:.1}" y="{:.1}" text-anchor="end">{value}</text>"#,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for value in lines.first().into_iter().flat_map(|line| line.points).map(|point| point.0) {
        let at = x.at(value);
        _ = write!(
            svg,
            r#"<text class="soft" x="{at:.1}" y="{:.1}" text-anchor="middle">{value}</text>"#,
            BOTTOM + 18.0
        );
    }
    _ = write!(
        svg,
        r#"<text class="soft" x="{RIGHT}" y="{:.1}" text-anchor="end">{}</text>"#,
        BOTTOM + 38.0,
        escaped(x_axis)
    );
    _ = write!(svg, r#"<text class="soft" x="{LEFT}" y="{:.1}">{}</text>"#, TOP - 8.0, escaped(y_axis));
    for (Line { name, points }, class) in lines.iter().zip(["a", "b"]) {
        let path: Vec<_> = points.iter().map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1))).collect();
        _ = write!(svg, r#"<polyline class="{class}" points="{}"/>"#, path.join(" "));
        let Some(last) = points.last() else { continue };
        _ = write!(svg, r#"<text x="{:.1}" y="{:.1}">{}</text>"#, RIGHT + 8.0, y.at(last.1) + 4.0, escaped(name));
    }
    svg + "</svg>\n"
}

fn begin(width: f64, height: f64, title: &str) -> String {
    let title = escaped(title);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}"><style>{STYLE}</style><text x="12" y="22">{title}</text>"#
    )
}

/// A logarithmic axis.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Returns an axis on which `least` is at `from` and `most` at `to`.
    fn between(least: f64, most: f64, from: f64, to: f64) -> Self {
        Self { least, most: most.max(least * 1.001), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + part * (self.to - self.from)
    }

    /// Returns the powers of ten on the axis.
    fn decades(&self) -> impl Iterator<Item = f64> {
        let (first, last) = (self.least.log10().ceil() as i32, self.most.log10().floor() as i32);
        (first..=last).map(|power| 10_f64.powi(power))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
