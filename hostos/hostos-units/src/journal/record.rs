//! One record as bytes.

/// How a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Stdout,
    Kernel,
    Supervisor,
    Syslog,
}

impl Transport {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Kernel => "kernel",
            Self::Supervisor => "journal",
            Self::Syslog => "syslog",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Microseconds since 1970.
    pub(crate) realtime: u64,
    /// Microseconds since the kernel started.
    pub(crate) monotonic: u64,
    /// 0 emergency to 7 debug.
    pub(crate) priority: u8,
    pub(crate) transport: Transport,
    pub(crate) pid: u32,
    /// Unit it belongs to, or empty.
    pub(crate) unit: String,
    /// Program that said it.
    pub(crate) identifier: String,
    pub(crate) message: String,
}

/// Bytes before a body.
pub(crate) const PREFIX: usize = 8;
/// No body is longer.
pub(crate) const LONGEST: usize = 1 << 20;

impl Entry {
    /// Adds the record to the buffer.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; PREFIX]);
        buffer.extend_from_slice(&self.realtime.to_le_bytes());
        buffer.extend_from_slice(&self.monotonic.to_le_bytes());
        let transport = match self.transport {
            Transport::Stdout => 0,
            Transport::Kernel => 1,
            Transport::Supervisor => 2,
            Transport::Syslog => 3,
        };
        buffer.extend_from_slice(&[self.priority, transport]);
        buffer.extend_from_slice(&self.pid.to_le_bytes());
        for text in [&self.unit, &self.identifier] {
            let text = cut(text, 1024);
            buffer.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
            buffer.extend_from_slice(text.as_bytes());
        }
        let message = cut(&self.message, LONGEST - 4096);
        buffer.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_le_bytes());
        buffer.extend_from_slice(message.as_bytes());
        let body = &buffer[start + PREFIX..];
        let (length, sum) = (u32::try_from(body.len()).unwrap_or(0), crc32fast::hash(body));
        buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
        buffer[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    }

    /// The record at the start of the bytes and its length with the prefix; nothing if it is torn
    /// or broken.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let length = usize::try_from(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
        let sum = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
        let body =
            bytes.get(PREFIX..PREFIX.checked_add(length)?).filter(|_| (1..=LONGEST).contains(&length))?;
        if crc32fast::hash(body) != sum {
            return None;
        }
        let mut rest = body;
        let mut take = |count: usize| {
            let (head, tail) = rest.split_at_checked(count)?;
            rest = tail;
            Some(head)
        };
        let realtime = u64::from_le_bytes(take(8)?.try_into().ok()?);
        let monotonic = u64::from_le_bytes(take(8)?.try_into().ok()?);
        let [priority, transport] = take(2)?.try_into().ok()?;
        let pid = u32::from_le_bytes(take(4)?.try_into().ok()?);
        let mut short = || {
            let length = u16::from_le_bytes(take(2)?.try_into().ok()?);
            Some(String::from_utf8_lossy(take(usize::from(length))?).into_owned())
        };
        let (unit, identifier) = (short()?, short()?);
        let length = usize::try_from(u32::from_le_bytes(take(4)?.try_into().ok()?)).ok()?;
        let message = String::from_utf8_lossy(take(length)?).into_owned();
        let transport = match transport {
            0 => Transport::Stdout,
            1 => Transport::Kernel,
            3 => Transport::Syslog,
            _ => Transport::Supervisor,
        };
        let entry = Self { realtime, monotonic, priority, transport, pid, unit, identifier, message };
        Some((entry, PREFIX + body.len()))
    }
}

/// The text, cut at a character boundary.
fn cut(text: &str, longest: usize) -> &str {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
