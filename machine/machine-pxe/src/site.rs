//! What machines are told: DHCP answers, scripts, configs, files. It decides; who moves the bytes is
//! somebody else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::book::{Approval, Book, Known, Progress, Refused};
use crate::dhcp::{BIOS_LOADER, EFI_LOADER, Kind, Question};
use crate::groups::{Groups, Labels};
use crate::{Mac, tftp};

/// Who knows the cluster.
pub trait Host: Send + Sync {
    /// Decides about name and address of a machine that may boot.
    ///
    /// # Errors
    /// A sentence that says why it has none.
    fn place(&self, known: &Known) -> Result<(String, Ipv4Addr), String>;

    /// The secret part of a machine's Ignition config: what makes it a member.
    ///
    /// # Errors
    /// A sentence that says why it has none.
    fn config(&self, known: &Known) -> Result<Value, String>;
}

/// What machines boot when no profile says otherwise.
#[derive(Clone, Debug)]
pub struct Release {
    /// The kernel.
    pub kernel: Arc<[u8]>,
    /// The initramfs.
    pub initramfs: Arc<[u8]>,
    /// Its own words for the kernel command line.
    pub cmdline: String,
}

/// How a site is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our address.
    pub server: Ipv4Addr,
    /// Where our HTTP is, such as `http://10.0.0.2`.
    pub base: String,
    /// Whether another server gives the addresses.
    pub proxy: bool,
    /// Whether everybody may boot.
    pub any: bool,
    /// The file of the [`Book`].
    pub book: PathBuf,
    /// matchbox's folders, if there are any.
    pub matchbox: Option<PathBuf>,
    /// Folders where iPXE's files are looked for.
    pub loaders: Vec<PathBuf>,
    /// Further words for the kernel command line.
    pub cmdline: String,
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Its media type.
    pub media: &'static str,
    /// The body.
    pub body: Arc<[u8]>,
}

impl Answer {
    fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, media: "text/plain", body: text.into().into_bytes().into() }
    }

    fn json(value: &Value) -> Self {
        let body = value.to_string().into_bytes().into();
        Self { status: 200, media: "application/vnd.coreos.ignition+json", body }
    }

    /// The head that goes before the body.
    #[must_use]
    pub fn head(&self) -> String {
        let reason = match self.status {
            200 => "OK",
            403 => "Forbidden",
            404 => "Not Found",
            410 => "Gone",
            _ => "Error",
        };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.status,
            self.media,
            self.body.len()
        )
    }
}

/// A place that machines boot from.
pub struct Site {
    config: Config,
    groups: Groups,
    release: Release,
    host: Box<dyn Host>,
}

impl Site {
    /// A site of this configuration.
    #[must_use]
    pub fn new(config: Config, groups: Groups, release: Release, host: Box<dyn Host>) -> Self {
        Self { config, groups, release, host }
    }

    /// Our address.
    #[must_use]
    pub fn server(&self) -> Ipv4Addr {
        self.config.server
    }

    /// The answer to a DHCP message; nothing for whoever may not boot, and for other servers' clients.
    #[must_use]
    pub fn dhcp(&self, message: &[u8]) -> Option<Vec<u8>> {
        let question = Question::parse(message)?;
        if question.server.is_some_and(|server| server != self.config.server) && !self.config.proxy {
            return None;
        }
        let known = self.heard(question.mac, question.uuid)?;
        let loader = question.loader(&self.config.base);
        if self.config.proxy {
            return Some(question.proxy(self.config.server, &loader));
        }
        let address = known.address?;
        if question.kind == Kind::Request && question.wanted.is_some_and(|wanted| wanted != address) {
            return None;
        }
        Some(question.lease(self.config.server, address, &loader))
    }

