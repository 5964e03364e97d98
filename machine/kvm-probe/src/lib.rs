//! Tells whether /dev/kvm runs code at the speed of hardware.
