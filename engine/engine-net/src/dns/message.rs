//! As much of DNS as answering one question takes.

use std::net::Ipv4Addr;

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const AAAA: u16 = 28;
const INTERNET: u16 = 1;
const HEADER: usize = 12;
/// Answers are trusted this long, seconds; Docker's figure.
const TTL: u32 = 600;
/// Most addresses put into an answer of 512 bytes.
const MOST: usize = 24;

/// A query's only question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Lower case, without the final dot.
    pub(super) name: String,
    pub(super) kind: u16,
    /// Where the question ends in the message.
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 0,
    ServerFailure = 2,
    NoSuchName = 3,
    Refused = 5,
}

/// The question of an ordinary query; `None` for anything we do not speak of.
pub(super) fn parse(message: &[u8]) -> Option<Question> {
    let head = message.get(..HEADER)?;
    let is_query = head[2] & 0xf8 == 0;
    if !is_query || u16::from_be_bytes([head[4], head[5]]) != 1 {
        return None;
    }
    let mut labels: Vec<String> = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => {
                let label = message.get(at..at + length)?;
                labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
                at += length;
            }
            // A question has nothing to point at.
            _ => return None,
        }
        if at > HEADER + 255 {
            return None;
        }
    }
    let rest = message.get(at..at + 4)?;
    let (kind, class) = (u16::from_be_bytes([rest[0], rest[1]]), u16::from_be_bytes([rest[2], rest[3]]));
    (class == INTERNET).then_some(Question { name: labels.join("."), kind, end: at + 4 })
}

/// The address a reverse question asks about.
pub(super) fn reverse_address(name: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = name.strip_suffix(".in-addr.arpa")?.split('.');
    for octet in octets.iter_mut().rev() {
        *octet = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

/// An answer with these records' contents, all of the question's kind.
pub(super) fn respond(query: &[u8], question: &Question, code: Code, records: &[Vec<u8>]) -> Vec<u8> {
    let records = &records[..records.len().min(MOST)];
    let mut out = query[..question.end].to_vec();
    out[2] = 0x80 | (query[2] & 1);
    out[3] = 0x80 | code as u8;
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    out[8..12].fill(0);
    for record in records {
        // A pointer to the name in the question.
        out.extend_from_slice(&[0xc0, HEADER as u8]);
        out.extend_from_slice(&question.kind.to_be_bytes());
        out.extend_from_slice(&INTERNET.to_be_bytes());
        out.extend_from_slice(&TTL.to_be_bytes());
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(record);
    }
    out
}

/// An answer without a question's name: for queries that could not be read.
pub(super) fn refuse(query: &[u8]) -> Option<Vec<u8>> {
    let mut out = query.get(..HEADER)?.to_vec();
    if out[2] & 0x80 != 0 {
        return None;
    }
    out[2] |= 0x80;
    out[3] = Code::Refused as u8;
    out[4..12].fill(0);
    Some(out)
}

/// A name as its labels.
pub(super) fn encode_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty() && label.len() < 64) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

#[cfg(test)]
pub(super) fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    out.extend(encode_name(name));
    out.extend(kind.to_be_bytes());
    out.extend(INTERNET.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_whatever_its_case() {
        let question = parse(&query("Web.Example", A)).unwrap();
        assert_eq!((question.name.as_str(), question.kind), ("web.example", A));
        assert_eq!(reverse_address("2.0.17.172.in-addr.arpa"), Some(Ipv4Addr::new(172, 17, 0, 2)));
        assert_eq!(reverse_address("0.17.172.in-addr.arpa"), None);
    }

    #[test]
    fn damaged_queries_are_no_questions() {
        let good = query("a.b", A);
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), None, "{length}");
        }
        let mut pointing = good.clone();
        pointing[12] = 0xc0;
        assert_eq!(parse(&pointing), None);
        let mut endless = good[..12].to_vec();
        for _ in 0..200 {
            endless.extend(b"\x01a");
        }
        assert_eq!(parse(&endless), None);
    }

    #[test]
    fn an_answer_keeps_id_and_question() {
        let query = query("db", A);
        let question = parse(&query).unwrap();
        let answer = respond(&query, &question, Code::Ok, &[vec![10, 0, 0, 2]]);
        assert_eq!(answer[..4], [0x12, 0x34, 0x81, 0x80]);
        assert_eq!(answer[12..question.end], query[12..question.end]);
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 2]));
    }
}
