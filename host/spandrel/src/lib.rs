//! The program: command line, configuration, wiring, signals, health, metrics, own logs.
//! Read in the order of a run: [`cli`], [`config`], [`app`].

#![forbid(unsafe_code)]

pub mod config;