    /// Notes a machine; answers it if it may boot.
    fn heard(&self, mac: Mac, uuid: Option<Uuid>) -> Option<Known> {
        let labels = labels(mac, uuid);
        let named = self.groups.names(&labels);
        let known = self.book(|book| {
            let known = book.hear(mac, uuid, now());
            if known.approval == Approval::No && known.progress == Progress::Discovered {
                if named || self.config.any {
                    book.approve(mac, None, Approval::Always);
                } else {
                    tracing::info!(%mac, "a machine waits for approval");
                }
            }
            book.machines.get(&mac).cloned()
        })??;
        if known.approval == Approval::No {
            return None;
        }
        if known.address.is_some() && known.name.is_some() {
            return Some(known);
        }
        match self.host.place(&known) {
            Ok((name, address)) => self.book(|book| {
                let known = book.machines.get_mut(&mac)?;
                (known.name, known.address) = (Some(name), Some(address));
                Some(known.clone())
            })?,
            Err(reason) => {
                tracing::warn!(%mac, reason, "a machine has no place");
                None
            }
        }
    }

    /// A file for TFTP: iPXE only.
    ///
    /// # Errors
    /// What to tell the client.
    pub fn tftp(&self, wish: &tftp::Wish) -> Result<Arc<[u8]>, String> {
        if [BIOS_LOADER, EFI_LOADER].contains(&wish.file.as_str()) {
            self.loader(&wish.file)
                .ok_or_else(|| format!("{} is not installed; it is in the Debian package `ipxe`", wish.file))
        } else {
            Err(format!("there is no file {}", wish.file))
        }
    }

    fn loader(&self, file: &str) -> Option<Arc<[u8]>> {
        self.config.loaders.iter().find_map(|dir| std::fs::read(dir.join(file)).ok()).map(Into::into)
    }

