//! An ssh client for machines: keys, pinned host keys, commands, terminals, files.
