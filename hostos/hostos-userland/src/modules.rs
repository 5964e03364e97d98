//! `modprobe` and `lsmod`. The kernel calls the first itself, for what a program needs and nobody has
//! loaded yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};

/// Load a kernel module and what it needs
#[derive(Debug, Parser)]
#[command(
    name = "modprobe",
    override_usage = "modprobe [OPTIONS] MODULE [PARAMETER=VALUE]...\n       modprobe [OPTIONS] -a MODULE...\n       modprobe [OPTIONS] -r MODULE..."
)]
struct Call {
    /// Every word is a module
    #[arg(short, long)]
    all: bool,
    /// Take modules out of the kernel
    #[arg(short, long)]
    remove: bool,
    /// Say nothing of a module that is not there
    #[arg(short, long)]
    quiet: bool,
    /// Say what is done
    #[arg(short, long)]
    verbose: bool,
    /// Do nothing
    #[arg(short = 'n', long, visible_aliases = ["show", "dry-run"])]
    dry_run: bool,
    /// Fail if the module is in the kernel already
    #[arg(long)]
    first_time: bool,
    /// Print the names that a word stands for
    #[arg(short = 'R', long)]
    resolve_alias: bool,
    /// Print the files that would be loaded
    #[arg(short = 'D', long)]
    show_depends: bool,
    /// Taken for compatibility: there is no list of unwanted modules
    #[arg(short = 'b', long)]
    use_blacklist: bool,
    /// Where lib/modules is
    #[arg(short = 'd', long, value_name = "DIRECTORY", default_value = "/")]
    dirname: PathBuf,
    /// A kernel other than the running one
    #[arg(short = 'S', long, value_name = "RELEASE")]
    set_version: Option<String>,
    /// The module and its parameters
    #[arg(required = true, value_name = "MODULE")]
    words: Vec<String>,
}

pub(crate) fn modprobe(args: Vec<OsString>) -> ExitCode {
    let call = match Call::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let release = call.set_version.clone().or_else(running).unwrap_or_default();
    let tree = Tree::read(&call.dirname.join("lib/modules").join(release));
    let (names, parameters) = if call.all || call.remove {
        (call.words.as_slice(), "")
    } else {
        (&call.words[..1], &*call.words[1..].join(" "))
    };
    let mut code = ExitCode::SUCCESS;
    for name in names {
        if let Err(problem) = one(&call, &tree, name, parameters) {
            if !call.quiet {
                eprintln!("modprobe: {problem}");
            }
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn one(call: &Call, tree: &Tree, word: &str, parameters: &str) -> Result<(), String> {
    let found = tree.resolve(word);
    if found.is_empty() {
        if tree.built_in.contains(&normal(word)) {
            return match call.first_time || call.remove {
                true => Err(format!("FATAL: Module {word} is builtin.")),
                false => Ok(()),
            };
        }
        return Err(format!("FATAL: Module {word} not found in directory {}", tree.base.display()));
    }
    if call.resolve_alias {
        found.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    for name in found {
        if call.remove {
            remove(call, name)?;
        } else {
            insert(call, tree, name, parameters)?;
        }
    }
    Ok(())
}

fn insert(call: &Call, tree: &Tree, name: &str, parameters: &str) -> Result<(), String> {
    let files = tree.files.get(name).map(Vec::as_slice).unwrap_or_default();
    let Some((own, needed)) = files.split_first() else { return Ok(()) };
    // depmod writes the first to be loaded at the end.
    for (file, parameters) in needed.iter().rev().map(|file| (file, "")).chain([(own, parameters)]) {
        let path = tree.base.join(file);
        if call.verbose || call.show_depends {
            println!("insmod {} {parameters}", path.display());
        }
        if call.dry_run || call.show_depends {
            continue;
        }
        match load(&path, parameters) {
            Err(Errno::EEXIST) if call.first_time && file == own => {
                return Err(format!("ERROR: could not insert '{name}': Module already in kernel"));
            }
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(format!("ERROR: could not insert '{name}': {}", errno.desc())),
        }
    }
    Ok(())
}

fn load(path: &Path, parameters: &str) -> Result<(), Errno> {
    let file = File::open(path).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let parameters = CString::new(parameters).map_err(|_| Errno::EINVAL)?;
    finit_module(&file, &parameters, ModuleInitFlags::empty())
}

fn remove(call: &Call, name: &str) -> Result<(), String> {
    if call.verbose {
        println!("rmmod {name}");
    }
    if call.dry_run {
        return Ok(());
    }
    let text = CString::new(name).map_err(|_| format!("FATAL: {name:?} is no name"))?;
    match delete_module(&text, DeleteModuleFlags::O_NONBLOCK) {
        Ok(()) => Ok(()),
        Err(Errno::ENOENT) if !call.first_time => Ok(()),
        Err(Errno::ENOENT) => Err(format!("FATAL: Module {name} is not in kernel.")),
        Err(Errno::EWOULDBLOCK | Errno::EBUSY) => Err(format!("FATAL: Module {name} is in use.")),
        Err(errno) => Err(format!("ERROR: could not remove '{name}': {}", errno.desc())),
    }
}

/// The modules of a kernel, as depmod's tables tell of them.
#[derive(Default)]
struct Tree {
    base: PathBuf,
    /// By name: the module's own file, then those of all it needs.
    files: BTreeMap<String, Vec<String>>,
    aliases: Vec<(String, String)>,
    built_in: BTreeSet<String>,
}

impl Tree {
    /// A table that is missing is an empty one.
    fn read(base: &Path) -> Self {
        let table = |name: &str| fs::read_to_string(base.join(name)).unwrap_or_default();
        let mut tree = Self { base: base.to_owned(), ..Self::default() };
        for line in table("modules.dep").lines() {
            if let Some((own, needed)) = line.split_once(':') {
                let files = [own].into_iter().chain(needed.split_whitespace()).map(str::to_owned);
                tree.files.insert(name_of(own), files.collect());
            }
        }
        for line in table("modules.alias").lines() {
            if let ["alias", pattern, name] = line.split_whitespace().collect::<Vec<_>>()[..] {
                tree.aliases.push((normal(pattern), name.to_owned()));
            }
        }
        tree.built_in = table("modules.builtin").lines().map(name_of).collect();
        tree
    }

    /// A module by its name, or those whose aliases fit.
    fn resolve(&self, word: &str) -> Vec<&str> {
        let word = normal(word);
        if let Some((name, _)) = self.files.get_key_value(&word) {
            return vec![name];
        }
        let fitting = self.aliases.iter().filter(|(pattern, _)| fits(pattern.as_bytes(), word.as_bytes()));
        let mut names: Vec<&str> = fitting.map(|(_, name)| name.as_str()).collect();
        names.dedup();
        names
    }
}

/// `kernel/net/llc/llc.ko` is the file of `llc`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split('.').next().unwrap_or(file))
}

/// Names use `-` and `_` alike, but for what stands in brackets.
fn normal(name: &str) -> String {
    let mut inside = false;
    let one = |c: char| {
        inside = (inside || c == '[') && c != ']';
        if c == '-' && !inside { '_' } else { c }
    };
    name.chars().map(one).collect()
}

/// Whether a word fits a pattern with `*`, `?` and `[a-f]`.
fn fits(pattern: &[u8], word: &[u8]) -> bool {
    match (pattern, word) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=word.len()).any(|skipped| fits(rest, &word[skipped..])),
        ([b'?', rest @ ..], [_, left @ ..]) => fits(rest, left),
        ([b'[', rest @ ..], [one, left @ ..]) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            is_in(&rest[..end], *one) && fits(&rest[end + 1..], left)
        }
        ([expected, rest @ ..], [one, left @ ..]) => expected == one && fits(rest, left),
        _ => false,
    }
}

