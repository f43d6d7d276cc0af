//! Rates against depth as a picture.

use std::fmt::Write as _;

use super::report::Report;
use super::samples::Samples;
use crate::terminal::figures::rate;
use crate::units::count;

const WIDTH: f64 = 720.0;
const PANEL_HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 48.0;
/// Depths far below this many tokens lie evenly, those far above it by their logarithm.
const LINEAR_TOKENS: f64 = 2048.0;
/// Room that a label needs under the axis.
const LABEL_WIDTH: f64 = 44.0;

const MEASURED: &str = "#0b63b0";
const LIMIT: &str = "#9a5b00";
const TEXT: &str = "#222";
const GRID: &str = "#ddd";

struct Point<'a> {
    tokens: usize,
    rates: &'a Samples,
    limit: f64,
}

/// One panel for decoding and, for a prompt read in steps, one for prefill.
pub(super) fn of(report: &Report) -> String {
    let decode = report.decode.iter().map(|decode| Point {
        tokens: decode.depth,
        rates: &decode.rates,
        limit: decode.limits.median(),
    });
    let prefill = report.prefill.iter().map(|prefill| Point {
        tokens: prefill.from + prefill.tokens,
        rates: &prefill.rates,
        limit: report.prefill_limit(prefill),
    });
    let panels: Vec<(&str, &str, Vec<Point<'_>>)> = [
        ("decode", "tokens before", decode.collect()),
        ("prefill", "tokens read", prefill.collect::<Vec<_>>()),
    ]
    .into_iter()
    .filter(|(_, _, points)| !points.is_empty())
    .collect();
    let height = PANEL_HEIGHT * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    // Writing to a string cannot fail.
    for (i, (what, axis, points)) in panels.iter().enumerate() {
        let title = format!(
            "{}: {what}, tokens per second ({} numerics, {} threads)",
            report.model, report.numerics, report.machine.threads
        );
        let _ = writeln!(out, "<g transform=\"translate(0 {})\">", PANEL_HEIGHT * i as f64);
        panel(&mut out, &title, axis, points);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, title: &str, axis: &str, points: &[Point<'_>]) {
    let most = points
        .iter()
        .map(|point| point.rates.max().max(point.limit))
        .fold(0.0, f64::max);
    let step = nice_step(most / 4.0);
    let top = (most / step).ceil().max(1.0) * step;
    let (plot_width, plot_height) = (WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM);
    let y = |rate: f64| TOP + plot_height * (1.0 - rate / top);
    let scaled = |tokens: usize| (tokens as f64 / LINEAR_TOKENS).ln_1p();
    let (from, to) = (
        points
            .iter()
            .map(|point| scaled(point.tokens))
            .fold(f64::MAX, f64::min),
        points
            .iter()
            .map(|point| scaled(point.tokens))
            .fold(0.0, f64::max),
    );
    // Points keep clear of the axes, and a lone one stands in the middle.
    let margin = 24.0;
    let x = |tokens: usize| {
        let share = if to > from {
            (scaled(tokens) - from) / (to - from)
        } else {
            0.5
        };
        LEFT + margin + (plot_width - 2.0 * margin) * share
    };

    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>",
        escaped(title)
    );
    legend(out);
    for tick in 0..=(top / step).round() as usize {
        let rate_here = step * tick as f64;
        let y = y(rate_here);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"{GRID}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            tick_label(rate_here, step)
        );
    }
    let mut last_label = f64::MIN;
    for point in points {
        let x = x(point.tokens);
        if x - last_label >= LABEL_WIDTH {
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{MEASURED}\">{}</text>",
                TOP + plot_height + 18.0,
                short(point.tokens),
                y(point.rates.max()) - 8.0,
                rate(point.rates.median())
            );
            last_label = x;
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{axis}</text>",
        LEFT + plot_width / 2.0,
        TOP + plot_height + 38.0
    );
    line(out, LIMIT, " stroke-dasharray=\"5 4\"", points, |point| {
        (x(point.tokens), y(point.limit))
    });
    line(out, MEASURED, "", points, |point| {
        (x(point.tokens), y(point.rates.median()))
    });
    for point in points {
        let (x, rates) = (x(point.tokens), point.rates);
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {:.1}h12\" stroke=\"{LIMIT}\" stroke-width=\"2\"/>\
             <path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"{MEASURED}\"/>\
             <circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{MEASURED}\">\
             <title>{} tokens: {} tokens/s ({} to {}), limit {}</title></circle>",
            x - 6.0,
            y(point.limit),
            y(rates.min()),
            y(rates.max()),
            y(rates.median()),
            count(point.tokens as u64),
            rate(rates.median()),
            rate(rates.min()),
            rate(rates.max()),
            rate(point.limit)
        );
    }
}

fn legend(out: &mut String) {
    let y = 38.0;
    let _ = writeln!(
        out,
        "<circle cx=\"{:.1}\" cy=\"{y}\" r=\"3.5\" fill=\"{MEASURED}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">median, slowest to fastest</text>\
         <path d=\"M{:.1} {y}h22\" stroke=\"{LIMIT}\" stroke-width=\"2\" stroke-dasharray=\"5 4\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">the machine's limit</text>",
        LEFT + 4.0,
        LEFT + 14.0,
        y + 4.0,
        LEFT + 190.0,
        LEFT + 218.0,
        y + 4.0
    );
}

fn line(
    out: &mut String,
    colour: &str,
    style: &str,
    points: &[Point<'_>],
    place: impl Fn(&Point<'_>) -> (f64, f64),
) {
    let places: Vec<String> = points
        .iter()
        .map(|point| {
            let (x, y) = place(point);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{style}/>",
        places.join(" ")
    );
}

/// The next of 1, 2, 5, 10, 20 … .
fn nice_step(least: f64) -> f64 {
    if !(least > 0.0 && least.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&step| step >= least)
        .unwrap_or(10.0 * power)
}

fn tick_label(rate: f64, step: f64) -> String {
    if step < 1.0 {
        format!("{rate:.2}")
    } else {
        count(rate.round() as u64)
    }
}

/// `8192` → `8K`.
fn short(tokens: usize) -> String {
    const K: usize = 1024;
    match tokens {
        n if n >= K * K && n.is_multiple_of(K * K) => format!("{}M", n / K / K),
        n if n >= K && n.is_multiple_of(K) => format!("{}K", n / K),
        n => count(n as u64),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_numbers() {
        assert_eq!(
            [0.0, 0.3, 1.0, 12.0, 21.0, 51.0, 5001.0].map(nice_step),
            [1.0, 0.5, 1.0, 20.0, 50.0, 100.0, 10_000.0]
        );
    }

    #[test]
    fn depths_are_short() {
        assert_eq!(
            [0, 512, 8192, 1_048_576, 10_000].map(short),
            ["0", "512", "8K", "1M", "10,000"]
        );
    }
}
