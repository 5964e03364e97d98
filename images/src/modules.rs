//! Chooses kernel modules by list and puts them in an order in which each can be loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::modinfo;

/// What a list file asks for, by section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) root: Vec<String>,
    pub(crate) early: Vec<String>,
    pub(crate) late: Vec<String>,
}

/// Why modules could not be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A list file that does not read.
    #[error("module list {}, line {line}: {problem}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The tree of the kernel package, or a file of it.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A module that something names and the kernel has not.
    #[error("the kernel has no module `{name}`, which {wanted_by} needs")]
    Missing {
        /// The module.
        name: String,
        /// A module, or `the list`.
        wanted_by: String,
    },
}

/// Reads a list: `[section]` lines, one module name a line, `#` comments.
pub(crate) fn read_list(path: &Path) -> Result<Wanted, ModulesError> {
    let text =
        fs::read_to_string(path).map_err(|source| ModulesError::Read { path: path.to_owned(), source })?;
    parse_list(&text).map_err(|(line, problem)| ModulesError::List { path: path.to_owned(), line, problem })
}

fn parse_list(text: &str) -> Result<Wanted, (usize, String)> {
    let mut wanted = Wanted::default();
    let mut section = None;
    for (index, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        match word {
            "" => {}
            "[root]" | "[early]" | "[late]" => section = Some(word.to_owned()),
            _ if word.starts_with('[') => return Err((index + 1, format!("there is no section {word}"))),
            name => match section.as_deref() {
                Some("[root]") => wanted.root.push(modinfo::normal(name)),
                Some("[early]") => wanted.early.push(modinfo::normal(name)),
                Some(_) => wanted.late.push(modinfo::normal(name)),
                None => return Err((index + 1, format!("`{name}` stands before the first section"))),
            },
        }
    }
    Ok(wanted)
}

/// The modules of a kernel, found below its `kernel/` directory.
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    base: PathBuf,
}

impl Modules {
    /// Every `.ko` below `base`, which is `lib/modules/RELEASE` of an unpacked package.
    pub(crate) fn find(base: &Path) -> Result<Self, ModulesError> {
        let mut files = BTreeMap::new();
        let mut todo = vec![base.join("kernel")];
        while let Some(dir) = todo.pop() {
            let fail = |source| ModulesError::Read { path: dir.clone(), source };
            for entry in fs::read_dir(&dir).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let path = entry.path();
                if entry.file_type().map_err(fail)?.is_dir() {
                    todo.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko") {
                    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    files.insert(modinfo::normal(&stem), path);
                }
            }
        }
        Ok(Self { files, base: base.to_owned() })
    }

    /// `names` and all they need, each after what it needs, without those in `loaded`, which grows.
    pub(crate) fn ordered(
        &self,
        names: &[String],
        loaded: &mut BTreeSet<String>,
    ) -> Result<Vec<Module>, ModulesError> {
        let mut order = Vec::new();
        for name in names {
            self.visit(name, "the list", loaded, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        wanted_by: &str,
        loaded: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<(), ModulesError> {
        if !loaded.insert(name.to_owned()) {
            return Ok(());
        }
        let missing = || ModulesError::Missing { name: name.to_owned(), wanted_by: wanted_by.to_owned() };
        let path = self.files.get(name).ok_or_else(missing)?;
        let content = fs::read(path).map_err(|source| ModulesError::Read { path: path.clone(), source })?;
        let info = modinfo::parse(&content).unwrap_or_default();
        for soft in &info.soft_before {
            // Many of these are crypto names that are built in under another name.
            if self.files.contains_key(soft) {
                self.visit(soft, name, loaded, order)?;
            }
        }
        for hard in &info.depends {
            self.visit(hard, name, loaded, order)?;
        }
        let relative = path.strip_prefix(&self.base).expect("found below the base").to_owned();
        order.push(Module { path: relative.to_string_lossy().into_owned(), content });
        Ok(())
    }
}

/// A module that was chosen.
pub(crate) struct Module {
    /// Below `lib/modules/RELEASE`.
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_sections_and_comments() {
        let wanted = parse_list("# x\n[root]\nloop # first\n\n[late]\nnf-tables\n").unwrap();
        assert_eq!(wanted.root, ["loop"]);
        assert_eq!(wanted.late, ["nf_tables"]);
    }

    #[test]
    fn a_stray_line_is_refused_with_its_number() {
        assert_eq!(parse_list("\nloop\n").unwrap_err().0, 2);
        assert_eq!(parse_list("[boot]\n").unwrap_err(), (1, "there is no section [boot]".into()));
    }
}
