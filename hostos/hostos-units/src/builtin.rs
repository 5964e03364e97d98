//! Units that every machine has, whether or not there are files for them: the usual targets and
//! the roots of the slice and mount trees. A file of the same name replaces one of these.

const TARGETS: &[(&str, &str)] = &[
    (
        "basic.target",
        "[Unit]\nDescription=Basic System\nRequires=sysinit.target\nWants=sockets.target timers.target paths.target slices.target\nAfter=sysinit.target sockets.target paths.target slices.target\n",
    ),
    (
        "default.target",
        "[Unit]\nDescription=Default Target\nRequires=multi-user.target\nAfter=multi-user.target\nAllowIsolate=yes\n",
    ),
    ("emergency.target", "[Unit]\nDescription=Emergency Mode\nAllowIsolate=yes\n"),
    (
        "final.target",
        "[Unit]\nDescription=Late Shutdown Services\nDefaultDependencies=no\nRefuseManualStart=yes\nAfter=shutdown.target umount.target\n",
    ),
    ("getty.target", "[Unit]\nDescription=Login Prompts\n"),
    (
        "graphical.target",
        "[Unit]\nDescription=Graphical Interface\nRequires=multi-user.target\nAfter=multi-user.target\nAllowIsolate=yes\n",
    ),
    (
        "halt.target",
        "[Unit]\nDescription=System Halt\nDefaultDependencies=no\nAllowIsolate=yes\nRequires=shutdown.target\nAfter=shutdown.target\n",
    ),
    (
        "local-fs-pre.target",
        "[Unit]\nDescription=Preparation for Local File Systems\nRefuseManualStart=yes\n",
    ),
    (
        "local-fs.target",
        "[Unit]\nDescription=Local File Systems\nDefaultDependencies=no\nConflicts=shutdown.target\nAfter=local-fs-pre.target\n",
    ),
    (
        "multi-user.target",
        "[Unit]\nDescription=Multi-User System\nRequires=basic.target\nConflicts=rescue.service rescue.target\nAfter=basic.target rescue.service rescue.target\nAllowIsolate=yes\n",
    ),
    ("network-online.target", "[Unit]\nDescription=Network is Online\nAfter=network.target\n"),
    ("network-pre.target", "[Unit]\nDescription=Preparation for Network\nRefuseManualStart=yes\n"),
    ("network.target", "[Unit]\nDescription=Network\nAfter=network-pre.target\nRefuseManualStart=yes\n"),
    ("nss-lookup.target", "[Unit]\nDescription=Host and Network Name Lookups\nRefuseManualStart=yes\n"),
    ("nss-user-lookup.target", "[Unit]\nDescription=User and Group Name Lookups\nRefuseManualStart=yes\n"),
    ("paths.target", "[Unit]\nDescription=Path Units\n"),
    (
        "poweroff.target",
        "[Unit]\nDescription=System Power Off\nDefaultDependencies=no\nAllowIsolate=yes\nRequires=shutdown.target\nAfter=shutdown.target\n",
    ),
    (
        "reboot.target",
        "[Unit]\nDescription=System Reboot\nDefaultDependencies=no\nAllowIsolate=yes\nRequires=shutdown.target\nAfter=shutdown.target\n",
    ),
    (
        "remote-fs-pre.target",
        "[Unit]\nDescription=Preparation for Remote File Systems\nRefuseManualStart=yes\n",
    ),
    (
        "remote-fs.target",
        "[Unit]\nDescription=Remote File Systems\nAfter=remote-fs-pre.target\nDefaultDependencies=no\nConflicts=shutdown.target\n",
    ),
    (
        "rescue.target",
        "[Unit]\nDescription=Rescue Mode\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n",
    ),
    (
        "shutdown.target",
        "[Unit]\nDescription=System Shutdown\nDefaultDependencies=no\nRefuseManualStart=yes\n",
    ),
    ("slices.target", "[Unit]\nDescription=Slice Units\n"),
    ("sockets.target", "[Unit]\nDescription=Socket Units\n"),
    ("swap.target", "[Unit]\nDescription=Swaps\n"),
    (
        "sysinit.target",
        "[Unit]\nDescription=System Initialization\nWants=local-fs.target swap.target\nAfter=local-fs.target swap.target\nConflicts=emergency.target\n",
    ),
    ("time-set.target", "[Unit]\nDescription=System Time Set\nRefuseManualStart=yes\n"),
    (
        "time-sync.target",
        "[Unit]\nDescription=System Time Synchronized\nRefuseManualStart=yes\nAfter=time-set.target\nWants=time-set.target\n",
    ),
    ("timers.target", "[Unit]\nDescription=Timer Units\nDefaultDependencies=no\nConflicts=shutdown.target\n"),
    (
        "umount.target",
        "[Unit]\nDescription=Unmount All Filesystems\nDefaultDependencies=no\nRefuseManualStart=yes\n",
    ),
    ("-.slice", "[Unit]\nDescription=Root Slice\nDefaultDependencies=no\n"),
    ("system.slice", "[Unit]\nDescription=System Slice\nDefaultDependencies=no\n"),
    ("user.slice", "[Unit]\nDescription=User and Session Slice\nDefaultDependencies=no\n"),
    ("machine.slice", "[Unit]\nDescription=Virtual Machine and Container Slice\nDefaultDependencies=no\n"),
    ("init.scope", "[Unit]\nDescription=Unit Supervisor\nDefaultDependencies=no\n"),
    ("-.mount", "[Unit]\nDescription=Root Mount\nDefaultDependencies=no\n"),
];

/// The text of such a unit.
pub(crate) fn text(name: &str) -> Option<&'static str> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Units that are active from the start and cannot be stopped.
pub(crate) fn is_perpetual(name: &str) -> bool {
    matches!(name, "-.slice" | "system.slice" | "init.scope" | "-.mount")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_valid_unit() {
        for (name, _) in TARGETS {
            name.parse::<unit_file::UnitName>().expect("a valid name");
            unit_file::UnitFile::parse_strict(text(name).expect("its own")).expect("a valid text");
        }
    }
}
