//! Sandbox of a module: limits of memory and instructions, and the imports it may use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use floe::memory::{MemoryAccount, MemoryReservation};
use wasmi::{
    AsContextMut as _, Caller, Config, EnforcedLimits, Engine, Error, ExternType, Linker, Memory, Module,
    ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, TrapCode, TypedFunc, TypedResumableCall, Val,
    WasmParams, WasmResults,
};

/// Import module of Rust's standard library on WebAssembly.
const WASI: &str = "wasi_snapshot_preview1";

/// WASI `success`.
const DONE: i32 = 0;
/// WASI `badf`: no such descriptor.
const BAD_FILE: i32 = 8;
/// WASI `notsup`.
const NOT_SUPPORTED: i32 = 58;

/// Table entries of a module: more than any compiler emits.
const TABLE_ENTRIES: usize = 100_000;

/// Bytes per page of WebAssembly memory.
const PAGE: u64 = 65_536;

/// Bytes of one piece of a WASI write: an address and a length.
const PIECE_LEN: u32 = 8;

/// Tables of a module.
const TABLES: usize = 16;

/// Largest size of a decompressed module in bytes.
pub(super) const MAX_MODULE_LEN: usize = 64 << 20;

/// A refused request for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryRefused {
    pub(super) requested: u64,
    pub(super) max: u64,
}

/// Instructions between two looks whether the client has left.
const SLICE: u64 = 20_000_000;

/// Instructions that a call of the host costs, and each byte that it reads or writes.
const HOST_CALL: u64 = 100;

/// Host state of an instance.
#[derive(Debug)]
pub(super) struct Host {
    /// Address and length of the output that the module reported.
    pub(super) output: Option<(u32, u32)>,
    limits: StoreLimits,
    memory_limit: usize,
    /// Pays for memory that grows.
    account: MemoryAccount,
    /// Covers the memory and the tables of the instance.
    room: MemoryReservation,
    /// Instructions that the current call may still use, besides those in the store.
    fuel: u64,
    /// Set once the client has left.
    cancelled: Arc<AtomicBool>,
    random: u64,
}

impl Host {
    /// Creates the host state. `room` covers the initial memory.
    pub(super) fn new(
        memory_limit: usize,
        account: MemoryAccount,
        room: MemoryReservation,
        cancelled: Arc<AtomicBool>,
    ) -> Self {
        let limits = store_limits(room.bytes());
        Self { output: None, limits, memory_limit, account, room, fuel: 0, cancelled, random: seed() }
    }

    /// Returns the limits of the next growth. The size that the module wants is not known here, so all that it may have is
    /// reserved, as far as there is memory. [`settle`] returns what it did not take.
    pub(super) fn limits(&mut self) -> &mut dyn ResourceLimiter {
        let mut missing = self.memory_limit.saturating_add(INSTANCE_BYTES).saturating_sub(self.room.bytes());
        while missing >= LEAST_GROWTH {
            if let Some(more) = self.account.try_reserve(missing) {
                self.room.add(more);
                break;
            }
            missing /= 2;
        }
        let covered = self.room.bytes().saturating_sub(INSTANCE_BYTES);
        self.limits = store_limits(covered.min(self.memory_limit));
        &mut self.limits
    }

    /// Reserves memory for a copy of the output.
    pub(super) fn reserve_output(&self, bytes: usize) -> Option<MemoryReservation> {
        self.account.try_reserve(bytes)
    }
}

/// Limits of a store. Memory growth past the limit traps, because modules handle a failed growth in ways of their own.
fn store_limits(memory: usize) -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(memory)
        .table_elements(TABLE_ENTRIES)
        .memories(1)
        .tables(TABLES)
        .instances(1)
        .trap_on_grow_failure(true)
        .build()
}

/// Returns the reserved memory that an instance does not have.
pub(super) fn settle(store: &mut Store<Host>, memory: Memory) {
    let size = memory.data_size(&*store);
    store.data_mut().room.shrink_to(size.saturating_add(INSTANCE_BYTES));
}

