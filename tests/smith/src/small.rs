//! A plugin that uses everything and is as small as possible. It is written by hand, for the
//! contract's canonical form. Of three spans it renames the first, drops the second and holds the
//! third.

use anyhow::Result;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::Contract;

/// The source of the plugin. The numbers are addresses in memory: 16 texts, 64 to 256 lists, 512
/// the result of `configure`, 640 the results of the other calls. From 4096 on there is data that
/// the host passes in.
const TEXT: &str = r#"
(module
  (import "spandrel:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "spandrel:plugin/host@0.1.0" "random" (func $random (result i64)))
  (import "spandrel:plugin/host@0.1.0" "count" (func $count (param i32 i32 i64)))
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 4096))
  (table 4 funcref)
  (elem (i32.const 0) $quiet $loud)
  (type $said (func))
  (data (i32.const 16) "small1.0.0reason")
  (data (i32.const 64) "\1a\00\00\00\06\00\00\00")
  (data (i32.const 96) "\00\02\01")
  (data (i32.const 128) "\02\00\00\00\00\00\00\00\00\00\00\00\05\00\00\00")
  (data (i32.const 512)
    "\00\00\00\00\10\00\00\00\05\00\00\00\15\00\00\00\05\00\00\00"
    "\00\00\00\00\00\00\00\00\01\00\00\00\01\00\00\00"
    "\40\00\00\00\01\00\00\00\60\00\00\00\01\00\00\00")
  (func $quiet)
  (func $loud (call $log (i32.const 2) (i32.const 16) (i32.const 5)))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.const 1))))
    (local.get $at))
  (func (export "spandrel:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
    (i32.const 512))
  (func $none (result i32)
    (memory.fill (i32.const 640) (i32.const 0) (i32.const 96))
    (i32.const 640))
  (func (export "spandrel:plugin/lifecycle@0.1.0#tick") (result i32) (call $none))
  (func (export "spandrel:plugin/lifecycle@0.1.0#drain") (param i32 i64) (result i32) (call $none))
  (func (export "spandrel:plugin/lifecycle@0.1.0#snapshot") (result i32) (call $none))
  (func (export "spandrel:plugin/lifecycle@0.1.0#restore") (param i32 i32 i32) (result i32)
    (call $none))
  (func (export "spandrel:plugin/traces@0.1.0#process") (param i64 i32 i32 i32) (result i32)
    (local $at i32)
    (drop (call $none))
    (global.set $top (i32.const 4096))
    (if (i32.eqz (local.get 2)) (then (return (i32.const 640))))
    (call_indirect (type $said) (i32.wrap_i64 (i64.and (call $random) (i64.const 1))))
    (call $count (i32.const 16) (i32.const 5) (i64.extend_i32_u (local.get 2)))
    (loop $through
      (i32.store8 (i32.add (local.get $at) (i32.const 1024))
        (i32.load8_u (i32.add (local.get 1) (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $through (i32.lt_u (local.get $at) (local.get 2))))
    (i32.store (i32.const 640) (i32.const 96))
    (i32.store (i32.const 644) (i32.const 3))
    (i32.store (i32.const 648) (i32.const 128))
    (i32.store (i32.const 652) (i32.const 4))
    (i32.store (i32.const 656) (i32.const 16))
    (i32.store (i32.const 660) (i32.const 5))
    (i32.const 640)))
"#;

/// Makes a component from a module with the exports of the contract.
pub(crate) fn wrapped(mut module: Vec<u8>, (resolve, world): &Contract) -> Result<Vec<u8>> {
    embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8)?;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(false).module(&module)?.encode()
}

/// Makes the small plugin.
pub(crate) fn component(contract: &Contract) -> Result<Vec<u8>> {
    wrapped(wat::parse_str(TEXT)?, contract)
}
