//! Assembles releases: kernel, initramfs, root image and manifest. Starts nothing and installs nothing.
