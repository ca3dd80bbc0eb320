//! Draws charts as inline SVG. The page's style sheet gives their colours, so that they follow light, dark
//! and print: each is drawn in a key colour that the sheet replaces.

use crate::domain::{activation::journal::Phase, measure::Interval};
use plotters::{
    chart::MeshStyle,
    coord::{Shift, ranged1d::Ranged},
    prelude::{
        Cartesian2d, ChartBuilder, Circle, DrawingArea, DrawingBackend, IntoDrawingArea, PathElement,
        RGBColor, Rectangle, SVGBackend, ShapeStyle,
    },
    style::{Color, IntoFont, TextStyle},
};

/// The key colour of the text.
pub(super) const INK: &str = "#010101";
/// The key colour of the accent.
pub(super) const BAR: &str = "#020202";
/// The key colour of the baseline.
pub(super) const OTHER: &str = "#030303";

const INK_COLOUR: RGBColor = RGBColor(1, 1, 1);
const BAR_COLOUR: RGBColor = RGBColor(2, 2, 2);
const OTHER_COLOUR: RGBColor = RGBColor(3, 3, 3);

/// A telephone is 390 pixels wide: letters of 13 must be legible there.
const WIDTH: u32 = 440;
const HEIGHT: u32 = 220;
const ROW: u32 = 44;
/// Numbers along an axis, about.
const LABELS: usize = 6;
const BINS: usize = 40;
/// A gap of so many times the length of nine in ten is a stall.
const STALLED: f64 = 2.0;

/// A chart that cannot be drawn is left out: the numbers are in the text.
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn svg(height: u32, draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Drawn) -> Option<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&area).ok()?;
        area.present().ok()?;
    }
    // The size is that of the page, also on a telephone.
    let fixed = format!("width=\"{WIDTH}\" height=\"{height}\" ");
    Some(text.replacen(&fixed, "", 1))
}

fn letters(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK_COLOUR)
}

/// Leaves the mesh out, and gives the axes their letters.
fn plain<'a, 'b, 'm, X: Ranged, Y: Ranged, DB: DrawingBackend>(
    mesh: &'m mut MeshStyle<'a, 'b, X, Y, DB>,
) -> &'m mut MeshStyle<'a, 'b, X, Y, DB> {
    mesh.disable_mesh().axis_style(INK_COLOUR).label_style(letters(13)).x_labels(LABELS).y_labels(LABELS)
}

/// A number on an axis: `20`, or `0.5` where it has a fraction.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the charts want it")]
fn short(value: &f64) -> String {
    format!("{}", (value * 1000.0).round() / 1000.0)
}

/// A whole number on an axis; a fraction gets no label.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the charts want it")]
fn whole(value: &f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { String::new() }
}

/// The histogram of the times between chunks.
pub(super) fn histogram(values: &[f64], unit: &str) -> Option<String> {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    // A few long stalls must not squeeze everything else into one bar; they are counted in the last one.
    let below = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    let high = below(99).min(STALLED * below(90)).max(first + 1e-3);
    let width = (high - first) / BINS as f64;
    let mut bins = [0u32; BINS];
    for value in &sorted {
        let fitting = (0..BINS).find(|bin| *value < first + width * (*bin as f64 + 1.0));
        bins[fitting.unwrap_or(BINS - 1)] += 1;
    }
    let most = *bins.iter().max()?;
    svg(HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(42)
            .y_label_area_size(48)
            .build_cartesian_2d(first..high, 0..most + most / 10 + 1)?;
        plain(&mut chart.configure_mesh())
            .x_label_formatter(&short)
            .x_desc(format!("{unit}; the longest {last:.1}"))
            .y_desc("chunks")
            .draw()?;
        chart.draw_series(bins.iter().enumerate().map(|(bin, count)| {
            let left = first + width * bin as f64;
            Rectangle::new([(left, 0), (left + width * 0.9, *count)], BAR_COLOUR.filled())
        }))?;
        Ok(())
    })
}

/// Medians with their intervals, one below the other.
pub(super) fn intervals(rows: &[(&str, Interval)], limit: Option<f64>, unit: &str) -> Option<String> {
    let most = rows.iter().map(|(_, interval)| interval.high.min(interval.median * 3.0));
    let most = most.chain(limit).fold(0.0, f64::max) * 1.08;
    let count = rows.len();
    if most <= 0.0 || !most.is_finite() {
        return None;
    }
    let height = ROW * u32::try_from(count).ok()? + 64;
    svg(height, |area| {
        let mut chart = rows_of(area, most, count, unit)?;
        for (index, (name, interval)) in rows.iter().enumerate() {
            row(&mut chart, count - index - 1, interval, if index == 0 { BAR_COLOUR } else { OTHER_COLOUR })?;
            let top = i32::try_from(ROW).unwrap_or(0) * i32::try_from(index).unwrap_or(0);
            area.draw_text(name, &letters(14), (8, top + 20))?;
        }
        if let Some(limit) = limit {
            let line = vec![(limit, 0.0), (limit, count as f64)];
            chart.draw_series([PathElement::new(line, INK_COLOUR.stroke_width(2))])?;
        }
        Ok(())
    })
}

