//! DHCP as firmware speaks it when it boots from the network (RFC 2131, 2132, 4578; the PXE
//! specification for proxies): reading a question, writing an answer. Only bytes.
//!
//! As a **full** server the answer has an address in it; as a **proxy** it has boot data alone, beside
//! the answer of the network's own server.

use std::net::Ipv4Addr;

use uuid::Uuid;

use crate::Mac;

const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Options that are told apart here.
mod option {
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const VENDOR: u8 = 43;
    pub(super) const WANTED: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const CLASS: u8 = 60;
    pub(super) const TFTP_SERVER: u8 = 66;
    pub(super) const FILE: u8 = 67;
    pub(super) const USER_CLASS: u8 = 77;
    pub(super) const ARCH: u8 = 93;
    pub(super) const GUID: u8 = 97;
    pub(super) const IPXE: u8 = 175;
    pub(super) const END: u8 = 255;
}
/// Seconds; a machine that boots needs an address for minutes.
const LEASE: u32 = 3600;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Is anybody there?
    Discover,
    /// That one, please.
    Request,
}

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Offer = 2,
    Ack = 5,
}

/// A question of firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What it asks for.
    pub kind: Kind,
    /// Who asks.
    pub mac: Mac,
    /// The machine's own identity, if it has one.
    pub uuid: Option<Uuid>,
    /// RFC 4578's number of what it can run.
    pub arch: u16,
    /// Whether it is iPXE already.
    pub is_ipxe: bool,
    /// Whether it boots over HTTP by itself.
    pub is_http: bool,
    /// The server it speaks to, once it chose.
    pub server: Option<Ipv4Addr>,
    /// The address it wants.
    pub wanted: Option<Ipv4Addr>,
    fixed: Vec<u8>,
    guid: Vec<u8>,
}

/// What a client is to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loader {
    /// A script, for iPXE.
    Script(String),
    /// A file by TFTP.
    Tftp(&'static str),
    /// A file by HTTP, for firmware that can.
    Http(String),
}

/// iPXE for a BIOS.
pub const BIOS_LOADER: &str = "undionly.kpxe";
/// iPXE for UEFI on x86-64.
pub const EFI_LOADER: &str = "ipxe.efi";

impl Question {
    /// A question of firmware; nothing if it is anything else, such as an operating system's.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        if message.get(..3)? != [1, 1, 6] || message.get(FIXED..FIXED + 4)? != COOKIE {
            return None;
        }
        let mut question = Self {
            kind: Kind::Discover,
            mac: Mac(message[28..34].try_into().ok()?),
            uuid: None,
            arch: 0,
            is_ipxe: false,
            is_http: false,
            server: None,
            wanted: None,
            fixed: message[..FIXED].to_vec(),
            guid: Vec::new(),
        };
        let (mut kind, mut is_firmware) = (0, false);
        let mut rest = &message[FIXED + 4..];
        while let [code, tail @ ..] = rest {
            match *code {
                0 => rest = tail,
                option::END => break,
                code => {
                    let [length, tail @ ..] = tail else { break };
                    let value = tail.get(..usize::from(*length))?;
                    rest = &tail[usize::from(*length)..];
                    let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
                    match code {
                        option::KIND => kind = *value.first()?,
                        option::CLASS => {
                            question.is_http = value.starts_with(b"HTTPClient");
                            is_firmware |= question.is_http || value.starts_with(b"PXEClient");
                        }
                        option::USER_CLASS => {
                            question.is_ipxe |= value.windows(4).any(|word| word == b"iPXE")
                        }
                        option::IPXE => question.is_ipxe = true,
                        option::ARCH => question.arch = u16::from_be_bytes(value.get(..2)?.try_into().ok()?),
                        option::GUID if value.len() == 17 => {
                            // SMBIOS keeps the first three fields the other way round.
                            question.uuid = Some(Uuid::from_bytes_le(value[1..].try_into().ok()?));
                            question.guid = value.to_vec();
                        }
                        option::SERVER => question.server = address(),
                        option::WANTED => question.wanted = address(),
                        _ => {}
                    }
                }
            }
        }
        question.kind = match kind {
            1 => Kind::Discover,
            3 => Kind::Request,
            _ => return None,
        };
        (is_firmware || question.is_ipxe).then_some(question)
    }

    /// What this client is to load, given where our script and our files are.
    #[must_use]
    pub fn loader(&self, base: &str) -> Loader {
        match (self.is_ipxe, self.is_http, self.arch) {
            (true, ..) => Loader::Script(format!("{base}/boot.ipxe")),
            (_, true, _) => Loader::Http(format!("{base}/loader/{EFI_LOADER}")),
            (_, _, 7 | 9) => Loader::Tftp(EFI_LOADER),
            _ => Loader::Tftp(BIOS_LOADER),
        }
    }

    /// The answer of a full server.
    #[must_use]
    pub fn lease(&self, server: Ipv4Addr, address: Ipv4Addr, loader: &Loader) -> Vec<u8> {
        let mut answer = self.begin(server, loader);
        answer[16..20].copy_from_slice(&address.octets());
        put(&mut answer, option::MASK, &[255, 255, 255, 0]);
        put(&mut answer, option::ROUTER, &server.octets());
        put(&mut answer, option::LEASE, &LEASE.to_be_bytes());
        self.finish(answer, server, loader)
    }

    /// The answer of a proxy: boot data only.
    #[must_use]
    pub fn proxy(&self, server: Ipv4Addr, loader: &Loader) -> Vec<u8> {
        self.finish(self.begin(server, loader), server, loader)
    }

    fn begin(&self, server: Ipv4Addr, loader: &Loader) -> Vec<u8> {
        let mut answer = vec![0; FIXED];
        answer[..3].copy_from_slice(&[2, 1, 6]);
        answer[4..8].copy_from_slice(&self.fixed[4..8]);
        answer[10..12].copy_from_slice(&self.fixed[10..12]);
        answer[20..24].copy_from_slice(&server.octets());
        answer[24..44].copy_from_slice(&self.fixed[24..44]);
        // Old firmware reads the file's name only here.
        let file = name(loader).as_bytes();
        if file.len() < 128 {
            answer[108..108 + file.len()].copy_from_slice(file);
        }
        answer.extend(COOKIE);
        let kind = match self.kind {
            Kind::Discover => Reply::Offer,
            Kind::Request => Reply::Ack,
        };
        put(&mut answer, option::KIND, &[kind as u8]);
        put(&mut answer, option::SERVER, &server.octets());
        answer
    }

    fn finish(&self, mut answer: Vec<u8>, server: Ipv4Addr, loader: &Loader) -> Vec<u8> {
        let class: &[u8] = if self.is_http { b"HTTPClient" } else { b"PXEClient" };
        put(&mut answer, option::CLASS, class);
        put(&mut answer, option::TFTP_SERVER, server.to_string().as_bytes());
        put(&mut answer, option::FILE, name(loader).as_bytes());
        if !self.guid.is_empty() {
            put(&mut answer, option::GUID, &self.guid);
        }
        if !self.is_http {
            // Discovery control: no menus, no multicast, load the file that is named here.
            put(&mut answer, option::VENDOR, &[6, 1, 8, option::END]);
        }
        if self.is_ipxe {
            // iPXE need not wait for a proxy: it has been told everything.
            put(&mut answer, option::IPXE, &[0xb0, 1, 1]);
        }
        answer.push(option::END);
        answer.resize(answer.len().max(300), 0);
        answer
    }
}

