//! The errors of etcd's API, each with the gRPC code and the text that clients match. One table, no logic.

use tonic::{Code, Status};

macro_rules! errors {
    ($($kind:ident, $code:ident, $text:literal;)*) => {
        /// What went wrong, as an etcd client knows it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($kind,)* }

        impl ErrorKind {
            /// Every kind, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The gRPC code etcd answers with.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$kind => Code::$code,)* }
            }

            /// etcd's text, which clients compare.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }

            /// A stable name, used inside the replicated log's replies.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }
        }
    };
}

errors! {
    EmptyKey, InvalidArgument, "etcdserver: key is not provided";
    KeyNotFound, InvalidArgument, "etcdserver: key not found";
    ValueProvided, InvalidArgument, "etcdserver: value is provided";
    LeaseProvided, InvalidArgument, "etcdserver: lease is provided";
    TooManyOps, InvalidArgument, "etcdserver: too many operations in txn request";
    DuplicateKey, InvalidArgument, "etcdserver: duplicate key given in txn request";
    InvalidClientApiVersion, InvalidArgument, "etcdserver: invalid client api version";
    InvalidSortOption, InvalidArgument, "etcdserver: invalid sort option";
    Compacted, OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FutureRev, OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    NoSpace, ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    LeaseNotFound, NotFound, "etcdserver: requested lease not found";
    LeaseExist, FailedPrecondition, "etcdserver: lease already exists";
    LeaseTtlTooLarge, OutOfRange, "etcdserver: too large lease TTL";
    WatchCanceled, Cancelled, "etcdserver: watch canceled";
    MemberExist, FailedPrecondition, "etcdserver: member ID already exist";
    PeerUrlExist, FailedPrecondition, "etcdserver: Peer URLs already exists";
    MemberNotEnoughStarted, FailedPrecondition, "etcdserver: re-configuration failed due to not enough started members";
    MemberBadUrls, InvalidArgument, "etcdserver: given member URLs are invalid";
    MemberNotFound, NotFound, "etcdserver: member not found";
    MemberNotLearner, FailedPrecondition, "etcdserver: can only promote a learner member";
    MemberLearnerNotReady, FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    TooManyLearners, FailedPrecondition, "etcdserver: too many learner members in cluster";
    ClusterIdMismatch, FailedPrecondition, "etcdserver: cluster ID mismatch";
    RequestTooLarge, InvalidArgument, "etcdserver: request is too large";
    TooManyRequests, ResourceExhausted, "etcdserver: too many requests";
    RootUserNotExist, FailedPrecondition, "etcdserver: root user does not exist";
    RootRoleNotExist, FailedPrecondition, "etcdserver: root user does not have root role";
    UserAlreadyExist, FailedPrecondition, "etcdserver: user name already exists";
    UserEmpty, InvalidArgument, "etcdserver: user name is empty";
    UserNotFound, FailedPrecondition, "etcdserver: user name not found";
    RoleAlreadyExist, FailedPrecondition, "etcdserver: role name already exists";
    RoleNotFound, FailedPrecondition, "etcdserver: role name not found";
    RoleEmpty, InvalidArgument, "etcdserver: role name is empty";
    AuthFailed, InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    PermissionNotGiven, InvalidArgument, "etcdserver: permission not given";
    PermissionDenied, PermissionDenied, "etcdserver: permission denied";
    RoleNotGranted, FailedPrecondition, "etcdserver: role is not granted to the user";
    PermissionNotGranted, FailedPrecondition, "etcdserver: permission is not granted to the role";
    AuthNotEnabled, FailedPrecondition, "etcdserver: authentication is not enabled";
    InvalidAuthToken, Unauthenticated, "etcdserver: invalid auth token";
    InvalidAuthMgmt, InvalidArgument, "etcdserver: invalid auth management";
    AuthOldRevision, InvalidArgument, "etcdserver: revision of auth store is old";
    NoLeader, Unavailable, "etcdserver: no leader";
    NotLeader, FailedPrecondition, "etcdserver: not leader";
    LeaderChanged, Unavailable, "etcdserver: leader changed";
    NotCapable, Unavailable, "etcdserver: not capable";
    Stopped, Unavailable, "etcdserver: server stopped";
    Timeout, Unavailable, "etcdserver: request timed out";
    TimeoutDueToLeaderFail, Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    TimeoutDueToConnectionLost, Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    Unhealthy, Unavailable, "etcdserver: unhealthy cluster";
    Corrupt, DataLoss, "etcdserver: corrupt cluster";
    NotSupportedForLearner, FailedPrecondition, "etcdserver: rpc not supported for learner";
    BadLeaderTransferee, FailedPrecondition, "etcdserver: bad leader transferee";
    ClusterVersionUnavailable, FailedPrecondition, "etcdserver: cluster version not found during downgrade";
    WrongDowngradeVersionFormat, InvalidArgument, "etcdserver: wrong downgrade target version format";
    InvalidDowngradeTargetVersion, InvalidArgument, "etcdserver: invalid downgrade target version";
    DowngradeInProcess, FailedPrecondition, "etcdserver: cluster has a downgrade job in progress";
    NoInflightDowngrade, FailedPrecondition, "etcdserver: no inflight downgrade job";
    Canceled, Cancelled, "etcdserver: request canceled";
    DeadlineExceeded, DeadlineExceeded, "etcdserver: context deadline exceeded";
    ElectionNotLeader, Unknown, "election: not leader";
    ElectionNoLeader, Unknown, "election: no leader";
}

/// A name that is not in the table: a newer member wrote it.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an error this version knows; is this member older than the others?")]
pub struct UnknownError(pub String);

impl std::str::FromStr for ErrorKind {
    type Err = UnknownError;

    fn from_str(name: &str) -> Result<Self, UnknownError> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| UnknownError(name.into()))
    }
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.text())
    }
}

impl std::error::Error for ErrorKind {}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind.code(), kind.text())
    }
}

impl ErrorKind {
    /// The kind a server's status stands for, by its text as etcd's own clients do it.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.text() == status.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_find_their_way_back() {
        for kind in ErrorKind::ALL {
            assert_eq!(kind.name().parse::<ErrorKind>().expect("known"), *kind);
            assert_eq!(ErrorKind::of(&Status::from(*kind)), Some(*kind), "two kinds share a text");
        }
        assert!("Nonsense".parse::<ErrorKind>().is_err());
    }

    #[test]
    fn texts_that_old_clients_match_are_etcds() {
        let pinned = [
            (ErrorKind::Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
            (ErrorKind::LeaseNotFound, 5, "etcdserver: requested lease not found"),
            (ErrorKind::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
            (ErrorKind::NoLeader, 14, "etcdserver: no leader"),
            (ErrorKind::DuplicateKey, 3, "etcdserver: duplicate key given in txn request"),
        ];
        for (kind, code, text) in pinned {
            assert_eq!((kind.code() as i32, kind.text()), (code, text));
        }
    }
}
