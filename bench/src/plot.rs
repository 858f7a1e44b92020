//! Draws latency against rate as an SVG picture, both scales logarithmic.

use crate::sweep::Point;
use std::fmt::{self, Write};

/// The picture, and where its axes lie in it, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 410.0;

/// Colours of the servers, distinct also for those who see no red or green.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A logarithmic scale from values to pixels.
struct Scale {
    /// Powers of ten at both ends.
    from: i32,
    to: i32,
    pixels: (f64, f64),
}

impl Scale {
    /// A scale of whole powers of ten that holds the values, all of them positive.
    fn holding(values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0f64);
        for value in values {
            (least, most) = (least.min(value), most.max(value));
        }
        if most <= 0.0 {
            (least, most) = (1.0, 10.0);
        }
        let from = least.max(1e-9).log10().floor() as i32;
        Self { from, to: (most.log10().ceil() as i32).max(from + 1), pixels }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.max(1e-9).log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        self.pixels.0 + part.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }
}

/// The picture of all servers: the median of p99 and p99.9 in milliseconds at each rate, and how far the rounds lay apart. Points
/// without a rate of their own stand at what the server took.
pub(crate) fn latency(title: &str, points: &[Point]) -> String {
    let mut svg = String::new();
    draw(&mut svg, title, points).expect("strings take everything");
    svg
}

/// Where a point stands on the axis of rates.
fn rate(point: &Point) -> f64 {
    point.asked.unwrap_or(point.rate.median).max(1.0)
}

fn draw(svg: &mut String, title: &str, points: &[Point]) -> fmt::Result {
    let x = Scale::holding(points.iter().map(rate), (LEFT, RIGHT));
    let ends = points.iter().flat_map(|point| [point.p99_micros.min, point.p999_micros.max]);
    let y = Scale::holding(ends.map(|micros| micros.max(1.0) / 1000.0), (BOTTOM, TOP));
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(svg, r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#)?;
    writeln!(svg, r#"<text x="{LEFT}" y="22" font-size="15">{}</text>"#, escaped(title))?;
    axes(svg, &x, &y)?;
    let mut servers: Vec<&str> = Vec::new();
    for point in points {
        if !servers.contains(&point.server.as_str()) {
            servers.push(&point.server);
        }
    }
    for (number, server) in servers.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut own: Vec<_> = points.iter().filter(|point| point.server == *server).collect();
        own.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
        for point in &own {
            let at = x.at(rate(point));
            let [low, high] = [point.p99_micros.min, point.p99_micros.max].map(|micros| y.at(micros / 1e3));
            writeln!(
                svg,
                r#"<path d="M{at:.1} {low:.1}V{high:.1}" stroke="{colour}" stroke-width="6" opacity="0.2"/>"#
            )?;
        }
        let key = TOP + 20.0 + 40.0 * number as f64;
        let p99 = Line { name: "p99", of: |point| point.p99_micros.median, colour, dash: "none", key };
        let p999 =
            Line { name: "p99.9", of: |point| point.p999_micros.median, dash: "5 4", key: key + 18.0, ..p99 };
        for line in [p99, p999] {
            line.draw(svg, server, &own, |point, micros| (x.at(rate(point)), y.at(micros / 1e3)))?;
        }
    }
    svg.push_str("</svg>\n");
    Ok(())
}

/// One quantile of one server.
#[derive(Clone, Copy)]
struct Line {
    name: &'static str,
    of: fn(&Point) -> f64,
    colour: &'static str,
    dash: &'static str,
    /// How far down it stands in the key.
    key: f64,
}

impl Line {
    fn draw(
        self,
        svg: &mut String,
        server: &str,
        points: &[&Point],
        place: impl Fn(&Point, f64) -> (f64, f64),
    ) -> fmt::Result {
        let Self { name, of, colour, dash, key } = self;
        let places: Vec<_> = points.iter().map(|point| place(point, of(point))).collect();
        let line: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>"#,
            line.join(" ")
        )?;
        for (point, (x, y)) in points.iter().zip(places) {
            // Where it did not keep up, the mark is empty.
            let fill = if point.saturated { "white" } else { colour };
            writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{fill}" stroke="{colour}"/>"#)?;
        }
        let (from, to, text) = (RIGHT + 12.0, RIGHT + 42.0, RIGHT + 48.0);
        writeln!(
            svg,
            r#"<path d="M{from} {key}H{to}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>"#
        )?;
        writeln!(svg, r#"<text x="{text}" y="{}">{} {name}</text>"#, key + 4.0, escaped(server))
    }
}

fn axes(svg: &mut String, x: &Scale, y: &Scale) -> fmt::Result {
    for power in x.from..=x.to {
        let (at, label) = (x.at(10f64.powi(power)), BOTTOM + 18.0);
        writeln!(svg, r##"<path d="M{at:.1} {TOP}V{BOTTOM}" stroke="#ddd"/>"##)?;
        writeln!(
            svg,
            r#"<text x="{at:.1}" y="{label}" text-anchor="middle">{}</text>"#,
            power_of_ten(power)
        )?;
    }
    for power in y.from..=y.to {
        let (at, label) = (y.at(10f64.powi(power)), LEFT - 6.0);
        writeln!(svg, r##"<path d="M{LEFT} {at:.1}H{RIGHT}" stroke="#ddd"/>"##)?;
        let (down, text) = (at + 4.0, power_of_ten(power));
        writeln!(svg, r#"<text x="{label}" y="{down}" text-anchor="end">{text} ms</text>"#)?;
    }
    let (middle, down) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0);
    writeln!(svg, r#"<text x="{middle}" y="{down}" text-anchor="middle">messages per second</text>"#)
}

fn power_of_ten(power: i32) -> String {
    if power < 0 { format!("{}", 10f64.powi(power)) } else { 10u64.pow(power as u32).to_string() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Spread;

    #[test]
    fn scales_are_logarithmic() {
        let scale = Scale::holding([20.0, 900.0].into_iter(), (0.0, 100.0));
        assert_eq!((scale.from, scale.to), (1, 3));
        assert_eq!([10.0, 100.0, 1000.0].map(|value| scale.at(value)), [0.0, 50.0, 100.0]);
        assert_eq!(Scale::holding(std::iter::empty(), (0.0, 1.0)).to, 1);
    }

    #[test]
    fn every_server_is_drawn() {
        let flat = |value| Spread { min: value, median: value, max: value };
        let point = |server: &str, asked, p99| Point {
            server: server.to_owned(),
            asked,
            rate: flat(5000.0),
            p50_micros: flat(100.0),
            p99_micros: flat(p99),
            p999_micros: flat(p99 * 2.0),
            cpu_micros: None,
            refused: 0,
            saturated: asked == Some(9000.0),
        };
        let points = [
            point("a<b", Some(1000.0), 800.0),
            point("a<b", None, 9000.0),
            point("other", Some(9000.0), 4000.0),
        ];
        let svg = latency("x & y", &points);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("x &amp; y") && svg.contains("a&lt;b p99.9"));
        assert_eq!(svg.matches("<polyline").count(), 4, "two lines for each of two servers");
        assert_eq!(svg.matches("fill=\"white\" stroke").count(), 2, "an empty mark on both lines");
    }
}
