//! An empty qcow2 disk (version 3, clusters of 64 KiB), written without qemu-img.
//!
//! Layout: header, refcount table, one refcount block, the first-level table. Everything else is
//! unallocated and reads as zeroes.

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes that one entry of the first-level table covers.
const PER_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
const HEADER_LENGTH: u32 = 104;

/// The bytes of an empty disk of `size` bytes, rounded up to whole sectors.
#[must_use]
pub fn empty(size: u64) -> Vec<u8> {
    let size = size.div_ceil(512) * 512;
    let entries = size.div_ceil(PER_ENTRY).max(1);
    let table_clusters = (entries * 8).div_ceil(CLUSTER);
    let clusters = 3 + table_clusters;
    let mut image = vec![0; usize::try_from(clusters * CLUSTER).expect("the tables fit in memory")];
    let mut header = Vec::with_capacity(HEADER_LENGTH as usize);
    header.extend(b"QFI\xfb");
    header.extend(3u32.to_be_bytes());
    header.extend(0u64.to_be_bytes()); // backing file: none
    header.extend(0u32.to_be_bytes());
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size.to_be_bytes());
    header.extend(0u32.to_be_bytes()); // encryption: none
    header.extend(u32::try_from(entries).expect("a disk is below 2 EiB").to_be_bytes());
    header.extend((3 * CLUSTER).to_be_bytes()); // first-level table
    header.extend(CLUSTER.to_be_bytes()); // refcount table
    header.extend(1u32.to_be_bytes()); // its clusters
    header.extend(0u32.to_be_bytes()); // snapshots
    header.extend(0u64.to_be_bytes());
    header.extend(0u64.to_be_bytes()); // incompatible features
    header.extend(0u64.to_be_bytes()); // compatible
    header.extend(0u64.to_be_bytes()); // autoclear
    header.extend(4u32.to_be_bytes()); // refcounts of 16 bits
    header.extend(HEADER_LENGTH.to_be_bytes());
    image[..header.len()].copy_from_slice(&header);
    let table = usize::try_from(CLUSTER).expect("a cluster fits");
    image[table..table + 8].copy_from_slice(&(2 * CLUSTER).to_be_bytes());
    for cluster in 0..usize::try_from(clusters).expect("few clusters") {
        let at = 2 * table + 2 * cluster;
        image[at..at + 2].copy_from_slice(&1u16.to_be_bytes());
    }
    image
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn qemu_finds_no_fault_in_an_empty_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        for size in [1, 20_000_000_000, 9 << 40] {
            let path = dir.path().join("disk.qcow2");
            std::fs::write(&path, empty(size)).expect("written");
            let output = match Command::new("qemu-img").arg("check").arg(&path).output() {
                Ok(output) => output,
                Err(error) => {
                    must_run::skip(format_args!("qemu-img does not run: {error}"));
                    return;
                }
            };
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("No errors"), "{size}: {said}");
            let info = Command::new("qemu-img").args(["info", "--output=json"]).arg(&path).output();
            let info = String::from_utf8_lossy(&info.expect("it ran before").stdout).into_owned();
            let virtual_size = format!("\"virtual-size\": {}", size.div_ceil(512) * 512);
            assert!(info.contains(&virtual_size), "{info}");
        }
    }
}
