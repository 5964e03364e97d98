//! Which hierarchies are mounted where.

use std::path::PathBuf;

/// One v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// `cpu`, `cpuacct`; for a named one `name=systemd`.
    pub(crate) controllers: Vec<String>,
    pub(crate) root: PathBuf,
}

/// All hierarchies of this host. v2 alone: `v1` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) v1: Vec<Hierarchy>,
    pub(crate) unified: Option<PathBuf>,
}

const SHIMS: &str = "engine-shims";

impl Layout {
    /// Reads the text of `/proc/self/mountinfo`.
    pub(crate) fn parse(mountinfo: &str) -> Option<Self> {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut right = right.split(' ');
            let (Some(kind), Some(_), Some(options)) = (right.next(), right.next(), right.next()) else {
                continue;
            };
            let Some(root) = left.split(' ').nth(4).filter(|path| path.starts_with("/sys/fs/cgroup")) else {
                continue;
            };
            match kind {
                "cgroup" => layout.add_v1(root, options),
                "cgroup2" => layout.unified = Some(root.into()),
                _ => {}
            }
        }
        // A named hierarchy alone limits nothing: that is v2 with a leftover.
        if layout.v1.iter().all(|hierarchy| hierarchy.controllers[0].starts_with("name="))
            && layout.unified.is_some()
        {
            layout.v1.clear();
        }
        (!layout.v1.is_empty() || layout.unified.is_some()).then_some(layout)
    }

    fn add_v1(&mut self, root: &str, options: &str) {
        const PLAIN: [&str; 7] =
            ["rw", "ro", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "favordynmods"];
        let controllers: Vec<String> = options
            .split(',')
            .filter(|option| !PLAIN.contains(option) && !option.starts_with("release_agent="))
            .map(Into::into)
            .collect();
        let known = self.v1.iter().any(|hierarchy| hierarchy.controllers == controllers);
        if !controllers.is_empty() && !known {
            self.v1.push(Hierarchy { controllers, root: root.into() });
        }
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        if self.v1.is_empty() {
            let Some(root) = &self.unified else { return false };
            let name = if controller == "blkio" { "io" } else { controller };
            return matches!(controller, "devices" | "freezer" | "cpuacct")
                || std::fs::read_to_string(root.join("cgroup.controllers"))
                    .is_ok_and(|text| text.split_whitespace().any(|word| word == name));
        }
        self.v1.iter().any(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    /// Where shims go, so that the end of the engine's service spares them. Only
    /// the hierarchy a service manager kills by matters.
    pub(crate) fn shim_files(&self, parent: &str) -> Vec<PathBuf> {
        let named = self.v1.iter().find(|hierarchy| hierarchy.controllers[0].starts_with("name="));
        let (root, file) = match (named, &self.unified) {
            (Some(named), _) => (&named.root, "tasks"),
            (None, Some(unified)) if self.v1.is_empty() => (unified, "cgroup.procs"),
            _ => return Vec::new(),
        };
        let dir = root.join(parent).join(SHIMS);
        let _ = std::fs::create_dir_all(&dir);
        vec![dir.join(file)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
99 30 0:30 / /mnt/other rw - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_is_v1_with_a_unified_hierarchy() {
        let layout = Layout::parse(HYBRID).unwrap();
        assert_eq!(layout.v1.len(), 3);
        assert_eq!(layout.v1[1].controllers, ["cpu", "cpuacct"]);
        assert_eq!(layout.unified.as_deref().unwrap().to_str().unwrap(), "/sys/fs/cgroup/unified");
        assert!(layout.has("memory") && !layout.has("pids"));
    }

    #[test]
    fn v2_alone_has_no_v1() {
        let layout =
            Layout::parse("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n").unwrap();
        assert!(layout.v1.is_empty());
        let leftover = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 c rw\n32 30 0:28 / /sys/fs/cgroup/x rw - cgroup c rw,name=x\n";
        assert!(Layout::parse(leftover).unwrap().v1.is_empty());
        assert_eq!(Layout::parse("30 24 0:26 / /sys rw - sysfs sysfs rw\n"), None);
    }
}
