//! How members find each other: tokens, files, node lists.
