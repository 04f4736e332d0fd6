//! Percentiles of latencies as a picture: an SVG with a curve for each histogram.
//!
//! The horizontal axis stretches towards 100 %: 90, 99 and 99.9 % have equal distances, so that rare latencies are seen.
//! The vertical axis is logarithmic.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
/// Edges of the area of the curves.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 830.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 400.0;

/// Points of a curve at most.
const POINTS: u32 = 240;

/// Colours of the curves, which differ for most kinds of colour blindness.
const COLOURS: [&str; 2] = ["#0072b2", "#d55e00"];

/// A named curve, in microseconds.
pub(super) type Curve<'a> = (&'a str, &'a Histogram<u64>);

/// Draws the curves.
pub(super) fn svg(title: &str, curves: &[Curve<'_>]) -> String {
    let count = curves.iter().map(|(_, histogram)| histogram.len()).max().unwrap_or(0);
    // The last step that has a sample of its own.
    let nines = f64::from(count.max(10).ilog10());
    let low = curves.iter().map(|(_, histogram)| histogram.min().max(1).ilog10()).min().unwrap_or(0);
    let high = curves.iter().map(|(_, histogram)| histogram.max().max(1).ilog10() + 1).max().unwrap_or(1);
    let axes = Axes { nines, low, high: high.max(low + 1) };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"15\">{}</text>\n",
        escape(title)
    );
    axes.draw(&mut out);
    for ((place, (name, histogram)), colour) in curves.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            axes.points(histogram)
        );
        let x = LEFT + 240.0 * f64::from(u32::try_from(place).unwrap_or(0));
        let _ = writeln!(out, "<rect x=\"{x}\" y=\"44\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"55\">{}</text>", x + 18.0, escape(name));
    }
    out + "</svg>\n"
}

/// Ranges of the axes.
struct Axes {
    /// Number of nines of the last percentile.
    nines: f64,
    /// Decades of the latencies.
    low: u32,
    high: u32,
}

impl Axes {
    fn x(&self, nines: f64) -> f64 {
        LEFT + nines / self.nines * (RIGHT - LEFT)
    }

    fn y(&self, microseconds: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        BOTTOM - (microseconds.max(1.0).log10() - low) / (high - low) * (BOTTOM - TOP)
    }

    fn draw(&self, out: &mut String) {
        let mut line =
            |x: f64, y: f64, (x2, y2): (f64, f64), (tx, ty, anchor): (f64, f64, &str), text: &str| {
                let _ = writeln!(
                    out,
                    "<path d=\"M{x:.1} {y:.1}L{x2:.1} {y2:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{tx:.1}\" y=\"{ty:.1}\" text-anchor=\"{anchor}\" fill=\"#555\">{text}</text>"
                );
            };
        for decade in self.low..=self.high {
            let y = self.y(10f64.powi(i32::try_from(decade).unwrap_or(0)));
            line(LEFT, y, (RIGHT, y), (LEFT - 8.0, y + 4.0, "end"), &microseconds(decade));
        }
        let mut nines = 0;
        while f64::from(nines) <= self.nines {
            let x = self.x(f64::from(nines));
            line(x, TOP, (x, BOTTOM), (x, BOTTOM + 20.0, "middle"), &percentile(nines));
            nines += 1;
        }
        let middle = f64::midpoint(LEFT, RIGHT);
        let _ = writeln!(
            out,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">percentile</text>",
            BOTTOM + 44.0
        );
    }

    fn points(&self, histogram: &Histogram<u64>) -> String {
        let mut points = String::new();
        for step in 0..=POINTS {
            let nines = self.nines * f64::from(step) / f64::from(POINTS);
            let quantile = 1.0 - 10f64.powf(-nines);
            #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
            let latency = histogram.value_at_quantile(quantile) as f64;
            let _ = write!(points, "{:.1},{:.1} ", self.x(nines), self.y(latency));
        }
        points.truncate(points.trim_end().len());
        points
    }
}

/// Returns the label of a power of ten of microseconds.
fn microseconds(decade: u32) -> String {
    let (unit, power) = match decade {
        0..3 => ("us", decade),
        3..6 => ("ms", decade - 3),
        _ => ("s", decade - 6),
    };
    format!("{} {unit}", 10u64.saturating_pow(power))
}

/// Returns the label of a percentile with a number of nines.
fn percentile(nines: u32) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    }
}

/// Escapes text for XML.
fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_has_axes_and_curves() {
        let mut fast = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        fast.record_n(80, 9990).unwrap();
        fast.record_n(70_000, 10).unwrap();
        let mut slow = fast.clone();
        slow.record(2_000_000).unwrap();
        let picture = svg("10,000 records on a<b>&c", &[("acknowledged", &fast), ("read", &slow)]);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("10,000 records on a&lt;b&gt;&amp;c"));
        for label in [">10 us<", ">1 ms<", ">10 s<", ">90 %<", ">99.99 %<", ">acknowledged<", ">read<"] {
            assert!(picture.contains(label), "{label} is not in {picture}");
        }
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        assert!(picture.len() < 20_000, "{} bytes", picture.len());
    }

    #[test]
    fn picture_of_nothing_is_a_picture() {
        let empty = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        let picture = svg("nothing", &[("acknowledged", &empty)]);
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }

    #[test]
    fn rare_latencies_are_higher_and_further_to_the_right() {
        let axes = Axes { nines: 4.0, low: 1, high: 6 };
        assert!(axes.y(1e6) < axes.y(10.0) && axes.x(3.0) > axes.x(2.0));
        assert!((axes.y(10.0) - BOTTOM).abs() < 0.01 && (axes.y(1e6) - TOP).abs() < 0.01);
    }
}
