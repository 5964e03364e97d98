//! The journal against torn tails, broken bytes, its limit, and a writer that comes back.

use super::writer::files;
use super::*;

fn entry(number: u64, message: &str) -> Entry {
    Entry {
        realtime: 1_000_000 * number,
        monotonic: number,
        priority: 6,
        transport: Transport::Stdout,
        pid: 7,
        unit: format!("u{}.service", number % 2),
        identifier: "sh".into(),
        message: message.into(),
    }
}

fn messages(dir: &std::path::Path, filter: &Filter) -> Vec<String> {
    let mut found = Vec::new();
    Reader::new(dir).read(filter, |stored| found.push(stored.entry.message));
    found
}

#[test]
fn what_was_written_is_read_and_filtered() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut writer = Writer::open(Some(dir.path()), 1 << 20);
    for number in 0..4 {
        writer.append(&entry(number, &format!("m{number}")));
    }
    assert_eq!(messages(dir.path(), &Filter::default()), ["m0", "m1", "m2", "m3"]);
    let one = Filter { units: vec!["u1.service".into()], ..Filter::default() };
    assert_eq!(messages(dir.path(), &one), ["m1", "m3"]);
    let late = Filter { since: Some(2_000_000), ..Filter::default() };
    assert_eq!(messages(dir.path(), &late), ["m2", "m3"]);
    let tail: Vec<_> =
        Reader::new(dir.path()).tail(&Filter::default(), 2).into_iter().map(|s| s.entry).collect();
    assert_eq!(tail, [entry(2, "m2"), entry(3, "m3")]);
}

#[test]
fn a_torn_tail_is_cut_off_and_writing_goes_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut writer = Writer::open(Some(dir.path()), 1 << 20);
    writer.append(&entry(1, "whole"));
    writer.append(&entry(2, "torn"));
    drop(writer);
    let (_, path) = files(dir.path()).pop().expect("one file");
    let whole = std::fs::read(&path).expect("read");
    for cut in 1..30 {
        std::fs::write(&path, &whole[..whole.len() - cut]).expect("write");
        assert_eq!(messages(dir.path(), &Filter::default()), ["whole"], "{cut} bytes missing");
        let mut writer = Writer::open(Some(dir.path()), 1 << 20);
        writer.append(&entry(3, "next"));
        assert_eq!(messages(dir.path(), &Filter::default()), ["whole", "next"], "{cut} bytes missing");
    }
}

#[test]
fn a_flipped_bit_is_never_shown_as_a_record() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut writer = Writer::open(Some(dir.path()), 1 << 20);
    writer.append(&entry(1, "first"));
    writer.append(&entry(2, "second"));
    drop(writer);
    let (_, path) = files(dir.path()).pop().expect("one file");
    let good = std::fs::read(&path).expect("read");
    for at in HEADER..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).expect("write");
        let shown = messages(dir.path(), &Filter::default());
        assert!(shown.is_empty() || shown == ["first"], "byte {at}: {shown:?}");
    }
}

#[test]
fn the_oldest_goes_when_there_is_too_much() {
    let dir = tempfile::tempdir().expect("temp dir");
    let max = 256 * 1024;
    let mut writer = Writer::open(Some(dir.path()), max);
    let long = "x".repeat(1000);
    for number in 0..2000 {
        writer.append(&entry(number, &format!("{number} {long}")));
    }
    let total: u64 =
        files(dir.path()).iter().map(|(_, path)| std::fs::metadata(path).expect("meta").len()).sum();
    assert!(total <= max, "{total}");
    assert!(total > max / 2, "{total}");
    let shown = messages(dir.path(), &Filter::default());
    assert!(shown.last().expect("some").starts_with("1999 "));
    assert!(!shown[0].starts_with("0 "));
}

#[test]
fn a_reader_follows_a_writer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut writer = Writer::open(Some(dir.path()), 1 << 20);
    let mut reader = Reader::new(dir.path());
    let mut seen = Vec::new();
    for number in 0..3 {
        writer.append(&entry(number, &format!("m{number}")));
        reader.read(&Filter::default(), |stored| seen.push(stored.entry.message));
    }
    assert_eq!(seen, ["m0", "m1", "m2"]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = Entry::decode(&bytes);
    }

    #[test]
    fn any_entry_comes_back(unit in "\\PC{0,20}", message in "\\PC{0,100}", priority in 0u8..8) {
        let entry = Entry { unit, message, priority, ..entry(5, "") };
        let mut buffer = Vec::new();
        entry.encode(&mut buffer);
        proptest::prop_assert_eq!(Entry::decode(&buffer), Some((entry, buffer.len())));
    }
}
