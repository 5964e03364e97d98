//! The arithmetic: medians, ninth deciles, ratios, and how they are shown.

use serde_json::{Value, json};

/// Which of two figures is the better one, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Mebibytes,
    /// More is better.
    MegabytesPerSecond,
    /// More is better.
    GigabitsPerSecond,
    /// A share of one figure in another; more is better.
    Share,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Mebibytes => "MiB",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::GigabitsPerSecond => "Gbit/s",
            Unit::Share => "",
        }
    }
}

/// What we want of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    /// Nothing in particular: shown for what it is.
    None,
    /// At most so much of the elder's.
    AtMostOfElder(f64),
    /// At least so many times the elder's.
    TimesElder(f64),
    /// At most this, whatever the elder's is.
    AtMost(f64),
    /// At least this, whatever the elder's is.
    AtLeast(f64),
}

/// Samples of one figure.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value below which `part` of the samples lie; `None` without samples.
    fn quantile(&self, part: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        Some(sorted[(last as f64 * part).round() as usize])
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    fn to_value(&self) -> Value {
        match (self.median(), self.quantile(0.9)) {
            (Some(median), Some(p90)) => {
                json!({ "n": self.0.len(), "median": round(median), "p90": round(p90) })
            }
            _ => Value::Null,
        }
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) aim: Aim,
    pub(crate) elder: Series,
    pub(crate) ours: Series,
}

impl Row {
    /// Ours by the elder's.
    fn ratio(&self) -> Option<f64> {
        let elder = self.elder.median().filter(|elder| *elder > 0.0)?;
        Some(self.ours.median()? / elder)
    }

    /// Is the aim reached? `None`: there is none, or nothing to compare with.
    fn holds(&self) -> Option<bool> {
        match self.aim {
            Aim::None => None,
            Aim::AtMostOfElder(most) => self.ratio().map(|ratio| ratio <= most),
            Aim::TimesElder(least) => self.ratio().map(|ratio| ratio >= least),
            Aim::AtMost(most) => self.ours.median().map(|ours| ours <= most),
            Aim::AtLeast(least) => self.ours.median().map(|ours| ours >= least),
        }
    }

    fn aim_text(&self) -> String {
        match self.aim {
            Aim::None => String::new(),
            Aim::AtMostOfElder(most) => format!("<= {most}"),
            Aim::TimesElder(least) => format!(">= {least} times"),
            Aim::AtMost(most) => format!("<= {most} {}", self.unit.name()).trim_end().to_owned(),
            Aim::AtLeast(least) => format!(">= {least} {}", self.unit.name()).trim_end().to_owned(),
        }
    }

    fn to_value(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit.name(),
            "elder": self.elder.to_value(),
            "ours": self.ours.to_value(),
            "ratio": self.ratio().map(round),
            "aim": self.aim_text(),
            "holds": self.holds(),
        })
    }
}

/// All lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &str, unit: Unit, aim: Aim, elder: Series, ours: Series) {
        let row = Row { name: name.to_owned(), unit, aim, elder, ours };
        eprintln!("      {}", line(&row));
        self.rows.push(row);
    }

    pub(crate) fn to_json(&self) -> String {
        json!({ "rows": self.rows.iter().map(Row::to_value).collect::<Vec<_>>() }).to_string()
    }

    pub(crate) fn to_table(&self) -> String {
        let mut table = format!(
            "{:<38} {:>10} {:>10} {:>10} {:>10} {:<7} {:>7}  {:<12} {}",
            "", "elder", "p90", "ours", "p90", "", "ratio", "aim", "holds"
        );
        for row in &self.rows {
            table.push('\n');
            table.push_str(&line(row));
        }
        table
    }
}

fn line(row: &Row) -> String {
    let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let holds = match row.holds() {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    let text = format!(
        "{:<38} {:>10} {:>10} {:>10} {:>10} {:<7} {:>7}  {:<12} {holds}",
        row.name,
        show(row.elder.median()),
        show(row.elder.quantile(0.9)),
        show(row.ours.median()),
        show(row.ours.quantile(0.9)),
        row.unit.name(),
        row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
        row.aim_text(),
    );
    text.trim_end().to_owned()
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(aim: Aim, elder: &[f64], ours: &[f64]) -> Row {
        let series = |samples: &[f64]| samples.iter().copied().collect();
        Row { name: "x".into(), unit: Unit::Milliseconds, aim, elder: series(elder), ours: series(ours) }
    }

    #[test]
    fn quantiles_are_of_the_sorted_samples() {
        let series: Series = (0..=10).rev().map(f64::from).collect();
        assert_eq!((series.median(), series.quantile(0.9)), (Some(5.0), Some(9.0)));
        assert_eq!(Series::default().median(), None);
    }

    #[test]
    fn a_ratio_is_ours_by_the_elders_and_judged_by_the_aim() {
        let faster = row(Aim::AtMostOfElder(0.2), &[100.0, 90.0, 110.0], &[10.0]);
        assert_eq!((faster.ratio(), faster.holds()), (Some(0.1), Some(true)));
        assert_eq!(row(Aim::TimesElder(3.0), &[10.0], &[29.0]).holds(), Some(false));
        assert_eq!(row(Aim::AtMost(25.0), &[], &[25.0]).holds(), Some(true));
        assert_eq!(row(Aim::AtLeast(1.0), &[], &[0.9]).holds(), Some(false));
        assert_eq!(row(Aim::AtMostOfElder(0.2), &[], &[1.0]).holds(), None);
    }

    #[test]
    fn the_object_has_what_the_table_has() {
        let report = Report { rows: vec![row(Aim::AtMostOfElder(0.15), &[4.0], &[1.0])] };
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        let row = &value["rows"][0];
        assert_eq!((row["ratio"].as_f64(), row["holds"].as_bool()), (Some(0.25), Some(false)));
        assert_eq!(row["elder"]["n"], 1);
        assert!(report.to_table().lines().last().unwrap().ends_with("<= 0.15      NO"));
    }
}
