//! Tests the command line against golden text, and against an admin API on real sockets.

mod arguments;
mod text;
