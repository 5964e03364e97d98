//! Takes kernel and modules out of Debian's kernel package.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hostos_api::manifest::Flavor;

use crate::Progress;
use crate::modules::{Module, Modules, ModulesError, read_list};
use crate::package::{self, PackageError};

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Its modules.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The package looks different from what is known of Debian's.
    #[error("the kernel package in {} has no {what}", dir.display())]
    Shape {
        /// Where it is unpacked.
        dir: PathBuf,
        /// What is missing.
        what: &'static str,
    },
}

/// A kernel and the modules that were chosen from it.
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) release: String,
    pub(crate) image: Vec<u8>,
    /// For the initramfs, in load order.
    pub(crate) root: Vec<Module>,
    /// Before network and config, in load order.
    pub(crate) early: Vec<Module>,
    /// After those, in load order.
    pub(crate) late: Vec<Module>,
    /// Once the machine is ready, in load order.
    pub(crate) idle: Vec<Module>,
    /// Only when somebody asks for one.
    pub(crate) spare: Vec<Module>,
    /// `modules.builtin` of the package.
    pub(crate) built_in: String,
}

/// The kernel of `flavor`, its modules chosen by the list `list`.
pub(crate) fn take(
    flavor: Flavor,
    list: &Path,
    cache: &Path,
    progress: Progress<'_>,
) -> Result<Kernel, KernelError> {
    let meta = match flavor {
        Flavor::Vm => "linux-image-cloud-amd64",
        Flavor::Metal => "linux-image-amd64",
    };
    let package = package::resolve(meta, "linux-image-")?;
    let dir = package::unpacked(&package, cache, progress)?;
    let release = package.name.trim_start_matches("linux-image-").to_owned();
    let shape = |what| KernelError::Shape { dir: dir.clone(), what };
    let image =
        fs::read(dir.join("boot").join(format!("vmlinuz-{release}"))).map_err(|_| shape("boot/vmlinuz"))?;
    let base = ["usr/lib/modules", "lib/modules"]
        .iter()
        .map(|parent| dir.join(parent).join(&release))
        .find(|base| base.is_dir())
        .ok_or_else(|| shape("lib/modules"))?;
    progress("choosing kernel modules");
    let modules = Modules::find(&base)?;
    let built_in = fs::read_to_string(base.join("modules.builtin")).map_err(|_| shape("modules.builtin"))?;
    let wanted = read_list(list)?;
    let mut loaded = names(&built_in);
    // A computer's firmware may have the kernel insist on signatures; QEMU is handed the kernel directly, and
    // there the release's own signature vouches for all of it.
    let fit = |module: Module| if flavor == Flavor::Vm { module.unsigned() } else { module };
    let mut choose = |names: &[String]| -> Result<Vec<Module>, ModulesError> {
        Ok(modules.ordered(names, &mut loaded)?.into_iter().map(fit).collect())
    };
    let root = choose(&wanted.root)?;
    let early = choose(&wanted.early)?;
    let late = choose(&wanted.late)?;
    let idle = choose(&wanted.idle)?;
    let spare = choose(&wanted.spare)?;
    Ok(Kernel { release, image, root, early, late, idle, spare, built_in })
}

/// Names of what other configurations have as modules and this kernel has inside.
fn names(built_in: &str) -> BTreeSet<String> {
    let stems = built_in.lines().filter_map(|line| Path::new(line.trim()).file_stem());
    stems.map(|stem| crate::modinfo::normal(&stem.to_string_lossy())).collect()
}
