//! A child config laid over its parent, by the elder's rules.
//!
//! What the child sets, it replaces; lists with keys merge the entries of equal key and append the rest;
//! lists without keys are joined; files, directories and links share one space of paths. The result of
//! two valid configs may be invalid: validate it again.

use crate::types::*;

/// The parent as the child changes it.
#[must_use]
pub fn merge(parent: &Config, child: &Config) -> Config {
    parent.merged(child)
}

trait Merge {
    fn merged(&self, child: &Self) -> Self;
}

/// An entry of a list that is found by its key.
trait Keyed: Merge + Clone {
    fn key(&self) -> String;
}

impl<T: Clone> Merge for Option<T> {
    fn merged(&self, child: &Self) -> Self {
        child.clone().or_else(|| self.clone())
    }
}

macro_rules! merge_fields {
    ($($type:ty { $($rule:ident: $($field:ident)+;)* })*) => {
        $(
            impl Merge for $type {
                fn merged(&self, child: &Self) -> Self {
                    Self { $($($field: $rule(&self.$field, &child.$field),)+)* }
                }
            }
        )*
    };
}

merge_fields! {
    IgnitionConfig { keyed: merge; inner: replace; }
    Proxy { inner: http_proxy https_proxy; union: no_proxy; }
    Security { inner: tls; }
    Tls { keyed: certificate_authorities; }
    Timeouts { inner: http_response_headers http_total; }
    Systemd { keyed: units; }
    Unit { inner: contents enabled mask; keyed: dropins; take: name; }
    Dropin { inner: contents; take: name; }
    Passwd { keyed: groups users; }
    PasswdGroup { inner: gid password_hash should_exist system; take: name; }
    PasswdUser {
        inner: gecos home_dir no_create_home no_log_init no_user_group password_hash primary_group shell
            should_exist system uid;
        union: groups ssh_authorized_keys;
        take: name;
    }
    Directory { inner: group overwrite user mode; take: path; }
    File { inner: group overwrite user contents mode; join: append; take: path; }
    Link { inner: group overwrite user hard target; take: path; }
    Owner { inner: id name; }
    Resource { inner: compression source verification; headers: http_headers; }
    HttpHeader { inner: value; take: name; }
    Verification { inner: hash; }
    Disk { keyed: partitions; inner: wipe_table; take: device; }
    Partition {
        inner: guid label resize should_exist size_mib start_mib type_guid wipe_partition_entry;
        take: number;
    }
    Filesystem {
        inner: format label path uuid wipe_filesystem;
        join: mount_options options;
        take: device;
    }
    Raid { inner: level spares; join: options; union: devices; take: name; }
    Luks {
        inner: cex clevis device discard key_file label uuid wipe_volume;
        join: open_options options;
        take: name;
    }
    Cex { inner: enabled; }
    Clevis { inner: custom threshold tpm2; keyed: tang; }
    ClevisCustom { inner: config needs_network pin; }
    Tang { inner: advertisement thumbprint; take: url; }
}

macro_rules! keyed_by {
    ($($type:ty: $field:ident,)*) => {
        $(impl Keyed for $type {
            fn key(&self) -> String {
                self.$field.clone()
            }
        })*
    };
}

keyed_by! {
    Unit: name,
    Dropin: name,
    PasswdGroup: name,
    PasswdUser: name,
    Directory: path,
    File: path,
    Link: path,
    HttpHeader: name,
    Disk: device,
    Filesystem: device,
    Raid: name,
    Luks: name,
    Tang: url,
}

impl Keyed for Resource {
    fn key(&self) -> String {
        self.source.clone().unwrap_or_default()
    }
}

impl Keyed for Partition {
    fn key(&self) -> String {
        match (&self.label, self.number) {
            (Some(label), 0) => format!("label {label}"),
            (_, number) => format!("number {number}"),
        }
    }
}

impl Merge for Config {
    fn merged(&self, child: &Self) -> Self {
        Self {
            ignition: self.ignition.merged(&child.ignition),
            kernel_arguments: self.kernel_arguments.merged(&child.kernel_arguments),
            passwd: self.passwd.merged(&child.passwd),
            storage: self.storage.merged(&child.storage),
            systemd: self.systemd.merged(&child.systemd),
        }
    }
}

