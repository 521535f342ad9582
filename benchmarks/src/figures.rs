//! The figures: as a table for people, as JSON for tools.

use crate::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// All rows of one benchmark.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

/// What a workload has measured.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) better: Better,
    pub(crate) against: String,
    pub(crate) floor: Option<f64>,
    pub(crate) pairs: Vec<[f64; 2]>,
}

/// Which way a figure is good, and with it its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// Operations a second.
    More,
    /// Microseconds an operation.
    Less,
    /// Nanoseconds an operation.
    Shorter,
    /// KiB of memory.
    Smaller,
}

impl Better {
    /// The figure of `tasks` tasks that did `rate` operations a second together.
    pub(crate) fn figure(self, rate: f64, tasks: usize) -> f64 {
        match self {
            Self::More => rate,
            Self::Less => tasks as f64 * 1e6 / rate,
            Self::Shorter => tasks as f64 * 1e9 / rate,
            Self::Smaller => rate,
        }
    }

    /// Above 1 when ours is the better one.
    pub(crate) fn ratio(self, ours: f64, other: f64) -> f64 {
        match self {
            Self::More => ours / other,
            Self::Less | Self::Shorter | Self::Smaller => other / ours,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::More => "ops/s",
            Self::Less => "us/op",
            Self::Shorter => "ns/op",
            Self::Smaller => "KiB",
        }
    }
}

impl Figures {
    /// A row, or another round of one.
    pub(crate) fn add(&mut self, row: Row) {
        match self.rows.iter_mut().find(|known| known.name == row.name) {
            Some(known) => known.pairs.extend(row.pairs),
            None => self.rows.push(row),
        }
    }

    pub(crate) fn print(&self, benchmark: &str) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            benchmark,
            "unit",
            "ours",
            "other",
            "against",
            "ratio",
            "floor",
            "pairs from",
            "to",
        ]);
        for row in &self.rows {
            let ratios = || row.pairs.iter().map(|[ours, other]| row.better.ratio(*ours, *other));
            table.add_row([
                row.name.clone(),
                row.better.unit().to_owned(),
                rounded(row.side(0)),
                rounded(row.side(1)),
                row.against.clone(),
                format!("{:.3}", row.ratio()),
                row.floor.map_or_else(|| "-".to_owned(), |floor| format!("{floor:.2}")),
                format!("{:.3}", ratios().fold(f64::INFINITY, f64::min)),
                format!("{:.3}", ratios().fold(0.0, f64::max)),
            ]);
        }
        println!("{table}");
    }

    pub(crate) fn write(&self, file: &Path) -> Result {
        // A row a line, so that a diff of figures can be read.
        let rows: Vec<_> = self.rows.iter().map(|row| row.json().to_string()).collect();
        Ok(fs::write(file, format!("[\n{}\n]\n", rows.join(",\n")))?)
    }
}

impl Row {
    /// The median of ours or of the other.
    fn side(&self, side: usize) -> f64 {
        median(self.pairs.iter().map(|pair| pair[side]))
    }

    pub(crate) fn ratio(&self) -> f64 {
        self.better.ratio(self.side(0), self.side(1))
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.better.unit(),
            "ours": tenths(self.side(0)),
            "other": tenths(self.side(1)),
            "against": self.against,
            "ratio": (self.ratio() * 1e4).round() / 1e4,
            "floor": self.floor,
            "pairs": self.pairs.iter().map(|pair| pair.map(tenths)).collect::<Vec<_>>(),
        })
    }
}

/// The middle of the figures; of an even number the mean of the middle two.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

fn tenths(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

fn rounded(figure: f64) -> String {
    if figure < 1000.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 900.0].into_iter()), 3.0);
        assert_eq!(median([4.0, 1.0, 2.0, 900.0].into_iter()), 3.0);
    }

    #[test]
    fn a_ratio_above_one_means_that_ours_is_better() {
        assert_eq!(Better::More.ratio(200.0, 100.0), 2.0);
        assert_eq!(Better::Less.ratio(100.0, 200.0), 2.0);
        assert_eq!(Better::Less.figure(64_000.0, 64), 1000.0);
    }

    #[test]
    fn rounds_of_a_row_are_one_row() {
        let row = |ours| Row {
            name: "get 64".to_owned(),
            better: Better::More,
            against: "fred".to_owned(),
            floor: None,
            pairs: vec![[ours, 100.0]],
        };
        let mut figures = Figures::default();
        [80.0, 90.0, 300.0].into_iter().for_each(|ours| figures.add(row(ours)));
        assert_eq!(figures.rows.len(), 1);
        assert_eq!(figures.rows[0].ratio(), 0.9);
    }

    #[test]
    fn a_row_has_the_fields_that_are_agreed_on() {
        let row = Row {
            name: "get 64".to_owned(),
            better: Better::More,
            against: "fred".to_owned(),
            floor: None,
            pairs: vec![[95.04, 100.0]],
        };
        let expected = json!({"name": "get 64", "unit": "ops/s", "ours": 95.0, "other": 100.0,
            "against": "fred", "ratio": 0.9504, "floor": null, "pairs": [[95.0, 100.0]]});
        assert_eq!(row.json(), expected);
    }
}