/// Gives a call its instructions.
pub(super) fn refuel(store: &mut Store<Host>, fuel: u64) {
    store.data_mut().fuel = fuel;
    let _ = set_slice(store, 0);
}

/// Moves the next slice of instructions to the store. Returns whether it has `needed` then.
fn set_slice(store: &mut Store<Host>, needed: u64) -> bool {
    let left = store.get_fuel().unwrap_or(0);
    let host = store.data_mut();
    let slice = host.fuel.min(SLICE.max(needed));
    host.fuel -= slice;
    // Fuel metering is enabled in the configuration, which is the only condition of this call.
    let _ = store.set_fuel(left.saturating_add(slice));
    left.saturating_add(slice) >= needed && slice > 0
}

/// Calls a function of the module, in slices: a client that leaves takes the call with it.
pub(super) fn call<P, R>(store: &mut Store<Host>, function: TypedFunc<P, R>, arguments: P) -> Result<R, Error>
where
    P: WasmParams,
    R: WasmResults,
{
    let mut running = function.call_resumable(&mut *store, arguments)?;
    loop {
        running = match running {
            TypedResumableCall::Finished(result) => return Ok(result),
            TypedResumableCall::HostTrap(failed) => {
                let error = failed.host_error();
                return Err(error.as_trap_code().map_or_else(|| Error::new(error.to_string()), Error::from));
            }
            TypedResumableCall::OutOfFuel(paused) => {
                if store.data().cancelled.load(Ordering::Relaxed) {
                    return Err(Error::new("the client has left"));
                }
                if !set_slice(store, paused.required_fuel()) {
                    return Err(Error::from(TrapCode::OutOfFuel));
                }
                paused.resume(&mut *store)?
            }
        };
    }
}

/// Charges a call of the host: its work is not counted by the interpreter.
fn charge(caller: &mut Caller<'_, Host>, bytes: u64) -> Result<(), Error> {
    let cost = HOST_CALL.saturating_add(bytes);
    let left = caller.get_fuel()?;
    let from_slice = cost.min(left);
    let host = caller.data_mut();
    let Some(fuel) = host.fuel.checked_sub(cost - from_slice) else {
        return Err(Error::from(TrapCode::OutOfFuel));
    };
    host.fuel = fuel;
    caller.as_context_mut().set_fuel(left - from_slice)
}

/// Least memory that a growth is worth reserving for.
const LEAST_GROWTH: usize = 1 << 16;

/// Memory of an instance besides that of the module: its stack, its tables, its exports.
const INSTANCE_BYTES: usize = 128 * 1024;

/// Returns the memory that an instance of a module has from the start, which may not be above the limit.
pub(super) fn initial_memory(module: &Module, limit: usize) -> Result<usize, MemoryRefused> {
    let max = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut total = INSTANCE_BYTES;
    for export in module.exports() {
        if let ExternType::Memory(memory) = export.ty() {
            let requested = memory.minimum().saturating_mul(PAGE);
            if requested > max {
                return Err(MemoryRefused { requested, max });
            }
            total = total.saturating_add(usize::try_from(requested).unwrap_or(usize::MAX));
        }
    }
    Ok(total)
}

/// Compiles a module. Each module has its own engine, which owns the code, so both are freed together.
pub(super) fn compile(wasm: &[u8]) -> Result<Module, Error> {
    let mut config = Config::default();
    config.consume_fuel(true).enforced_limits(EnforcedLimits::default()).ignore_custom_sections(true);
    Module::new(&Engine::new(&config), wasm)
}

