//! The bytes of a GUID partition table: two headers with 128 entries each, and the protective MBR.
//!
//! A table whose first copy is damaged is read from its second; both are written. Tables with another
//! number or size of entries are left alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use uuid::Uuid;

use super::partitions::{Entry, Room, Table};

const SIGNATURE: &[u8] = b"EFI PART";
const HEADER_SIZE: usize = 92;
const ENTRIES: u32 = 128;
const ENTRY_SIZE: usize = 128;
const ENTRIES_BYTES: usize = ENTRIES as usize * ENTRY_SIZE;
const MIB: u64 = 1 << 20;

/// A whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gpt {
    pub(super) table: Table,
    guid: Uuid,
    sectors: u64,
    sector: u64,
}

/// Why there is no table to use.
#[derive(Debug)]
pub(super) enum ReadError {
    /// There is none.
    None,
    /// There is one that we should not touch.
    Unusual(&'static str),
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Gpt {
    /// An empty table for a disk of so many sectors of that size.
    pub(super) fn new(sectors: u64, sector: u64) -> Self {
        Self { table: Table::new(), guid: Uuid::new_v4(), sectors, sector }
    }

    /// Reads the first good copy.
    pub(super) fn read(file: &File, sectors: u64, sector: u64) -> Result<Self, ReadError> {
        match Self::read_copy(file, 1, sectors, sector) {
            Err(ReadError::None) if sectors > 1 => Self::read_copy(file, sectors - 1, sectors, sector),
            other => other,
        }
    }

    fn read_copy(file: &File, at: u64, sectors: u64, sector: u64) -> Result<Self, ReadError> {
        let mut header = [0; HEADER_SIZE];
        match file.read_exact_at(&mut header, at * sector) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ReadError::None),
            other => other?,
        }
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let mut blank = header;
        blank[16..20].fill(0);
        if &header[..8] != SIGNATURE
            || word(12) as usize != HEADER_SIZE
            || crc32fast::hash(&blank) != word(16)
        {
            return Err(ReadError::None);
        }
        if word(80) != ENTRIES || word(84) as usize != ENTRY_SIZE {
            return Err(ReadError::Unusual("it has another number or size of entries than 128"));
        }
        let mut entries = vec![0; ENTRIES_BYTES];
        file.read_exact_at(&mut entries, long(72).saturating_mul(sector))?;
        if crc32fast::hash(&entries) != word(88) {
            return Err(ReadError::None);
        }
        let used = entries.chunks(ENTRY_SIZE).zip(1..).filter(|(bytes, _)| bytes[..16] != [0; 16]);
        let table = used.map(|(bytes, number)| (number, entry_of(bytes))).collect();
        Ok(Self { table, guid: guid_of(&header[56..72]), sectors, sector })
    }

    /// The sectors between the two copies.
    pub(super) fn room(&self) -> Room {
        let first = 2 + self.entry_sectors();
        Room { first, last: self.sectors.saturating_sub(first), per_mib: MIB / self.sector }
    }

    fn entry_sectors(&self) -> u64 {
        (ENTRIES_BYTES as u64).div_ceil(self.sector)
    }

    /// Writes both copies, the second first, so that one of them is whole at any time.
    pub(super) fn write(&self, file: &File, with_mbr: bool) -> io::Result<()> {
        let mut entries = vec![0; ENTRIES_BYTES];
        for (number, entry) in &self.table {
            let at = (*number as usize - 1) * ENTRY_SIZE;
            entries[at..at + ENTRY_SIZE].copy_from_slice(&bytes_of(entry));
        }
        let last = self.sectors - 1;
        for (at, other, entries_at) in [(last, 1, last - self.entry_sectors()), (1, last, 2)] {
            file.write_all_at(&entries, entries_at * self.sector)?;
            file.write_all_at(&self.header(at, other, entries_at, &entries), at * self.sector)?;
            file.sync_data()?;
        }
        if with_mbr { file.write_all_at(&self.protective_mbr(), 446) } else { Ok(()) }
    }

