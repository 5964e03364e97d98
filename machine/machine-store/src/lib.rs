//! Where machines are kept on disk: layout, locks, atomic writes, images.