type Chart<'a, 'b> = plotters::chart::ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// A chart of `count` rows, whose names are written left of them, over an axis from 0 to `most`.
fn rows_of<'a, 'b>(
    area: &DrawingArea<SVGBackend<'b>, Shift>,
    most: f64,
    count: usize,
    unit: &str,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_left(110)
        .x_label_area_size(42)
        .build_cartesian_2d(0.0..most, 0.0..count as f64)?;
    plain(&mut chart.configure_mesh()).disable_y_axis().x_label_formatter(&short).x_desc(unit).draw()?;
    Ok(chart)
}

fn row(chart: &mut Chart<'_, '_>, from_below: usize, interval: &Interval, colour: RGBColor) -> Drawn {
    let middle = from_below as f64 + 0.5;
    let filled: ShapeStyle = colour.mix(0.35).filled();
    chart.draw_series([Rectangle::new([(0.0, middle - 0.28), (interval.median, middle + 0.28)], filled)])?;
    let whisker = vec![(interval.low, middle), (interval.high, middle)];
    chart.draw_series([PathElement::new(whisker, colour.stroke_width(3))])?;
    chart.draw_series([Circle::new((interval.median, middle), 5, colour.filled())])?;
    Ok(())
}

/// A name, and points from left to right.
pub(super) type Curve<'a> = (&'a str, Vec<(f64, f64)>);

/// Curves over the same axis, the first in the accent's colour. Absent for less than two points.
pub(super) fn curves(curves: &[Curve<'_>], x: &str, y: &str) -> Option<String> {
    let points = || curves.iter().flat_map(|(_, points)| points.iter());
    let (right, top) =
        points().fold((0.0, 0.0), |(right, top), (x, y)| (f64::max(right, *x), f64::max(top, *y)));
    if curves.first()?.1.len() < 2 || top <= 0.0 {
        return None;
    }
    svg(HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(42)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..right * 1.15, 0.0..top * 1.15)?;
        plain(&mut chart.configure_mesh())
            .x_label_formatter(&whole)
            .y_label_formatter(&short)
            .x_desc(x)
            .y_desc(y)
            .draw()?;
        // The higher end is named above its curve, and the lower one below.
        let ends: Vec<f64> = curves.iter().filter_map(|(_, points)| Some(points.last()?.1)).collect();
        let first_is_above = ends.iter().skip(1).all(|end| ends[0] >= *end);
        // The baseline first, so that it does not cover the candidate.
        for (index, (name, points)) in curves.iter().enumerate().rev() {
            let colour = if index == 0 { BAR_COLOUR } else { OTHER_COLOUR };
            chart.draw_series([PathElement::new(points.clone(), colour.stroke_width(2))])?;
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
            let Some(end) = points.last() else { continue };
            let (x, y) = chart.backend_coord(end);
            let beside = if (index == 0) == first_is_above { -8 } else { 8 };
            area.draw_text(name, &("sans-serif", 14).into_font().color(&colour), (x + 8, y + beside - 6))?;
        }
        Ok(())
    })
}

/// The steps of an activation along the time.
pub(super) fn timeline(phases: &[Phase]) -> Option<String> {
    let last = phases.last()?;
    let end = (last.begins + last.seconds).max(1e-3);
    let count = phases.len();
    let height = 26 * u32::try_from(count).ok()? + 64;
    svg(height, |area| {
        let mut chart = rows_of(area, end * 1.02, count, "seconds since the stop")?;
        for (index, phase) in phases.iter().enumerate() {
            let bottom = (count - index - 1) as f64;
            let colour = if phase.name.starts_with("back") { OTHER_COLOUR } else { BAR_COLOUR };
            // A step that takes no time is still visible.
            let right = (phase.begins + phase.seconds).max(phase.begins + end * 0.004);
            chart.draw_series([Rectangle::new(
                [(phase.begins, bottom + 0.15), (right, bottom + 0.85)],
                colour.filled(),
            )])?;
            let top = 26 * i32::try_from(index).unwrap_or(0);
            area.draw_text(&phase.name, &letters(14), (8, top + 12))?;
        }
        Ok(())
    })
}