    /// The answer to `GET target` from this address.
    #[must_use]
    pub fn http(&self, target: &str, peer: IpAddr) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = parse_query(query);
        match path {
            "/" => Answer::text(200, "rmachine\n"),
            "/boot.ipxe" | "/boot.ipxe.0" => Answer::text(
                200,
                "#!ipxe\nchain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}\
                 &serial=${serial}\n",
            ),
            "/ipxe" => self.for_machine(&query, peer, |site, known| site.script(known)),
            "/grub" => self.for_machine(&query, peer, |site, known| site.grub(known)),
            "/metadata" => self.for_machine(&query, peer, |site, known| Ok(site.metadata(&labels_of(known)))),
            "/generic" => self.for_machine(&query, peer, |site, known| site.generic(known)),
            "/ignition" => self.ignition(&query),
            "/secret" => self.secret(&query),
            _ => match path.split_once("/assets/").or_else(|| path.split_once("/loader/")) {
                Some(("", file)) if path.starts_with("/loader/") => match self.loader(file) {
                    Some(body) if [BIOS_LOADER, EFI_LOADER].contains(&file) => binary(body),
                    _ => Answer::text(404, "404 page not found\n"),
                },
                Some(("", file)) => self.asset(file),
                _ => Answer::text(404, "404 page not found\n"),
            },
        }
    }

    fn asset(&self, file: &str) -> Answer {
        match file {
            KERNEL => return binary(Arc::clone(&self.release.kernel)),
            INITRAMFS => return binary(Arc::clone(&self.release.initramfs)),
            _ => {}
        }
        let path = Path::new(file);
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let read = self.config.matchbox.as_ref().filter(|_| inside).and_then(|dir| {
            let whole = dir.join("assets").join(path).canonicalize().ok()?;
            whole.starts_with(dir.join("assets").canonicalize().ok()?).then(|| std::fs::read(whole).ok())?
        });
        read.map_or_else(|| Answer::text(404, "404 page not found\n"), |bytes| binary(bytes.into()))
    }

    /// For a machine that may boot and asks from its own address.
    fn for_machine(
        &self,
        query: &Labels,
        peer: IpAddr,
        answer: impl FnOnce(&Self, &Known) -> Result<String, String>,
    ) -> Answer {
        let Some(mac) = query.get("mac").and_then(|mac| mac.parse::<Mac>().ok()) else {
            return Answer::text(404, "say which machine: mac=ADDRESS\n");
        };
        let uuid = query.get("uuid").and_then(|uuid| uuid.parse().ok());
        let known = self.heard(mac, uuid);
        let Some(known) = known.filter(|known| known.uuid.is_none() || uuid.is_none() || known.uuid == uuid)
        else {
            return Answer::text(403, format!("{}\n", Refused::Unapproved));
        };
        if !self.config.proxy && known.address.is_some_and(|address| IpAddr::V4(address) != peer) {
            return Answer::text(403, format!("{}\n", Refused::Foreign));
        }
        match answer(self, &known) {
            Ok(text) => Answer::text(200, text),
            Err(reason) => Answer::text(404, format!("{reason}\n")),
        }
    }

    /// What a machine loads, and the words for its kernel with a fresh secret among them.
    fn boot(&self, known: &Known) -> Result<(String, Vec<String>, String), String> {
        let secret = self
            .book(|book| book.give_secret(known.mac, known.uuid, rand::random(), now()))
            .ok_or("the book of machines is not there")?
            .map_err(|refused| refused.to_string())?;
        let base = &self.config.base;
        let config = format!("ignition.config.url={base}/ignition?secret={secret}");
        let absolute = |path: &str| {
            if path.starts_with('/') { format!("{base}{path}") } else { path.to_owned() }
        };
        if let Some((_, profile)) = self.groups.select(&labels_of(known))
            && !profile.boot.kernel.is_empty()
        {
            let initrds = profile.boot.initrd.iter().map(|path| absolute(path)).collect();
            let mut args = profile.boot.args.clone();
            args.push(config);
            return Ok((absolute(&profile.boot.kernel), initrds, args.join(" ")));
        }
        // The user's words go last: the last console is the one that init writes to.
        let words = format!("{} {config} {}", self.release.cmdline.trim(), self.config.cmdline);
        let initrds = vec![format!("{base}/assets/{INITRAMFS}")];
        Ok((format!("{base}/assets/{KERNEL}"), initrds, words.trim().to_owned()))
    }

    fn script(&self, known: &Known) -> Result<String, String> {
        let (kernel, initrds, words) = self.boot(known)?;
        // UEFI finds an initramfs by its name only.
        let name = |initrd: &str| initrd.rsplit('/').next().unwrap_or("initrd").to_owned();
        let mut script = format!("#!ipxe\nkernel {kernel}");
        for initrd in &initrds {
            script.push_str(&format!(" initrd={}", name(initrd)));
        }
        script.push_str(&format!(" {words}\n"));
        for initrd in &initrds {
            script.push_str(&format!("initrd --name {} {initrd}\n", name(initrd)));
        }
        script.push_str("boot\n");
        Ok(script)
    }

    fn grub(&self, known: &Known) -> Result<String, String> {
        let (kernel, initrds, words) = self.boot(known)?;
        let path = |url: &str| url.replacen("http://", "(http,", 1).replacen('/', ")/", 1);
        let initrds: Vec<String> = initrds.iter().map(|url| path(url)).collect();
        Ok(format!(
            "default=0\ntimeout=1\nmenuentry \"rmachine\" {{\n  linuxefi \"{}\" {words}\n  initrdefi {}\n}}\n",
            path(&kernel),
            initrds.iter().map(|initrd| format!("\"{initrd}\"")).collect::<Vec<_>>().join(" ")
        ))
    }

    fn metadata(&self, labels: &Labels) -> String {
        let mut lines = BTreeMap::new();
        if let Some((group, _)) = self.groups.select(labels) {
            for (key, value) in &group.metadata {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                lines.insert(key.to_uppercase(), text);
            }
        }
        for (key, value) in labels {
            lines.insert(format!("REQUEST_QUERY_{}", key.to_uppercase()), value.clone());
        }
        lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    fn generic(&self, known: &Known) -> Result<String, String> {
        let labels = labels_of(known);
        let (group, profile) = self.groups.select(&labels).ok_or("no group selects this machine")?;
        if profile.generic_id.is_empty() {
            return Err(format!("profile `{}` has no generic template", profile.id));
        }
        self.groups.fill("generic", &profile.generic_id, group, &labels).map_err(|error| error.to_string())
    }

    /// The open part of a config: where the secret part is, and what the profile adds.
    fn ignition(&self, query: &Labels) -> Answer {
        let Some(secret) = query.get("secret") else {
            return Answer::text(403, "a config is given out with the secret of its boot only\n");
        };
        let owner = self.book(|book| book.owner(secret, now()).cloned());
        let known = match owner {
            Some(Ok(known)) => known,
            Some(Err(refused)) => return Answer::text(410, format!("{refused}\n")),
            None => return Answer::text(500, "the book of machines is not there\n"),
        };
        let mut sources = vec![json!({ "source": format!("{}/secret?secret={secret}", self.config.base) })];
        let labels = labels_of(&known);
        if let Some((group, profile)) = self.groups.select(&labels)
            && !profile.ignition_id.is_empty()
        {
            match self.groups.fill("ignition", &profile.ignition_id, group, &labels) {
                Ok(text) => {
                    let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
                    sources.push(json!({ "source": format!("data:,{encoded}") }));
                }
                Err(error) => return Answer::text(404, format!("{error}\n")),
            }
        }
        Answer::json(&json!({ "ignition": { "version": "3.3.0", "config": { "merge": sources } } }))
    }

    /// The secret part, once.
    fn secret(&self, query: &Labels) -> Answer {
        let secret = query.get("secret").map(String::as_str).unwrap_or_default();
        let gone = |refused: Refused| Answer::text(410, format!("{refused}\n"));
        let lost = || Answer::text(500, "the book of machines is not there\n");
        let known = match self.book(|book| book.owner(secret, now()).cloned()) {
            Some(Ok(known)) => known,
            Some(Err(refused)) => return gone(refused),
            None => return lost(),
        };
        // While the cluster cannot be asked the secret stays good: the machine comes again.
        let config = match self.host.config(&known) {
            Ok(config) => config,
            Err(reason) => {
                tracing::warn!(mac = %known.mac, reason, "a machine got no config");
                return Answer::text(500, format!("{reason}\n"));
            }
        };
        match self.book(|book| book.spend(secret, now())) {
            Some(Ok(_)) => Answer::json(&config),
            Some(Err(refused)) => gone(refused),
            None => lost(),
        }
    }

    fn book<T>(&self, work: impl FnOnce(&mut Book) -> T) -> Option<T> {
        let done = Book::update(&self.config.book, work);
        done.inspect_err(|error| tracing::warn!(%error, "the book of machines cannot be used")).ok()
    }
}

