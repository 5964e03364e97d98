//! Docker Remote API shapes: first code follows.
