//! The `[X-Fleet]` section: where a unit may run.

use std::str::FromStr;

use crate::{Metadata, MetadataError, Resources, ResourcesError, UnitName, UnitOptions, glob_matches};

const SECTION: &str = "X-Fleet";

/// Keys that may stand in the section: fleet's, its legacy forms, and ours.
const KEYS: [&str; 14] = [
    "MachineID",
    "X-ConditionMachineID",
    "X-ConditionMachineBootID",
    "MachineOf",
    "X-ConditionMachineOf",
    "MachineMetadata",
    "X-ConditionMachineMetadata",
    "Conflicts",
    "X-Conflicts",
    "Replaces",
    "Global",
    "Memory",
    "CPU",
    "Strategy",
];

/// How a machine is chosen among those that will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The machine with the fewest units.
    #[default]
    Spread,
    /// The fullest machine that still has room.
    Binpack,
    /// Any machine, chosen by the unit's name so that a decision can be repeated.
    Random,
    /// The machine with the smallest share of its memory and CPU reserved.
    Resources,
}

/// Everything the section asks for, specifiers expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Only this machine: its id, or the first eight characters of it.
    pub machine_id: Option<String>,
    /// Only the machine that runs all of these units.
    pub machine_of: Vec<String>,
    /// Only machines with this metadata.
    pub metadata: Metadata,
    /// Not beside units whose names match one of these globs.
    pub conflicts: Vec<String>,
    /// Units matching these globs move away from the machine this one gets.
    pub replaces: Vec<String>,
    /// On every machine that will do, not on one.
    pub global: bool,
    /// What is reserved of a machine.
    pub resources: Resources,
    /// How to choose among the machines that will do.
    pub strategy: Strategy,
}

/// Why a section cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A key that is not in the contract.
    #[error("unrecognized requirement in [X-Fleet] section: \"{0}\"")]
    UnknownKey(String),
    /// Two options that exclude each other.
    #[error("{0} cannot be used with {1}")]
    Combination(&'static str, &'static str),
    /// The unit wants to be beside a peer and not beside it.
    #[error("unresolvable requirements: peer \"{peer}\" matches {option} \"{glob}\"")]
    PeerExcluded {
        /// The `MachineOf` unit.
        peer: String,
        /// `conflict` or `replace`.
        option: &'static str,
        /// The pattern that it matches.
        glob: String,
    },
    /// A strategy that we do not know.
    #[error("Strategy `{0}` is unknown; use spread, binpack, random or resources")]
    UnknownStrategy(String),
    /// A truth value that is none.
    #[error("Global `{0}` is neither true nor false")]
    NotABoolean(String),
    /// `MachineMetadata`.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// `Memory`, `CPU`.
    #[error(transparent)]
    Resources(#[from] ResourcesError),
}

impl Placement {
    /// Reads the section of a unit.
    ///
    /// # Errors
    /// An unknown key, a value that cannot be understood, or options that exclude each other.
    pub fn of(name: &UnitName, options: &UnitOptions) -> Result<Self, PlacementError> {
        if let Some(unknown) = options.section(SECTION).find(|option| !KEYS.contains(&option.name.as_str())) {
            return Err(PlacementError::UnknownKey(unknown.name.clone()));
        }
        // A template is judged by what an instance of it would be: its own `%i` is nothing.
        let instance = if name.is_template() { name.with_instance("instance").ok() } else { None };
        let name = instance.as_ref().unwrap_or(name);
        let expanded = |key: &str| -> Vec<String> {
            options
                .values(SECTION, key)
                .filter(|value| !value.is_empty())
                .map(|value| name.expand(value))
                .collect()
        };
        let names = |keys: &[&str]| -> Vec<String> {
            let lines = keys.iter().flat_map(|key| expanded(key)).collect::<Vec<_>>();
            lines.iter().flat_map(|line| line.split_whitespace()).map(unquote).collect()
        };
        let metadata = [expanded("X-ConditionMachineMetadata"), expanded("MachineMetadata")].concat();
        let machine_id = ["MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID"]
            .iter()
            .find_map(|key| names(&[key]).into_iter().next());
        let placement = Self {
            machine_id,
            machine_of: names(&["X-ConditionMachineOf", "MachineOf"]),
            metadata: Metadata::parse(metadata.iter().map(String::as_str))?,
            conflicts: names(&["X-Conflicts", "Conflicts"]),
            replaces: names(&["Replaces"]),
            global: expanded("Global").last().map_or(Ok(false), |value| parse_bool(value))?,
            resources: Resources::of(options)?,
            strategy: expanded("Strategy").last().map_or(Ok(Strategy::default()), |value| value.parse())?,
        };
        placement.check()?;
        Ok(placement)
    }

