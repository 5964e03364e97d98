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
    pub(crate) idle: Vec<String>,
    pub(crate) spare: Vec<String>,
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
            "[root]" | "[early]" | "[late]" | "[idle]" | "[spare]" => section = Some(word.to_owned()),
            _ if word.starts_with('[') => return Err((index + 1, format!("there is no section {word}"))),
            name => match section.as_deref() {
                Some("[root]") => wanted.root.push(modinfo::normal(name)),
                Some("[early]") => wanted.early.push(modinfo::normal(name)),
                Some("[late]") => wanted.late.push(modinfo::normal(name)),
                Some("[idle]") => wanted.idle.push(modinfo::normal(name)),
                Some(_) => wanted.spare.push(modinfo::normal(name)),
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
        // Many of these are crypto names that are built in under another name.
        let soft = info.soft_before.into_iter().filter(|name| self.files.contains_key(name));
        let needs: Vec<String> = soft.chain(info.depends).collect();
        for needed in &needs {
            self.visit(needed, name, loaded, order)?;
        }
        let relative = path.strip_prefix(&self.base).expect("found below the base").to_owned();
        order.push(Module {
            name: name.to_owned(),
            path: relative.to_string_lossy().into_owned(),
            needs,
            aliases: info.aliases,
            content,
        });
        Ok(())
    }
}

/// A module that was chosen.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) name: String,
    /// Below `lib/modules/RELEASE`.
    pub(crate) path: String,
    /// Names of those that must be there first.
    pub(crate) needs: Vec<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) content: Vec<u8>,
}

/// What the kernel's build appends to a module, after its signature.
const SIGNED: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature`: at its end the signature's length, most significant byte first.
const SIGNATURE_INFO: usize = 12;

impl Module {
    /// Takes the signature off, where nobody would refuse an unsigned module. Checking one costs an
    /// emulated processor ten milliseconds.
    pub(crate) fn unsigned(mut self) -> Self {
        let bare = || {
            let info = self.content.strip_suffix(SIGNED)?;
            let length = u32::from_be_bytes(*info.last_chunk()?);
            info.len().checked_sub(SIGNATURE_INFO + usize::try_from(length).ok()?)
        };
        if let Some(length) = bare() {
            self.content.truncate(length);
        }
        self
    }
}

/// `modules.dep` as depmod writes it: each file, then all it needs, the first to be loaded at the end.
///
/// `modules` are in load order.
pub(crate) fn dependency_table(modules: &[&Module]) -> String {
    let place = |name: &String| modules.iter().position(|module| module.name == *name);
    let mut table = String::new();
    for module in modules {
        let mut all = BTreeSet::new();
        let mut todo: Vec<&String> = module.needs.iter().collect();
        while let Some(name) = todo.pop() {
            // What is built in, or loaded before the root, has no file here.
            let Some(at) = place(name) else { continue };
            if all.insert(at) {
                todo.extend(&modules[at].needs);
            }
        }
        table.push_str(&module.path);
        table.push(':');
        for at in all.into_iter().rev() {
            table.push(' ');
            table.push_str(&modules[at].path);
        }
        table.push('\n');
    }
    table
}

/// `modules.alias` as depmod writes it.
pub(crate) fn alias_table(modules: &[&Module]) -> String {
    let lines = modules.iter().flat_map(|module| {
        module.aliases.iter().map(move |alias| format!("alias {alias} {}\n", module.name))
    });
    lines.collect()
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
    fn tables_are_those_of_depmod() {
        let module = |name: &str, needs: &[&str]| Module {
            name: name.to_owned(),
            path: format!("kernel/{name}.ko"),
            needs: needs.iter().map(|name| (*name).to_owned()).collect(),
            aliases: vec![format!("rtnl-link-{name}")],
            content: Vec::new(),
        };
        let all = [module("llc", &["builtin"]), module("stp", &["llc"]), module("bridge", &["stp", "llc"])];
        let all: Vec<_> = all.iter().collect();
        assert_eq!(
            dependency_table(&all),
            "kernel/llc.ko:\nkernel/stp.ko: kernel/llc.ko\nkernel/bridge.ko: kernel/stp.ko kernel/llc.ko\n"
        );
        assert_eq!(alias_table(&all[2..]), "alias rtnl-link-bridge bridge\n");
    }

    #[test]
    fn a_signature_is_taken_off_and_nothing_else() {
        let module = |content: &[u8]| Module { content: content.to_vec(), ..Module::default() };
        let mut signed = b"ELFsignature".to_vec();
        signed.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        signed.extend(SIGNED);
        assert_eq!(module(&signed).unsigned().content, b"ELF");
        assert_eq!(module(b"ELF").unsigned().content, b"ELF");
        // A length that cannot be is no signature.
        assert_eq!(module(SIGNED).unsigned().content, SIGNED);
    }

    #[test]
    fn a_stray_line_is_refused_with_its_number() {
        assert_eq!(parse_list("\nloop\n").unwrap_err().0, 2);
        assert_eq!(parse_list("[boot]\n").unwrap_err(), (1, "there is no section [boot]".into()));
    }
}
