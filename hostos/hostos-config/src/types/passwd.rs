//! Users and groups as a config declares them.

use super::section;

section! {
    /// Users and groups.
    pub struct Passwd {
        /// Groups, made before users.
        pub groups: Vec<PasswdGroup>,
        /// Users.
        pub users: Vec<PasswdUser>,
    }

    /// A group.
    pub struct PasswdGroup {
        /// Number; the next free one unless set.
        pub gid: Option<i64>,
        /// Name.
        pub name: String,
        /// As in /etc/gshadow.
        pub password_hash: Option<String>,
        /// Make it, or see that it is gone (3.2).
        pub should_exist: Option<bool>,
        /// Number from the system range.
        pub system: Option<bool>,
    }

    /// A user.
    pub struct PasswdUser {
        /// Comment field.
        pub gecos: Option<String>,
        /// Groups besides the primary one.
        pub groups: Vec<String>,
        /// `/home/NAME` unless set.
        pub home_dir: Option<String>,
        /// Name.
        pub name: String,
        /// Leave the home directory out.
        pub no_create_home: Option<bool>,
        /// Leave lastlog and faillog alone.
        pub no_log_init: Option<bool>,
        /// Make no group of the same name.
        pub no_user_group: Option<bool>,
        /// As in /etc/shadow; logins by password are off unless set.
        pub password_hash: Option<String>,
        /// Name or number of the primary group.
        pub primary_group: Option<String>,
        /// Public keys, one a line in `authorized_keys.d/ignition`.
        pub ssh_authorized_keys: Vec<String>,
        /// Login shell.
        pub shell: Option<String>,
        /// Make it, or see that it is gone (3.2).
        pub should_exist: Option<bool>,
        /// Number from the system range, no home.
        pub system: Option<bool>,
        /// Number; the next free one unless set.
        pub uid: Option<i64>,
    }
}
