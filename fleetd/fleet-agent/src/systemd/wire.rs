//! D-Bus messages as bytes, as far as systemd is asked with them: calls with texts, lists of texts and
//! flags; answers, errors and signals with what they say. Both ends are on one machine, so numbers are
//! in its own byte order. The specification's chapters: "Type System", "Message Protocol".

/// What a call says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument<'a> {
    Text(&'a str),
    Texts(&'a [&'a str]),
    Flag(bool),
}

/// The kinds of messages.
pub(super) const CALL: u8 = 1;
pub(super) const ANSWER: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

const ORDER: u8 = if cfg!(target_endian = "big") { b'B' } else { b'l' };
const VERSION: u8 = 1;
/// Kind, flags, lengths, serial number, and the length of the fields.
const FIXED: usize = 16;
/// The protocol's own limit.
const LONGEST: usize = 128 << 20;

/// Names of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Bytes that are no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no D-Bus message: {0}")]
pub(super) struct Malformed(&'static str);

/// To whom a call goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callee<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
}

/// A call, ready to be sent.
pub(super) fn call(serial: u32, callee: Callee<'_>, method: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    let (mut body, mut signature) = (Writer::default(), String::new());
    for argument in arguments {
        match argument {
            Argument::Text(text) => {
                signature.push('s');
                body.text(text);
            }
            Argument::Texts(texts) => {
                signature.push_str("as");
                body.array(4, |body| texts.iter().for_each(|text| body.text(text)));
            }
            Argument::Flag(flag) => {
                signature.push('b');
                body.number(u32::from(*flag));
            }
        }
    }
    let mut message = Writer(vec![ORDER, CALL, 0, VERSION]);
    message.number(u32::try_from(body.0.len()).expect("what is asked is short"));
    message.number(serial);
    message.array(8, |fields| {
        fields.field(PATH, "o", callee.path);
        fields.field(DESTINATION, "s", callee.destination);
        fields.field(INTERFACE, "s", callee.interface);
        fields.field(MEMBER, "s", method);
        if !signature.is_empty() {
            fields.align(8);
            fields.0.push(SIGNATURE);
            fields.signature("g");
            fields.signature(&signature);
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// A message that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// The call that it answers.
    pub(super) answers: u32,
    pub(super) path: String,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// The first message of these bytes and its length; nothing when it is not whole yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        if bytes.len() < FIXED {
            return Ok(None);
        }
        if bytes[0] != ORDER || bytes[3] != VERSION {
            return Err(Malformed("its byte order or version is another"));
        }
        let number =
            |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let (body, fields) = (number(4), number(12));
        if body > LONGEST || fields > LONGEST {
            return Err(Malformed("it is longer than any may be"));
        }
        let body_at = (FIXED + fields).next_multiple_of(8);
        let Some(body) = bytes.get(body_at..body_at + body) else { return Ok(None) };
        let mut message = Self { kind: bytes[1], body: body.to_vec(), ..Self::default() };
        let mut reader = Reader { bytes: &bytes[..FIXED + fields], at: FIXED };
        while reader.at < reader.bytes.len() {
            message.learn_field(&mut reader)?;
        }
        Ok(Some((message, body_at + body.len())))
    }

    fn learn_field(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        reader.align(8)?;
        let name = reader.byte()?;
        let kind = reader.signature()?;
        match kind.as_str() {
            "u" => {
                let number = reader.number()?;
                if name == REPLY_SERIAL {
                    self.answers = number;
                }
            }
            "s" | "o" => {
                let text = reader.text()?;
                match name {
                    PATH => self.path = text,
                    MEMBER => self.member = text,
                    ERROR_NAME => self.error = text,
                    _ => {}
                }
            }
            "g" => {
                let signature = reader.signature()?;
                if name == SIGNATURE {
                    self.signature = signature;
                }
            }
            _ => return Err(Malformed("a header field has a type that none has")),
        }
        Ok(())
    }

    /// Reads what it says, which must be of these types.
    pub(super) fn said(&self, signature: &str) -> Result<Reader<'_>, Malformed> {
        if self.signature == signature {
            return Ok(Reader { bytes: &self.body, at: 0 });
        }
        Err(Malformed("it says something of another type"))
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).expect("what is asked is short"));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).expect("signatures are short"));
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// An array's length does not count what aligns its first element.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let begins = self.0.len();
        elements(self);
        let length = u32::try_from(self.0.len() - begins).expect("what is asked is short");
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn field(&mut self, name: u8, kind: &str, value: &str) {
        self.align(8);
        self.0.push(name);
        self.signature(kind);
        self.text(value);
    }
}

/// Reads values one after the other.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        Ok(u32::from_ne_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    /// A text, or the path of an object.
    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let length = self.number()? as usize;
        self.ended(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.byte()?);
        self.ended(length)
    }

    fn ended(&mut self, length: usize) -> Result<String, Malformed> {
        let text = String::from_utf8(self.take(length)?.to_vec());
        if self.byte()? != 0 {
            return Err(Malformed("a text does not end where it should"));
        }
        text.map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// The elements of an array of structures.
    pub(super) fn structures<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let length = self.number()? as usize;
        self.align(8)?;
        let end = self.at + length;
        let mut all = Vec::new();
        while self.at < end {
            self.align(8)?;
            all.push(one(self)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Callee<'_> = Callee { destination: "a.b", path: "/a/b", interface: "a.b.C" };

    /// Calls are read as they were written, whatever surrounds them.
    #[test]
    fn what_is_written_is_read() {
        let arguments = [Argument::Texts(&["one", "", "drei"]), Argument::Flag(true), Argument::Text("é")];
        let bytes = call(7, TO, "Do", &arguments);
        for whole in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..whole]), Ok(None), "{whole} of {}", bytes.len());
        }
        let two = [&bytes[..], &call(8, TO, "Other", &[])].concat();
        let (message, length) = Message::parse(&two).expect("parses").expect("is whole");
        assert_eq!((length, message.kind, message.path.as_str()), (bytes.len(), CALL, "/a/b"));
        assert_eq!(message.member, "Do");
        let mut said = message.said("asbs").expect("as asked");
        assert_eq!(said.number(), Ok(25), "the bytes of the list");
        for text in ["one", "", "drei"] {
            assert_eq!(said.text().as_deref(), Ok(text));
        }
        assert_eq!((said.number(), said.text().as_deref()), (Ok(1), Ok("é")));
        assert_eq!(said.byte(), Err(Malformed("it ends too early")));
        let (other, length) = Message::parse(&two[length..]).expect("parses").expect("is whole");
        assert_eq!((other.member.as_str(), length), ("Other", two.len() - bytes.len()));
    }

    /// No bytes make it panic, and a changed byte is never read beyond the message.
    #[test]
    fn damage_is_told() {
        let bytes = call(7, TO, "Do", &[Argument::Texts(&["one", "two"])]);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                if let Ok(Some((message, length))) = Message::parse(&bytes) {
                    assert!(length <= bytes.len());
                    let texts = message.said("as").and_then(|mut said| said.structures(Reader::text));
                    drop(texts);
                }
            }
        }
        assert_eq!(Message::parse(&[0; FIXED]), Err(Malformed("its byte order or version is another")));
    }
}