const KERNEL: &str = "vmlinuz";
const INITRAMFS: &str = "initramfs";

fn binary(body: Arc<[u8]>) -> Answer {
    Answer { status: 200, media: "application/octet-stream", body }
}

fn labels_of(known: &Known) -> Labels {
    labels(known.mac, known.uuid)
}

fn labels(mac: Mac, uuid: Option<Uuid>) -> Labels {
    let mut labels = Labels::from([("mac".to_owned(), mac.to_string())]);
    if let Some(uuid) = uuid {
        labels.insert("uuid".to_owned(), uuid.to_string());
    }
    labels
}

fn parse_query(query: &str) -> Labels {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.replace("%3A", ":").replace("%3a", ":")))
        .collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::tests::ask;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const MINE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 20);

    struct Fixed;

    impl Host for Fixed {
        fn place(&self, _known: &Known) -> Result<(String, Ipv4Addr), String> {
            Ok(("metal1".into(), MINE))
        }

        fn config(&self, known: &Known) -> Result<Value, String> {
            Ok(json!({ "ignition": { "version": "3.3.0" }, "for": known.name }))
        }
    }

    /// A cluster that cannot be asked at first.
    struct Away(std::sync::atomic::AtomicBool);

    impl Host for Away {
        fn place(&self, known: &Known) -> Result<(String, Ipv4Addr), String> {
            Fixed.place(known)
        }

        fn config(&self, known: &Known) -> Result<Value, String> {
            match self.0.swap(false, std::sync::atomic::Ordering::SeqCst) {
                true => Err("nobody answers".into()),
                false => Fixed.config(known),
            }
        }
    }

    fn site(dir: &Path, any: bool) -> Site {
        site_of(dir, any, Box::new(Fixed))
    }

    fn site_of(dir: &Path, any: bool, host: Box<dyn Host>) -> Site {
        let config = Config {
            server: Ipv4Addr::new(10, 0, 0, 2),
            base: "http://10.0.0.2".into(),
            proxy: false,
            any,
            book: dir.join("pxe.json"),
            matchbox: Some(dir.to_owned()),
            loaders: vec![dir.to_owned()],
            cmdline: String::new(),
        };
        let release = Release {
            kernel: b"kernel"[..].into(),
            initramfs: b"initramfs"[..].into(),
            cmdline: "quiet".into(),
        };
        Site::new(config, Groups::load(dir).expect("no groups"), release, host)
    }

    fn body(answer: &Answer) -> String {
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    #[test]
    fn an_unknown_machine_is_refused_until_it_is_approved() {
        let dir = tempfile::tempdir().expect("a folder");
        let site = site(dir.path(), false);
        let discover = ask(MAC, 1, &[(60, b"PXEClient"), (77, b"iPXE")]);
        assert!(site.dhcp(&discover).is_none());
        let target = format!("/ipxe?mac={MAC}");
        assert_eq!(site.http(&target, MINE.into()).status, 403);
        Book::update(&dir.path().join("pxe.json"), |book| book.approve(MAC, None, Approval::Always))
            .expect("approved");
        assert!(site.dhcp(&discover).is_some());
        assert_eq!(site.http(&target, MINE.into()).status, 200);
    }

    #[test]
    fn the_way_from_script_to_secret_is_gone_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let site = site(dir.path(), true);
        let target = format!("/ipxe?uuid=&mac={}", MAC.to_string().replace(':', "-"));
        let other = IpAddr::from([10, 0, 0, 99]);
        assert_eq!(site.http(&target, other).status, 403, "not from its address");
        let script = body(&site.http(&target, MINE.into()));
        assert!(script.contains("kernel http://10.0.0.2/assets/vmlinuz initrd=initramfs quiet"), "{script}");
        let url = script
            .split_whitespace()
            .find_map(|word| word.strip_prefix("ignition.config.url=http://10.0.0.2"));
        let open = site.http(url.expect("a config"), MINE.into());
        let open: Value = serde_json::from_slice(&open.body).expect("JSON");
        let source = open["ignition"]["config"]["merge"][0]["source"].as_str().expect("a source").to_owned();
        let source = source.strip_prefix("http://10.0.0.2").expect("ours");
        assert!(body(&site.http(source, MINE.into())).contains("metal1"));
        assert_eq!(site.http(source, MINE.into()).status, 410, "a secret is used once");
        assert_eq!(site.http("/ignition?mac=52:54:00:00:00:01", MINE.into()).status, 403);
    }

    #[test]
    fn a_secret_stays_good_while_the_cluster_cannot_be_asked() {
        let dir = tempfile::tempdir().expect("a folder");
        let site = site_of(dir.path(), true, Box::new(Away(true.into())));
        let script = body(&site.http(&format!("/ipxe?mac={MAC}"), MINE.into()));
        let (_, secret) = script.split_once("ignition?secret=").expect("a secret");
        let source = format!("/secret?secret={}", secret.split_whitespace().next().expect("digits"));
        let statuses = [(); 3].map(|()| site.http(&source, MINE.into()).status);
        assert_eq!(statuses, [500, 200, 410]);
    }

    #[test]
    fn only_assets_are_files() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("assets")).expect("a folder");
        std::fs::write(dir.path().join("assets/a"), "asset").expect("written");
        std::fs::write(dir.path().join("outside"), "secret").expect("written");
        let site = site(dir.path(), true);
        let get = |target: &str| site.http(target, MINE.into());
        assert_eq!(body(&get("/assets/a")), "asset");
        assert_eq!(body(&get("/assets/vmlinuz")), "kernel");
        for target in ["/assets/../outside", "/assets//outside", "/assets/", "/outside", "/loader/outside"] {
            assert_eq!(get(target).status, 404, "{target}");
        }
    }
}
