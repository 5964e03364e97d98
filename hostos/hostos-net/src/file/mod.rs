//! `.network` files, as systemd-networkd reads them: which links they are for, and what those become.
//!
//! Pure. Understood are `[Match]`, `[Link]`, `[Network]`, `[Address]`, `[Route]`, `[DHCPv4]` (or
//! `[DHCP]`) and `[IPv6AcceptRA]` with the options that machines need; any other option is a
//! [`Warning`], never an error: a machine with half a network is better than one without.

mod address;
mod matching;
mod sections;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use address::{Prefix, StaticAddress, StaticRoute};
pub use matching::{LinkFacts, Match};

use self::sections::{Setting, settings};

/// Something in a file that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line, from 1.
    pub line: usize,
    /// One sentence.
    pub message: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// What the links that a file is for become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// Its name, such as `10-static.network`.
    pub name: String,
    /// Which links.
    pub matching: Match,
    /// `Unmanaged=`: leave them alone.
    pub unmanaged: bool,
    /// `RequiredForOnline=`.
    pub required: bool,
    /// `MTUBytes=`.
    pub mtu: Option<u32>,
    /// `MACAddress=` of `[Link]`.
    pub mac: Option<Vec<u8>>,
    /// Whether to ask for an IPv4 address.
    pub dhcp4: bool,
    /// Addresses of their own.
    pub addresses: Vec<StaticAddress>,
    /// Routes, default gateways among them.
    pub routes: Vec<StaticRoute>,
    /// Name servers, before those that are learnt.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub domains: Vec<String>,
    /// Time servers.
    pub ntp: Vec<String>,
    /// Whether an IPv6 address is made from the link alone.
    pub link_local: bool,
    /// Whether routers may give it addresses; nothing leaves it as the kernel has it.
    pub accept_ra: Option<bool>,
    /// What is taken from, and told to, a DHCP server.
    pub dhcp: DhcpSettings,
    /// What is taken from routers.
    pub ra_dns: bool,
}

/// `[DHCPv4]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpSettings {
    /// Take its name servers.
    pub use_dns: bool,
    /// Take its routes.
    pub use_routes: bool,
    /// Take its time servers.
    pub use_ntp: bool,
    /// Take the name it gives the machine.
    pub use_hostname: bool,
    /// Take its domain for searching.
    pub use_domains: bool,
    /// Take the MTU it names.
    pub use_mtu: bool,
    /// Metric of its routes.
    pub route_metric: Option<u32>,
    /// Tell it the machine's name.
    pub send_hostname: bool,
    /// This name instead of the machine's.
    pub hostname: Option<String>,
}

impl Default for DhcpSettings {
    fn default() -> Self {
        Self {
            use_dns: true,
            use_routes: true,
            use_ntp: true,
            use_hostname: true,
            // networkd does not by default, but what a machine without files does is to search there.
            use_domains: true,
            use_mtu: false,
            route_metric: None,
            send_hostname: true,
            hostname: None,
        }
    }
}

impl NetworkFile {
    /// What becomes of a link that no file is for: it asks for an address.
    #[must_use]
    pub fn automatic() -> Self {
        Self {
            name: "automatic".to_owned(),
            matching: Match::default(),
            unmanaged: false,
            required: true,
            mtu: None,
            mac: None,
            dhcp4: true,
            addresses: Vec::new(),
            routes: Vec::new(),
            dns: Vec::new(),
            domains: Vec::new(),
            ntp: Vec::new(),
            link_local: true,
            accept_ra: Some(true),
            dhcp: DhcpSettings::default(),
            ra_dns: true,
        }
    }

    /// Reads a file. Drop-ins are texts that come after the first.
    #[must_use]
    pub fn parse(name: &str, texts: &[&str]) -> (Self, Vec<Warning>) {
        let mut warnings = Vec::new();
        let mut file = Self {
            name: name.to_owned(),
            dhcp4: false,
            accept_ra: None,
            dhcp: DhcpSettings { use_domains: false, ..DhcpSettings::default() },
            ..Self::automatic()
        };
        for text in texts {
            for section in settings(text, &mut warnings) {
                match section.name.as_str() {
                    "Address" => file.addresses.extend(address::address(&section.settings, &mut warnings)),
                    "Route" => file.routes.extend(address::route(&section.settings, &mut warnings)),
                    name => {
                        for setting in &section.settings {
                            if let Err(message) = file.set(name, setting) {
                                warnings.push(Warning { line: setting.line, message });
                            }
                        }
                    }
                }
            }
        }
        if file.matching.is_empty() {
            let message = "[Match] names no link, so the file is for none; `Name=*` means all".to_owned();
            warnings.push(Warning { line: 1, message });
        }
        (file, warnings)
    }

