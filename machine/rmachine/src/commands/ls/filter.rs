//! `--filter key=value`: equal keys are alternatives, different keys must all hold.

use regex::Regex;

use super::{Item, master};
use crate::failure::Failure;

/// All filters of one call.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    swarm: Vec<String>,
    driver: Vec<String>,
    state: Vec<String>,
    name: Vec<Regex>,
    label: Vec<String>,
}

impl Filters {
    pub(crate) fn parse(filters: &[String]) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        for filter in filters {
            let (key, value) = filter.split_once('=').ok_or_else(|| {
                Failure::elder("Unsupported filter syntax").hint(format!("write KEY=VALUE, not `{filter}`"))
            })?;
            match key.to_lowercase().as_str() {
                "swarm" => parsed.swarm.push(value.to_owned()),
                "driver" => parsed.driver.push(value.to_owned()),
                "state" => parsed.state.push(value.to_owned()),
                "label" => parsed.label.push(value.to_owned()),
                "name" => parsed
                    .name
                    .push(Regex::new(value).map_err(|error| {
                        Failure::new(format!("`{value}` is no pattern: {}", why(&error)))
                    })?),
                other => {
                    return Err(Failure::elder(format!("Unsupported filter key '{other}'"))
                        .hint("the keys are driver, state, name, label and swarm"));
                }
            }
        }
        Ok(parsed)
    }

    /// Whether a filter asks what machines are doing, so that they have to be asked.
    pub(crate) fn ask_for_state(&self) -> bool {
        !self.state.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.ask_for_state()
            && self.swarm.is_empty()
            && self.driver.is_empty()
            && self.name.is_empty()
            && self.label.is_empty()
    }

    /// Whether an item passes; who leads its swarm is among `all`.
    pub(crate) fn accept(&self, item: &Item, all: &[Item]) -> bool {
        let any = |wanted: &[String], found: &str| {
            wanted.is_empty() || wanted.iter().any(|value| value.eq_ignore_ascii_case(found))
        };
        let labels = &item.options.engine_options.labels;
        let label = |wanted: &String| labels.iter().any(|label| label.eq_ignore_ascii_case(wanted));
        any(&self.driver, &item.driver)
            && any(&self.state, item.state.as_str())
            && any(&self.swarm, master(item, all).unwrap_or_default())
            && (self.name.is_empty() || self.name.iter().any(|name| name.is_match(item.name.as_str())))
            && (self.label.is_empty() || self.label.iter().any(label))
    }
}

/// The last line of what the regex crate says; the others draw the pattern.
fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().next_back().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use machine_types::{HostOptions, State};

    use super::*;

    fn item(name: &str, driver: &str, state: State, labels: &[&str]) -> Item {
        let mut options = HostOptions::default();
        options.engine_options.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Item {
            name: name.parse().expect("a name"),
            active_host: false,
            active_swarm: false,
            driver: driver.into(),
            state,
            url: String::new(),
            options,
            version: String::new(),
            error: String::new(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn equal_keys_are_alternatives_and_different_ones_must_all_hold() {
        let items = [
            item("w1", "qemu", State::Running, &["zone=a"]),
            item("w2", "qemu", State::Stopped, &[]),
            item("db", "none", State::Running, &["zone=b"]),
        ];
        let names = |filters: &[&str]| -> Vec<String> {
            let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            let filters = Filters::parse(&filters).expect("filters");
            items
                .iter()
                .filter(|item| filters.accept(item, &items))
                .map(|item| item.name.to_string())
                .collect()
        };
        assert_eq!(names(&["driver=QEMU", "state=running"]), ["w1"]);
        assert_eq!(names(&["name=^w", "name=^d"]), ["w1", "w2", "db"]);
        assert_eq!(names(&["label=zone=a"]), ["w1"]);
        assert!(
            Filters::parse(&["colour=red".into()]).is_err() && Filters::parse(&["state".into()]).is_err()
        );
    }
}
