//! The `halley` command.

fn main() {}
