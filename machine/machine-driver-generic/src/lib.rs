//! Machines that exist already: reached over ssh, or only by a URL.
