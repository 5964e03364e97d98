//! The command line: `ip [FLAGS] OBJECT [show | get] [FILTERS]`, every word as short as iproute2
//! allows it.

use std::net::IpAddr;

use crate::IpError;

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Address,
    Link,
    Neighbour,
    Route,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    OneLine,
    Brief,
    Json,
    BriefJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Four,
    Six,
}

/// A call that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) object: Object,
    pub(crate) form: Form,
    pub(crate) family: Option<Family>,
    pub(crate) dev: Option<String>,
    /// Only links that are up.
    pub(crate) up: bool,
    /// Only addresses of this scope.
    pub(crate) scope: Option<String>,
    /// Only links of this kind.
    pub(crate) kind: Option<String>,
    /// Only the route of `ip route show default`, or of that network.
    pub(crate) to: Option<String>,
    /// The address of `ip route get`.
    pub(crate) get: Option<IpAddr>,
    /// Table of routes, all if it is 0.
    pub(crate) table: u32,
}

const MAIN_TABLE: u32 = 254;
const USAGE: &str =
    "Usage: ip [ -4 | -6 ] [ -o | -br | -j ] { addr | link | route | neigh } [ show ] [ dev NAME ]";
const NO_CHANGE: &str = "this `ip` shows the network and changes nothing; \
    write a .network file below /etc/systemd/network, or deliver one with the machine's config";

impl Call {
    pub(crate) fn parse(words: &[String]) -> Result<Self, IpError> {
        let usage = |text: &str| IpError::Usage(text.to_owned());
        let mut call = Self {
            object: Object::Address,
            form: Form::Text,
            family: None,
            dev: None,
            up: false,
            scope: None,
            kind: None,
            to: None,
            get: None,
            table: MAIN_TABLE,
        };
        let mut words = words.iter().map(String::as_str).peekable();
        let (mut one_line, mut brief, mut json) = (false, false, false);
        while let Some(flag) = words.next_if(|word| word.starts_with('-')) {
            match flag.trim_start_matches('-') {
                "4" => call.family = Some(Family::Four),
                "6" => call.family = Some(Family::Six),
                "f" | "family" => match words.next() {
                    Some("inet") => call.family = Some(Family::Four),
                    Some("inet6") => call.family = Some(Family::Six),
                    _ => return Err(usage("the families are inet and inet6")),
                },
                "o" | "oneline" => one_line = true,
                "br" | "brief" => brief = true,
                "j" | "json" => json = true,
                // Neither colours nor pretty JSON say more.
                "c" | "color" | "color=never" | "color=auto" | "p" | "pretty" | "N" | "Numeric" => {}
                other => return Err(usage(&format!("Option \"-{other}\" is unknown, try \"ip -help\"."))),
            }
        }
        call.form = match (json, brief, one_line) {
            (true, true, _) => Form::BriefJson,
            (true, false, _) => Form::Json,
            (_, true, _) => Form::Brief,
            (_, _, true) => Form::OneLine,
            _ => Form::Text,
        };
        let object = words.next().ok_or_else(|| usage(USAGE))?;
        call.object = [
            ("address", Object::Address),
            ("link", Object::Link),
            ("route", Object::Route),
            ("neighbor", Object::Neighbour),
            ("neighbour", Object::Neighbour),
        ]
        .into_iter()
        .find(|(name, _)| name.starts_with(object))
        .map(|(_, object)| object)
        .ok_or_else(|| match object {
            "help" => usage(USAGE),
            _ => usage(&format!(
                "Object \"{object}\" is not shown by this `ip`: there are addr, link, route and neigh"
            )),
        })?;
        let verb = words.peek().copied().unwrap_or("show");
        if ["show", "list", "lst", "ls"].iter().any(|name| name.starts_with(verb)) {
            words.next();
        } else if call.object == Object::Route && "get".starts_with(verb) {
            words.next();
            let word = match words.next() {
                Some("to") => words.next(),
                word => word,
            };
            let address = word.map(|word| word.split('/').next().unwrap_or(word));
            let address = address.and_then(|word| word.parse().ok());
            call.get = Some(address.ok_or_else(|| usage("`ip route get` wants an address"))?);
        } else if ["add", "append", "change", "delete", "flush", "replace", "restore", "save", "set"]
            .iter()
            .any(|name| name.starts_with(verb))
            && verb.len() > 1
        {
            return Err(usage(NO_CHANGE));
        }
        call.filters(words)?;
        Ok(call)
    }

    fn filters<'w>(&mut self, mut words: impl Iterator<Item = &'w str>) -> Result<(), IpError> {
        let missing = |word: &str| IpError::Usage(format!("`{word}` wants a word behind it"));
        while let Some(word) = words.next() {
            let mut value = || words.next().map(ToOwned::to_owned).ok_or_else(|| missing(word));
            match word {
                "dev" => self.dev = Some(value()?),
                "up" => self.up = true,
                "scope" => self.scope = Some(value()?),
                "type" => self.kind = Some(value()?),
                "table" => {
                    self.table = match value()?.as_str() {
                        "all" | "0" => 0,
                        "main" => MAIN_TABLE,
                        "local" => 255,
                        "default" => 253,
                        number => number.parse().map_err(|_| {
                            IpError::Usage(format!(
                                "argument \"{number}\" is wrong: table id value is invalid"
                            ))
                        })?,
                    }
                }
                "to" | "exact" if self.object == Object::Route => self.to = Some(value()?),
                other if self.object == Object::Route && self.get.is_none() => {
                    self.to = Some(other.to_owned())
                }
                other if self.object != Object::Route && self.dev.is_none() => {
                    self.dev = Some(other.to_owned());
                }
                other => {
                    return Err(IpError::Usage(format!(
                        "Error: either \"to\" is duplicate, or \"{other}\" is a garbage."
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether things of this family are to be shown.
    pub(crate) fn takes(&self, family: Family) -> bool {
        self.family.is_none_or(|wanted| wanted == family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Call, IpError> {
        let words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        Call::parse(&words)
    }

    #[test]
    fn words_may_be_short() {
        let call = parse("-o -4 a s dev eth0").expect("it parses");
        assert_eq!(
            (call.object, call.form, call.dev.as_deref()),
            (Object::Address, Form::OneLine, Some("eth0"))
        );
        assert_eq!(parse("r").expect("it parses").object, Object::Route);
        assert_eq!(parse("-br l").expect("it parses").form, Form::Brief);
        assert_eq!(parse("addr show eth0").expect("it parses").dev.as_deref(), Some("eth0"));
        assert_eq!(parse("route get 1.1.1.1").expect("it parses").get, Some(IpAddr::from([1, 1, 1, 1])));
        assert_eq!(parse("route show default").expect("it parses").to.as_deref(), Some("default"));
    }

    #[test]
    fn changes_are_refused_in_words() {
        let error = parse("addr add 10.0.0.1/8 dev eth0").expect_err("it changes something");
        assert!(error.to_string().contains(".network file"), "{error}");
        assert!(parse("netns list").is_err());
    }
}
