//! Has e2fsck, the elder's own judge, look at filesystems of many sizes.

use std::fs::File;
use std::process::Command;

use ext4_format::{FormatError, Options, format};

fn options() -> Options {
    Options { label: "rmachine-state".into(), uuid: *b"0123456789abcdef", time: 1_793_491_200 }
}

#[test]
fn e2fsck_finds_nothing_to_complain_about() {
    let Ok(checker) = ["/sbin/e2fsck", "/usr/sbin/e2fsck"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .ok_or_else(|| must_run::skip("e2fsck is not installed"))
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    const MIB: u64 = 1024 * 1024;
    for size in
        [16 * MIB, 64 * MIB, 128 * MIB, 129 * MIB, 200 * MIB, 1000 * MIB, 10_000 * MIB + 12345, 200_000 * MIB]
    {
        let path = dir.path().join("disk");
        let mut file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        format(&mut file, size, &options()).unwrap();
        drop(file);
        let output = Command::new(checker).args(["-f", "-n"]).arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{size}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("rmachine-state"), "{text}");
    }
}

#[test]
fn what_is_too_small_or_badly_named_is_refused_untouched() {
    let mut file = tempfile::tempfile().unwrap();
    assert!(matches!(format(&mut file, 1024 * 1024, &options()), Err(FormatError::TooSmall(_))));
    let long = Options { label: "a label that is too long".into(), ..options() };
    assert!(matches!(format(&mut file, 1 << 30, &long), Err(FormatError::Label(_))));
    assert_eq!(file.metadata().unwrap().len(), 0);
}
