//! Sandbox of a module: limits of memory and instructions, and the imports it may use.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmi::{
    AsContextMut as _, Caller, Config, EnforcedLimits, Engine, Error, ExternType, Linker, Module,
    ResourceLimiter, StoreLimits, StoreLimitsBuilder, Val,
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

/// Host state of an instance.
#[derive(Debug)]
pub(super) struct Host {
    /// Address and length of the output that the module reported.
    pub(super) output: Option<(u32, u32)>,
    limits: StoreLimits,
}

impl Host {
    /// Creates the host state. Memory growth past the limit traps, because modules handle a failed growth in ways of
    /// their own.
    pub(super) fn new(memory_limit: usize) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(memory_limit)
            .table_elements(TABLE_ENTRIES)
            .memories(1)
            .tables(TABLES)
            .instances(1)
            .trap_on_grow_failure(true)
            .build();
        Self { output: None, limits }
    }

    pub(super) fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }
}

/// Checks the initial memory of a module against the limit.
pub(super) fn check_memory(module: &Module, limit: usize) -> Result<(), MemoryRefused> {
    let max = u64::try_from(limit).unwrap_or(u64::MAX);
    for export in module.exports() {
        if let ExternType::Memory(memory) = export.ty() {
            let requested = memory.minimum().saturating_mul(PAGE);
            if requested > max {
                return Err(MemoryRefused { requested, max });
            }
        }
    }
    Ok(())
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
                |mut caller: Caller<'_, Host>, at: i32, length: i32| {
                    caller.data_mut().output = Some((at.cast_unsigned(), length.cast_unsigned()));
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
                let piece = random().to_le_bytes();
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
fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish()
}
