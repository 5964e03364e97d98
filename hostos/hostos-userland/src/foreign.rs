//! Programs of the uutils project, under the names that they are known by.

use std::ffi::OsString;
use std::process::ExitCode;

use uucore::locale::setup_localization;

use crate::Program;

/// A program that speaks through uutils' own message files, those of `$messages`.
macro_rules! gnu {
    ($name:literal, $messages:literal, $main:path) => {
        Program {
            name: $name,
            run: |args| {
                prepare($messages);
                finish($main(args.into_iter()))
            },
        }
    };
}

/// Sorted by name.
pub(crate) const PROGRAMS: &[Program] = &[
    gnu!("[", "test", uu_test::uumain),
    gnu!("arch", "arch", uu_arch::uumain),
    gnu!("base32", "base32", uu_base32::uumain),
    gnu!("base64", "base64", uu_base64::uumain),
    gnu!("basename", "basename", uu_basename::uumain),
    gnu!("cat", "cat", uu_cat::uumain),
    gnu!("chgrp", "chgrp", uu_chgrp::uumain),
    gnu!("chmod", "chmod", uu_chmod::uumain),
    gnu!("chown", "chown", uu_chown::uumain),
    gnu!("chroot", "chroot", uu_chroot::uumain),
    gnu!("cksum", "cksum", uu_cksum::uumain),
    gnu!("comm", "comm", uu_comm::uumain),
    gnu!("cp", "cp", uu_cp::uumain),
    gnu!("cut", "cut", uu_cut::uumain),
    gnu!("date", "date", uu_date::uumain),
    gnu!("dd", "dd", uu_dd::uumain),
    gnu!("df", "df", uu_df::uumain),
    gnu!("dirname", "dirname", uu_dirname::uumain),
    gnu!("du", "du", uu_du::uumain),
    gnu!("echo", "echo", uu_echo::uumain),
    gnu!("egrep", "grep", uu_grep::uumain),
    gnu!("env", "env", uu_env::uumain),
    gnu!("expand", "expand", uu_expand::uumain),
    gnu!("expr", "expr", uu_expr::uumain),
    gnu!("false", "false", uu_false::uumain),
    gnu!("fgrep", "grep", uu_grep::uumain),
    Program { name: "find", run: find },
    gnu!("fold", "fold", uu_fold::uumain),
    gnu!("grep", "grep", uu_grep::uumain),
    gnu!("groups", "groups", uu_groups::uumain),
    gnu!("head", "head", uu_head::uumain),
    gnu!("hostname", "hostname", uu_hostname::uumain),
    gnu!("id", "id", uu_id::uumain),
    gnu!("install", "install", uu_install::uumain),
    gnu!("join", "join", uu_join::uumain),
    gnu!("kill", "kill", uu_kill::uumain),
    gnu!("link", "link", uu_link::uumain),
    gnu!("ln", "ln", uu_ln::uumain),
    gnu!("ls", "ls", uu_ls::uumain),
    gnu!("md5sum", "md5sum", uu_md5sum::uumain),
    gnu!("mkdir", "mkdir", uu_mkdir::uumain),
    gnu!("mkfifo", "mkfifo", uu_mkfifo::uumain),
    gnu!("mknod", "mknod", uu_mknod::uumain),
    gnu!("mktemp", "mktemp", uu_mktemp::uumain),
    gnu!("mv", "mv", uu_mv::uumain),
    gnu!("nice", "nice", uu_nice::uumain),
    gnu!("nl", "nl", uu_nl::uumain),
    gnu!("nohup", "nohup", uu_nohup::uumain),
    gnu!("nproc", "nproc", uu_nproc::uumain),
    gnu!("od", "od", uu_od::uumain),
    gnu!("paste", "paste", uu_paste::uumain),
    gnu!("printenv", "printenv", uu_printenv::uumain),
    gnu!("printf", "printf", uu_printf::uumain),
    gnu!("pwd", "pwd", uu_pwd::uumain),
    gnu!("readlink", "readlink", uu_readlink::uumain),
    gnu!("realpath", "realpath", uu_realpath::uumain),
    gnu!("rm", "rm", uu_rm::uumain),
    gnu!("rmdir", "rmdir", uu_rmdir::uumain),
    Program { name: "sed", run: sed },
    gnu!("seq", "seq", uu_seq::uumain),
    gnu!("sha1sum", "sha1sum", uu_sha1sum::uumain),
    gnu!("sha256sum", "sha256sum", uu_sha256sum::uumain),
    gnu!("sha512sum", "sha512sum", uu_sha512sum::uumain),
    gnu!("shuf", "shuf", uu_shuf::uumain),
    gnu!("sleep", "sleep", uu_sleep::uumain),
    gnu!("sort", "sort", uu_sort::uumain),
    gnu!("split", "split", uu_split::uumain),
    gnu!("stat", "stat", uu_stat::uumain),
    gnu!("sync", "sync", uu_sync::uumain),
    gnu!("tac", "tac", uu_tac::uumain),
    gnu!("tail", "tail", uu_tail::uumain),
    gnu!("tee", "tee", uu_tee::uumain),
    gnu!("test", "test", uu_test::uumain),
    gnu!("timeout", "timeout", uu_timeout::uumain),
    gnu!("touch", "touch", uu_touch::uumain),
    gnu!("tr", "tr", uu_tr::uumain),
    gnu!("true", "true", uu_true::uumain),
    gnu!("truncate", "truncate", uu_truncate::uumain),
    gnu!("tty", "tty", uu_tty::uumain),
    gnu!("uname", "uname", uu_uname::uumain),
    gnu!("uniq", "uniq", uu_uniq::uumain),
    gnu!("unlink", "unlink", uu_unlink::uumain),
    gnu!("uptime", "uptime", uu_uptime::uumain),
    gnu!("wc", "wc", uu_wc::uumain),
    gnu!("whoami", "whoami", uu_whoami::uumain),
    Program { name: "xargs", run: xargs },
    gnu!("yes", "yes", uu_yes::uumain),
];

fn prepare(messages: &str) {
    uucore::panic::preserve_inherited_sigpipe();
    uucore::panic::mute_sigpipe_panic();
    // Without its messages a program still works, it only explains itself badly.
    let _ = setup_localization(messages);
}

fn finish(code: i32) -> ExitCode {
    use std::io::Write;
    if std::io::stdout().flush().is_err() && code == 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn sed(args: Vec<OsString>) -> ExitCode {
    prepare("sed");
    finish(::sed::sed::uumain(crate::sed::with_closed_blocks(args).into_iter()))
}

fn find(args: Vec<OsString>) -> ExitCode {
    with_text(&args, |args| findutils::find::find_main(args, &findutils::find::StandardDependencies::new()))
}

fn xargs(args: Vec<OsString>) -> ExitCode {
    with_text(&args, findutils::xargs::xargs_main)
}

/// These two take text only.
fn with_text(args: &[OsString], main: impl FnOnce(&[&str]) -> i32) -> ExitCode {
    uucore::panic::mute_sigpipe_panic();
    let Some(texts) = args.iter().map(|arg| arg.to_str()).collect::<Option<Vec<_>>>() else {
        eprintln!("an argument is not UTF-8, which this program cannot read");
        return ExitCode::FAILURE;
    };
    finish(main(&texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(PROGRAMS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