fn name(loader: &Loader) -> &str {
    match loader {
        Loader::Script(url) | Loader::Http(url) => url,
        Loader::Tftp(file) => file,
    }
}

fn put(answer: &mut Vec<u8>, code: u8, value: &[u8]) {
    answer.extend([code, u8::try_from(value.len()).expect("options are short")]);
    answer.extend(value);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A question as firmware asks it.
    pub(crate) fn ask(mac: Mac, kind: u8, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; FIXED];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[4..8].copy_from_slice(b"xid!");
        message[28..34].copy_from_slice(&mac.0);
        message.extend(COOKIE);
        put(&mut message, option::KIND, &[kind]);
        for (code, value) in options {
            put(&mut message, *code, value);
        }
        message.push(option::END);
        message
    }

    const CLASS: (u8, &[u8]) = (60, b"PXEClient:Arch:00000:UNDI:002001");

    #[test]
    fn each_firmware_gets_what_it_can_run() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let loader = |options: &[(u8, &[u8])]| {
            Question::parse(&ask(mac, 1, options)).expect("a question").loader("http://10.0.0.2")
        };
        assert_eq!(loader(&[CLASS, (93, &[0, 0])]), Loader::Tftp(BIOS_LOADER));
        assert_eq!(loader(&[CLASS, (93, &[0, 7])]), Loader::Tftp(EFI_LOADER));
        let script = Loader::Script("http://10.0.0.2/boot.ipxe".into());
        assert_eq!(loader(&[CLASS, (77, b"iPXE")]), script);
        assert_eq!(loader(&[CLASS, (77, b"\x04iPXE"), (93, &[0, 7])]), script);
        assert_eq!(
            loader(&[(60, b"HTTPClient:Arch:00016"), (93, &[0, 16])]),
            Loader::Http("http://10.0.0.2/loader/ipxe.efi".into())
        );
        assert!(Question::parse(&ask(mac, 1, &[])).is_none(), "an operating system is not ours");
    }

    #[test]
    fn answers_are_what_firmware_reads() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let guid = [&[0][..], &uuid.to_bytes_le()].concat();
        let question = Question::parse(&ask(mac, 3, &[CLASS, (97, &guid)])).expect("a question");
        assert_eq!((question.uuid, question.kind), (Some(uuid), Kind::Request));
        let server = Ipv4Addr::new(10, 0, 0, 2);
        let loader = question.loader("http://10.0.0.2");
        let lease = question.lease(server, Ipv4Addr::new(10, 0, 0, 20), &loader);
        assert_eq!(
            (&lease[..3], &lease[4..8], &lease[16..20]),
            (&[2, 1, 6][..], &b"xid!"[..], &[10, 0, 0, 20][..])
        );
        assert_eq!(&lease[108..108 + BIOS_LOADER.len()], BIOS_LOADER.as_bytes());
        assert_eq!(lease[FIXED + 4..FIXED + 7], [53, 1, 5], "a request is acknowledged");
        let proxy = question.proxy(server, &loader);
        assert_eq!(&proxy[16..20], &[0; 4], "a proxy gives no address");
        assert!(proxy.windows(11).any(|window| window == b"\x3c\x09PXEClient"));
    }

    #[test]
    fn no_cut_question_is_more_than_nothing() {
        let whole = ask(Mac([2; 6]), 1, &[CLASS, (97, &[0; 17]), (77, b"iPXE")]);
        for end in 0..whole.len() {
            let _ = Question::parse(&whole[..end]);
        }
    }
}