/// Whether a set such as `0-9a` has this byte.
fn is_in(set: &[u8], one: u8) -> bool {
    match set {
        [from, b'-', to, rest @ ..] => (from..=to).contains(&&one) || is_in(rest, one),
        [single, rest @ ..] => *single == one || is_in(rest, one),
        [] => false,
    }
}

fn running() -> Option<String> {
    let system = nix::sys::utsname::uname().ok()?;
    Some(system.release().to_string_lossy().into_owned())
}

pub(crate) fn lsmod(_: Vec<OsString>) -> ExitCode {
    match fs::read_to_string("/proc/modules") {
        Ok(modules) => {
            print!("{}", listing(&modules));
            ExitCode::SUCCESS
        }
        Err(error) => crate::failed("lsmod", &format!("cannot read /proc/modules: {error}")),
    }
}

/// What /proc/modules says, in the columns of lsmod.
fn listing(modules: &str) -> String {
    let mut text = String::from("Module                  Size  Used by\n");
    for line in modules.lines() {
        if let [name, size, count, users, ..] = line.split_whitespace().collect::<Vec<_>>()[..] {
            let users = users.trim_end_matches(',');
            let users = if users == "-" { "" } else { users };
            let row = format!("{name:<19} {size:>8}  {count} {users}");
            text.push_str(row.trim_end());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write(
            "modules.dep",
            "kernel/llc.ko:\nkernel/stp.ko: kernel/llc.ko\nkernel/br-x.ko: kernel/stp.ko kernel/llc.ko\n",
        );
        write("modules.alias", "alias rtnl-link-br br_x\nalias pci:v*d0000[0-3]* stp\nalias fs-x llc\n");
        write("modules.builtin", "kernel/fs/binfmt-script.ko\n");
        Tree::read(dir.path())
    }

    fn call(words: &[&str]) -> Call {
        Call::try_parse_from(["modprobe"].iter().chain(words)).unwrap()
    }

    #[test]
    fn a_module_is_found_by_name_and_by_alias() {
        let tree = tree();
        assert_eq!(tree.resolve("br-x"), ["br_x"]);
        assert_eq!(tree.resolve("rtnl-link-br"), ["br_x"]);
        assert_eq!(tree.resolve("pci:v12d00002sv"), ["stp"]);
        assert!(tree.resolve("pci:v12d00004sv").is_empty());
        assert_eq!(tree.files["br_x"], ["kernel/br-x.ko", "kernel/stp.ko", "kernel/llc.ko"]);
    }

    #[test]
    fn what_is_not_there_is_named_and_what_is_built_in_is_fine() {
        let tree = tree();
        assert_eq!(one(&call(&["binfmt_script"]), &tree, "binfmt_script", ""), Ok(()));
        let error = one(&call(&["nothing"]), &tree, "nothing", "").unwrap_err();
        assert!(error.starts_with("FATAL: Module nothing not found in directory "), "{error}");
        assert_eq!(one(&call(&["-n", "llc"]), &tree, "llc", ""), Ok(()));
    }

    #[test]
    fn the_kernels_own_call_parses() {
        let call = call(&["-q", "--", "rtnl-link-br"]);
        assert!(call.quiet);
        assert_eq!(call.words, ["rtnl-link-br"]);
    }

    #[test]
    fn modules_are_listed_as_lsmod_lists_them() {
        let modules = "bridge 319488 1 br_netfilter, Live 0xffffffffc0a1\nllc 16384 2 - Live 0x0\n";
        assert_eq!(
            listing(modules),
            "Module                  Size  Used by\nbridge                319488  1 br_netfilter\nllc                    16384  2\n"
        );
    }
}