    fn set(&mut self, section: &str, setting: &Setting) -> Result<(), String> {
        match section {
            "Match" => self.matching.set(setting),
            "Link" => self.set_link(setting),
            "Network" => self.set_network(setting),
            "DHCPv4" | "DHCP" => self.set_dhcp(setting),
            "IPv6AcceptRA" => match setting.key.as_str() {
                "UseDNS" => setting.boolean().map(|yes| self.ra_dns = yes),
                _ => Err(setting.unknown(section)),
            },
            other => Err(format!("[{other}] is not understood; `{}` is not done", setting.key)),
        }
    }

    fn set_link(&mut self, setting: &Setting) -> Result<(), String> {
        match setting.key.as_str() {
            "MACAddress" => {
                self.mac =
                    Some(matching::mac(&setting.value).ok_or_else(|| setting.bad("a hardware address"))?);
            }
            "MTUBytes" => {
                let bytes = unit_file::parse_size(&setting.value).and_then(|size| u32::try_from(size).ok());
                let sane = bytes.filter(|bytes| (68..=65_535).contains(bytes));
                self.mtu = Some(sane.ok_or_else(|| setting.bad("a number of bytes from 68 to 65535"))?);
            }
            "Unmanaged" => self.unmanaged = setting.boolean()?,
            "RequiredForOnline" => {
                // States such as `degraded` are shades of yes.
                self.required = unit_file::parse_bool(&setting.value).unwrap_or(true);
            }
            _ => return Err(setting.unknown("Link")),
        }
        Ok(())
    }

    fn set_network(&mut self, setting: &Setting) -> Result<(), String> {
        match setting.key.as_str() {
            "Description" => {}
            "DHCP" => {
                self.dhcp4 = match setting.value.as_str() {
                    "ipv4" | "v4" => true,
                    "ipv6" | "v6" => {
                        return Err("DHCP for IPv6 is not spoken; routers may give addresses".into());
                    }
                    "both" => true,
                    _ => setting.boolean()?,
                };
            }
            "Address" => {
                let address: Prefix = setting
                    .value
                    .parse()
                    .map_err(|()| setting.bad("an address with its prefix, such as 10.0.0.2/24"))?;
                self.addresses.push(StaticAddress::plain(address));
            }
            "Gateway" => {
                let gateway = setting.value.parse().map_err(|_| setting.bad("an address"))?;
                self.routes.push(StaticRoute::default_through(gateway));
            }
            "DNS" => setting.list(&mut self.dns, |word| {
                // A port or a name for TLS may follow; neither is used here.
                let bare = word.split(['#', '%']).next().unwrap_or_default().trim_matches(['[', ']']);
                bare.parse().ok()
            })?,
            "Domains" => setting.list(&mut self.domains, |word| {
                let word = word.trim_start_matches('~').trim_matches('.');
                crate::is_name(word).then(|| word.to_owned())
            })?,
            "NTP" => setting.list(&mut self.ntp, |word| Some(word.to_owned()))?,
            "LinkLocalAddressing" => {
                self.link_local = match setting.value.as_str() {
                    "ipv6" => true,
                    "ipv4" => {
                        self.link_local = false;
                        return Err("link-local addresses of IPv4 are not made".to_owned());
                    }
                    "fallback" | "ipv4-fallback" => true,
                    _ => setting.boolean()?,
                };
            }
            "IPv6AcceptRA" | "IPv6AcceptRouterAdvertisements" => self.accept_ra = Some(setting.boolean()?),
            _ => return Err(setting.unknown("Network")),
        }
        Ok(())
    }

    fn set_dhcp(&mut self, setting: &Setting) -> Result<(), String> {
        let dhcp = &mut self.dhcp;
        match setting.key.as_str() {
            "UseDNS" => dhcp.use_dns = setting.boolean()?,
            "UseRoutes" => dhcp.use_routes = setting.boolean()?,
            "UseNTP" => dhcp.use_ntp = setting.boolean()?,
            "UseHostname" => dhcp.use_hostname = setting.boolean()?,
            "UseDomains" => dhcp.use_domains = setting.value == "route" || setting.boolean()?,
            "UseMTU" => dhcp.use_mtu = setting.boolean()?,
            "SendHostname" => dhcp.send_hostname = setting.boolean()?,
            "RouteMetric" => {
                dhcp.route_metric = Some(setting.value.parse().map_err(|_| setting.bad("a number"))?);
            }
            "Hostname" => {
                let name = setting.value.as_str();
                let good = crate::is_name(name) && name.len() <= 64;
                dhcp.hostname = Some(good.then(|| name.to_owned()).ok_or_else(|| setting.bad("a hostname"))?);
            }
            // The client names itself by its hardware address in any case.
            "ClientIdentifier" if setting.value == "mac" => {}
            _ => return Err(setting.unknown("DHCPv4")),
        }
        Ok(())
    }
}
