//! Machines as QEMU processes of this user.