/// Links the imports of the module. Instantiation reports missing ones.
pub(super) fn imports(module: &Module) -> Result<Linker<Host>, Error> {
    let mut linker = Linker::new(module.engine());
    linker.allow_shadowing(true);
    let mut has_output = false;
    for import in module.imports() {
        let ExternType::Func(signature) = import.ty() else { continue };
        if import.name() == "copy_records" {
            has_output = true;
            linker.func_wrap(
                import.module(),
                import.name(),
                |mut caller: Caller<'_, Host>, at: i32, length: i32| -> Result<(), Error> {
                    charge(&mut caller, 0)?;
                    caller.data_mut().output = Some((at.cast_unsigned(), length.cast_unsigned()));
                    Ok(())
                },
            )?;
        } else if import.module() == WASI {
            let name = import.name().to_owned();
            linker.func_new(WASI, import.name(), signature.clone(), move |caller, arguments, results| {
                let status = wasi(&name, caller, arguments)?;
                if let Some(result) = results.first_mut() {
                    *result = Val::I32(status);
                }
                Ok(())
            })?;
        }
    }
    if has_output { Ok(linker) } else { Err(Error::new("the module does not import copy_records")) }
}

/// The part of WASI that a module without files, arguments and environment needs. Output of modules is dropped.
fn wasi(name: &str, mut caller: Caller<'_, Host>, arguments: &[Val]) -> Result<i32, Error> {
    let argument = |index: usize| match arguments.get(index) {
        Some(Val::I32(value)) => value.cast_unsigned(),
        _ => 0,
    };
    let bytes = match name {
        "random_get" => argument(1),
        "fd_write" => argument(2).saturating_mul(PIECE_LEN),
        _ => 0,
    };
    charge(&mut caller, bytes.into())?;
    match name {
        "args_sizes_get" | "environ_sizes_get" => {
            write(&mut caller, argument(0), &[0; 4])?;
            write(&mut caller, argument(1), &[0; 4])?;
            Ok(DONE)
        }
        "args_get" | "environ_get" | "sched_yield" => Ok(DONE),
        "clock_time_get" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            write(&mut caller, argument(2), &nanoseconds.to_le_bytes())?;
            Ok(DONE)
        }
        "random_get" => {
            let (at, length) = (argument(0), argument(1) as usize);
            // The range is filled piece by piece, so that no length makes the server allocate.
            let mut done = 0;
            while done < length {
                let piece = random(caller.data_mut()).to_le_bytes();
                let piece = piece.get(..(length - done).min(piece.len())).unwrap_or_default();
                let offset = u32::try_from(done).unwrap_or(u32::MAX);
                write(&mut caller, at.saturating_add(offset), piece)?;
                done += piece.len();
            }
            Ok(DONE)
        }
        "fd_write" => {
            let written = written_len(&mut caller, argument(1), argument(2))?;
            write(&mut caller, argument(3), &written.to_le_bytes())?;
            Ok(DONE)
        }
        "proc_exit" => Err(Error::i32_exit(argument(0).cast_signed())),
        name if name.starts_with("fd_") || name.starts_with("path_") => Ok(BAD_FILE),
        _ => Ok(NOT_SUPPORTED),
    }
}

/// Returns the total length of the pieces of a write, `count` pairs of address and length.
fn written_len(caller: &mut Caller<'_, Host>, pieces: u32, count: u32) -> Result<u32, Error> {
    let memory = memory(caller)?;
    let pieces = memory.data(&*caller).get(pieces as usize..).unwrap_or_default();
    let lengths = pieces.chunks_exact(8).take(count as usize);
    Ok(lengths.fold(0_u32, |sum, piece| {
        let length = piece.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        sum.saturating_add(length)
    }))
}

fn write(caller: &mut Caller<'_, Host>, at: u32, bytes: &[u8]) -> Result<(), Error> {
    let memory = memory(caller)?;
    memory.write(caller.as_context_mut(), at as usize, bytes).map_err(|error| Error::new(error.to_string()))
}

fn memory(caller: &Caller<'_, Host>) -> Result<wasmi::Memory, Error> {
    let memory = caller.get_export("memory").and_then(wasmi::Extern::into_memory);
    memory.ok_or_else(|| Error::new("the module exports no memory"))
}

/// Returns bits for hash seeds, which is the use of randomness in modules. Not for secrets.
fn random(host: &mut Host) -> u64 {
    // SplitMix64.
    host.random = host.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bits = host.random;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish()
}
