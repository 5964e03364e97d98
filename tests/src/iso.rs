//! An ISO 9660 image of one file, as a cloud attaches its config drive.

const SECTOR: usize = 2048;
/// The first sixteen sectors are nobody's, then come the descriptors.
const ROOT: usize = 18;
const DIRECTORY: u8 = 2;

/// The image with this label, and in it a file below nested folders.
#[must_use]
pub fn iso(label: &str, folders: &[&str], name: &str, content: &[u8]) -> Vec<u8> {
    let file = ROOT + folders.len() + 1;
    let mut image = vec![0; (file + content.len().div_ceil(SECTOR)) * SECTOR];
    let sectors = image.len() / SECTOR;
    let mut put = |sector: usize, bytes: &[u8]| {
        image[sector * SECTOR..sector * SECTOR + bytes.len()].copy_from_slice(bytes);
    };
    put(16, &descriptor(label, sectors));
    put(17, b"\xFFCD001\x01");
    put(file, content);
    for (depth, sector) in (ROOT..file).enumerate() {
        let above = sector.saturating_sub(1).max(ROOT);
        let child = match folders.get(depth) {
            Some(folder) => record(folder.as_bytes(), sector + 1, SECTOR, DIRECTORY),
            None => record(name.as_bytes(), file, content.len(), 0),
        };
        let itself = record(&[0], sector, SECTOR, DIRECTORY);
        put(sector, &[itself, record(&[1], above, SECTOR, DIRECTORY), child].concat());
    }
    image
}

fn descriptor(label: &str, sectors: usize) -> Vec<u8> {
    let mut bytes = b"\x01CD001\x01\0".to_vec();
    bytes.extend(format!("{:32}{label:32}", "").into_bytes());
    bytes.resize(80, 0);
    bytes.extend(both_orders(sectors));
    bytes.resize(120, 0);
    // One volume of one, in blocks of a sector.
    bytes.extend([1, 0, 0, 1, 1, 0, 0, 1, 0, 8, 8, 0]);
    bytes.resize(156, 0);
    bytes.extend(record(&[0], ROOT, SECTOR, DIRECTORY));
    bytes
}

/// An entry of a folder.
fn record(name: &[u8], sector: usize, length: usize, flags: u8) -> Vec<u8> {
    let size = (33 + name.len()).next_multiple_of(2);
    let mut bytes = vec![u8::try_from(size).expect("names are short"), 0];
    bytes.extend(both_orders(sector));
    bytes.extend(both_orders(length));
    bytes.extend([126, 1, 1, 0, 0, 0, 0, flags, 0, 0, 1, 0, 0, 1]);
    bytes.push(u8::try_from(name.len()).expect("names are short"));
    bytes.extend(name);
    bytes.resize(size, 0);
    bytes
}

/// As this format writes numbers: little endian, then big endian.
fn both_orders(number: usize) -> [u8; 8] {
    let number = u32::try_from(number).expect("images are small");
    let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
    [little[0], little[1], little[2], little[3], big[0], big[1], big[2], big[3]]
}