impl Merge for Ignition {
    fn merged(&self, child: &Self) -> Self {
        Self {
            config: self.config.merged(&child.config),
            proxy: self.proxy.merged(&child.proxy),
            security: self.security.merged(&child.security),
            timeouts: self.timeouts.merged(&child.timeouts),
            version: child.version.clone(),
        }
    }
}

impl Merge for Storage {
    fn merged(&self, child: &Self) -> Self {
        let elsewhere = |list: Place| move |path: &str| child.declares(path, list);
        Self {
            directories: keyed_without(&self.directories, &child.directories, elsewhere(Place::Directories)),
            disks: keyed(&self.disks, &child.disks),
            files: keyed_without(&self.files, &child.files, elsewhere(Place::Files)),
            filesystems: keyed(&self.filesystems, &child.filesystems),
            links: keyed_without(&self.links, &child.links, elsewhere(Place::Links)),
            luks: keyed(&self.luks, &child.luks),
            raid: keyed(&self.raid, &child.raid),
        }
    }
}

/// The lists that share one space of paths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Directories,
    Files,
    Links,
}

impl Storage {
    /// Whether another list than that one has the path.
    fn declares(&self, path: &str, except: Place) -> bool {
        except != Place::Directories && self.directories.iter().any(|directory| directory.path == path)
            || except != Place::Files && self.files.iter().any(|file| file.path == path)
            || except != Place::Links && self.links.iter().any(|link| link.path == path)
    }
}

impl Merge for KernelArguments {
    fn merged(&self, child: &Self) -> Self {
        let kept = |list: &[String], other: &[String]| -> Vec<String> {
            list.iter().filter(|argument| !other.contains(argument)).cloned().collect()
        };
        let exist = kept(&self.should_exist, &child.should_not_exist);
        let not_exist = kept(&self.should_not_exist, &child.should_exist);
        Self {
            should_exist: union(&exist, &child.should_exist),
            should_not_exist: union(&not_exist, &child.should_not_exist),
        }
    }
}

fn inner<T: Merge>(parent: &T, child: &T) -> T {
    parent.merged(child)
}

/// The child's value, which is the same as the parent's where it is the key.
fn take<T: Clone>(_: &T, child: &T) -> T {
    child.clone()
}

/// Both lists, one after the other.
fn join<T: Clone>(parent: &[T], child: &[T]) -> Vec<T> {
    [parent, child].concat()
}

/// Both lists, each entry once.
fn union(parent: &[String], child: &[String]) -> Vec<String> {
    let new = child.iter().filter(|entry| !parent.contains(entry));
    parent.iter().chain(new).cloned().collect()
}

/// Entries of the same key merged in the parent's place, the rest of the child's behind them.
fn keyed<T: Keyed>(parent: &[T], child: &[T]) -> Vec<T> {
    keyed_without(parent, child, |_| false)
}

/// The same, less the parent's entries whose key is `gone`.
fn keyed_without<T: Keyed>(parent: &[T], child: &[T], gone: impl Fn(&str) -> bool) -> Vec<T> {
    let same = |list: &[T], key: &str| list.iter().rfind(|entry| entry.key() == key).cloned();
    let mut result: Vec<T> = Vec::new();
    for entry in parent {
        let key = entry.key();
        match same(child, &key) {
            Some(over) => result.push(entry.merged(&over)),
            None if gone(&key) => {}
            None => result.push(entry.clone()),
        }
    }
    result.extend(child.iter().filter(|entry| same(parent, &entry.key()).is_none()).cloned());
    result
}

/// Headers by name; one without a value takes the parent's away.
fn headers(parent: &[HttpHeader], child: &[HttpHeader]) -> Vec<HttpHeader> {
    let removed =
        |header: &HttpHeader| child.iter().any(|over| over.name == header.name && over.value.is_none());
    let kept: Vec<HttpHeader> = parent.iter().filter(|header| !removed(header)).cloned().collect();
    let used =
        |header: &HttpHeader| parent.iter().any(|under| under.name == header.name) && header.value.is_none();
    keyed(&kept, &child.iter().filter(|header| !used(header)).cloned().collect::<Vec<_>>())
}