    fn header(&self, at: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let room = self.room();
        let mut header = vec![0; HEADER_SIZE];
        header[..8].copy_from_slice(SIGNATURE);
        header[56..72].copy_from_slice(&self.guid.to_bytes_le());
        for (offset, word) in [
            (8, 0x0001_0000),
            (12, HEADER_SIZE as u32),
            (80, ENTRIES),
            (84, ENTRY_SIZE as u32),
            (88, crc32fast::hash(entries)),
        ] {
            header[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
        }
        for (offset, long) in [(24, at), (32, other), (40, room.first), (48, room.last), (72, entries_at)] {
            header[offset..offset + 8].copy_from_slice(&long.to_le_bytes());
        }
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(usize::try_from(self.sector).unwrap_or(HEADER_SIZE), 0);
        header
    }

    /// The part of the MBR behind its boot code: one partition over all, so that old tools keep away.
    fn protective_mbr(&self) -> [u8; 66] {
        let mut mbr = [0; 66];
        let sectors = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX);
        mbr[..8].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
        mbr[8..12].copy_from_slice(&1_u32.to_le_bytes());
        mbr[12..16].copy_from_slice(&sectors.to_le_bytes());
        mbr[64..].copy_from_slice(&[0x55, 0xaa]);
        mbr
    }
}

/// Whether a disk has the partitions of a plain MBR.
pub(super) fn has_mbr_partitions(device: &Path) -> io::Result<bool> {
    let mut mbr = [0; 512];
    match File::open(device)?.read_exact_at(&mut mbr, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let types = [450, 466, 482, 498].map(|at| mbr[at]);
    Ok(mbr[510..] == [0x55, 0xaa] && types.iter().any(|kind| !matches!(kind, 0 | 0xee)))
}

fn guid_of(bytes: &[u8]) -> Uuid {
    bytes.try_into().map_or_else(|_| Uuid::nil(), Uuid::from_bytes_le)
}

fn entry_of(bytes: &[u8]) -> Entry {
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    let units: Vec<u16> = bytes[56..].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    let upper = |guid: Uuid| guid.to_string().to_ascii_uppercase();
    Entry {
        first: long(32),
        last: long(40),
        flags: long(48),
        label: String::from_utf16_lossy(&units[..end]),
        type_guid: upper(guid_of(&bytes[..16])),
        guid: upper(guid_of(&bytes[16..32])),
    }
}

fn bytes_of(entry: &Entry) -> [u8; ENTRY_SIZE] {
    let mut bytes = [0; ENTRY_SIZE];
    let guid = |text: &str| Uuid::parse_str(text).unwrap_or_else(|_| Uuid::new_v4()).to_bytes_le();
    bytes[..16].copy_from_slice(&guid(&entry.type_guid));
    bytes[16..32].copy_from_slice(&guid(&entry.guid));
    for (at, long) in [(32, entry.first), (40, entry.last), (48, entry.flags)] {
        bytes[at..at + 8].copy_from_slice(&long.to_le_bytes());
    }
    for (room, unit) in bytes[56..].chunks_mut(2).zip(entry.label.encode_utf16()) {
        room.copy_from_slice(&unit.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (File, Gpt) {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(16 * MIB).expect("it is sparse");
        let mut gpt = Gpt::new(16 * MIB / 512, 512);
        let entry = Entry {
            first: 2048,
            last: 4095,
            flags: 4,
            label: "wörld".into(),
            type_guid: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".into(),
            guid: "01234567-89AB-CDEF-EDCB-A98765432101".into(),
        };
        gpt.table.insert(7, entry);
        gpt.write(&file, true).expect("it is written");
        (file, gpt)
    }

    fn read(file: &File) -> Result<Gpt, ReadError> {
        Gpt::read(file, 16 * MIB / 512, 512)
    }

    #[test]
    fn what_is_written_is_read_back_with_its_numbers() {
        let (file, gpt) = written();
        assert_eq!(read(&file).expect("it is whole"), gpt);
    }

    #[test]
    fn one_damaged_copy_does_no_harm_and_two_are_no_table() {
        for damaged in [512_u64, 1024] {
            let (file, gpt) = written();
            file.write_all_at(b"damage", damaged + 20).expect("it is written");
            assert_eq!(read(&file).expect("the other copy is whole"), gpt);
            file.write_all_at(b"damage", 16 * MIB - 512 + 20).expect("it is written");
            assert!(matches!(read(&file), Err(ReadError::None)));
        }
    }
}
