//! Zig-zag variable-length integers.
