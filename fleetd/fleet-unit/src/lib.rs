//! fleet unit options: first code follows.