    fn check(&self) -> Result<(), PlacementError> {
        let has_id = self.machine_id.is_some();
        let exclusions = [
            (has_id, "MachineID", !self.machine_of.is_empty(), "MachineOf"),
            (has_id, "MachineID", !self.conflicts.is_empty(), "Conflicts"),
            (has_id, "MachineID", self.global, "Global"),
            (has_id, "MachineID", !self.replaces.is_empty(), "Replaces"),
            (self.global, "Global", !self.machine_of.is_empty(), "MachineOf"),
            (self.global, "Global", !self.replaces.is_empty(), "Replaces"),
            (!self.conflicts.is_empty(), "Conflicts", !self.replaces.is_empty(), "Replaces"),
        ];
        if let Some((_, one, _, other)) = exclusions.into_iter().find(|(a, _, b, _)| *a && *b) {
            return Err(PlacementError::Combination(one, other));
        }
        for peer in &self.machine_of {
            for (option, globs) in [("conflict", &self.conflicts), ("replace", &self.replaces)] {
                if let Some(glob) = globs.iter().find(|glob| glob_matches(glob, peer)) {
                    return Err(PlacementError::PeerExcluded {
                        peer: peer.clone(),
                        option,
                        glob: glob.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether `machine_id` names this machine, in full or by its first eight characters.
    #[must_use]
    pub fn wants_machine(&self, id: &str) -> bool {
        self.machine_id.as_deref().is_none_or(|wanted| wanted == id || id.get(..8) == Some(wanted))
    }
}

impl FromStr for Strategy {
    type Err = PlacementError;

    fn from_str(word: &str) -> Result<Self, PlacementError> {
        match word.to_ascii_lowercase().as_str() {
            "spread" => Ok(Self::Spread),
            "binpack" => Ok(Self::Binpack),
            "random" => Ok(Self::Random),
            "resources" => Ok(Self::Resources),
            _ => Err(PlacementError::UnknownStrategy(word.to_owned())),
        }
    }
}

fn unquote(word: &str) -> String {
    word.trim_matches('"').to_owned()
}

fn parse_bool(word: &str) -> Result<bool, PlacementError> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" | "on" | "t" => Ok(true),
        "false" | "no" | "0" | "off" | "f" => Ok(false),
        _ => Err(PlacementError::NotABoolean(word.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(name: &str, section: &str) -> Result<Placement, PlacementError> {
        let options = UnitOptions::parse(&format!("[X-Fleet]\n{section}\n")).expect("parses");
        Placement::of(&name.parse().expect("a valid name"), &options)
    }

    #[test]
    fn legacy_forms_mean_the_same() {
        let old = placement("a@1.service", "X-ConditionMachineOf=b@%i.service\nX-Conflicts=a@*.service")
            .expect("ok");
        let new = placement("a@1.service", "MachineOf=b@%i.service\nConflicts=a@*.service").expect("ok");
        assert_eq!(old, new);
        assert_eq!(new.machine_of, ["b@1.service"]);
        let id =
            placement("a.service", "X-ConditionMachineBootID=one\nX-ConditionMachineID=two").expect("ok");
        assert_eq!(id.machine_id.as_deref(), Some("two"));
        let quoted = placement("a.service", "X-ConditionMachineID=\"123\" \"456\"").expect("ok");
        assert_eq!(quoted.machine_id.as_deref(), Some("123"));
        let peers = placement("a.service", "X-ConditionMachineOf=\"b.service\" \"c.service\"").expect("ok");
        assert_eq!(peers.machine_of, ["b.service", "c.service"]);
    }

    #[test]
    fn a_template_may_say_where_its_instances_run() {
        let section = "MachineMetadata=zone=%i\nMachineOf=web@%i.service";
        assert!(placement("metadata@.service", section).is_ok());
        let of_one = placement("metadata@a.service", section).expect("ok");
        assert_eq!(of_one.machine_of, ["web@a.service"]);
        assert!(
            placement("metadata@.service", "MachineMetadata=%i").is_err(),
            "no instance makes that right"
        );
    }

    #[test]
    fn values_are_lists_and_the_last_global_wins() {
        let it = placement("a.service", "Conflicts=x.service y*\nConflicts=z").expect("ok");
        assert_eq!(it.conflicts, ["x.service", "y*", "z"]);
        assert!(placement("a.service", "Global=no\nGlobal=Yes").expect("ok").global);
        assert!(!placement("a.service", "Global=1\nGlobal=false").expect("ok").global);
    }

    #[test]
    fn a_machine_is_named_in_full_or_by_eight_characters() {
        let it = placement("a.service", "MachineID=0123abcd").expect("ok");
        assert!(it.wants_machine("0123abcd4567"));
        assert!(it.wants_machine("0123abcd"));
        assert!(!it.wants_machine("0123abce4567"));
        assert!(placement("a.service", "").expect("ok").wants_machine("anything"));
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused() {
        for (section, message) in [
            ("Machine=x", "unrecognized requirement in [X-Fleet] section: \"Machine\""),
            ("MachineID=a\nMachineOf=b.service", "MachineID cannot be used with MachineOf"),
            ("MachineID=a\nConflicts=b.service", "MachineID cannot be used with Conflicts"),
            ("MachineID=a\nGlobal=true", "MachineID cannot be used with Global"),
            ("MachineID=a\nReplaces=b.service", "MachineID cannot be used with Replaces"),
            ("Global=true\nMachineOf=b.service", "Global cannot be used with MachineOf"),
            ("Global=true\nReplaces=b.service", "Global cannot be used with Replaces"),
            ("Conflicts=c.service\nReplaces=b.service", "Conflicts cannot be used with Replaces"),
            (
                "MachineOf=b.service\nConflicts=b*",
                "unresolvable requirements: peer \"b.service\" matches conflict \"b*\"",
            ),
            (
                "MachineOf=b.service\nReplaces=b*",
                "unresolvable requirements: peer \"b.service\" matches replace \"b*\"",
            ),
            ("Strategy=best", "Strategy `best` is unknown; use spread, binpack, random or resources"),
            ("Global=perhaps", "Global `perhaps` is neither true nor false"),
        ] {
            assert_eq!(placement("a.service", section).expect_err(section).to_string(), message);
        }
        assert!(matches!(placement("a.service", "MachineMetadata=eu"), Err(PlacementError::Metadata(_))));
    }
}
