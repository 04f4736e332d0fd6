//! Runs the modules of one request, one after the other, on blocking threads.

use std::{collections::VecDeque, fmt, mem, sync::Arc};

use bytes::Bytes;
use floe_wire::{
    WireError,
    batch::{EncodedBatch, SectionPlace},
    compress::{Codec, Compression, decompress},
    fluvio::{ErrorCode, SmartModuleInvocation},
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wasmi::Module;

use super::{
    Transformed,
    instance::{CallLimits, Instance, ModuleError, Section},
    sandbox::{self, MemoryRefused},
};
use crate::options::ServeLimits;

/// Compiled modules in the cache: producers send their modules with every request.
const KEPT: usize = 16;

/// Largest size of a decompressed batch in bytes.
pub(super) const MAX_SECTION_LEN: usize = 64 << 20;

/// Cache of compiled modules, and the limit of concurrent calls.
pub(super) struct ModulePool {
    call_limits: CallLimits,
    /// Compiled modules by the bytes that clients sent, most recently used first.
    compiled: Mutex<VecDeque<(Bytes, Module)>>,
    /// One permit per processor, so that modules do not starve the rest of the server.
    workers: Arc<Semaphore>,
}

impl fmt::Debug for ModulePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModulePool").field("call_limits", &self.call_limits).finish_non_exhaustive()
    }
}

impl ModulePool {
    pub(super) fn new(limits: &ServeLimits) -> Self {
        Self {
            call_limits: CallLimits {
                memory: limits.smartmodule_memory,
                fuel: limits.smartmodule_fuel,
                fuel_per_byte: limits.smartmodule_fuel_per_byte,
            },
            compiled: Mutex::default(),
            workers: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
        }
    }

    /// Runs CPU-bound work on a blocking thread.
    async fn run<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, String> {
        let permit = Arc::clone(&self.workers).acquire_owned().await.map_err(|closed| closed.to_string())?;
        let worked = tokio::task::spawn_blocking(move || {
            let outcome = work(&self);
            // The thread releases the permit, because the caller may be cancelled before the work ends.
            drop(permit);
            outcome
        });
        worked.await.map_err(|stopped| format!("the SmartModule engine failed: {stopped}"))
    }

    fn module(&self, sent: &Bytes) -> Result<Module, ErrorCode> {
        let known = {
            let mut compiled = self.compiled.lock();
            let at = compiled.iter().position(|(bytes, _)| bytes == sent);
            at.and_then(|at| compiled.remove(at)).map(|entry| {
                let module = entry.1.clone();
                compiled.push_front(entry);
                module
            })
        };
        if let Some(module) = known {
            return Ok(module);
        }
        let module = sandbox::compile(&unpacked(sent)?)
            .map_err(|error| ErrorCode::SmartModuleChainInitError(error.to_string()))?;
        let mut compiled = self.compiled.lock();
        compiled.push_front((sent.clone(), module.clone()));
        compiled.truncate(KEPT);
        Ok(module)
    }
}

/// Decompresses a module. Clients use gzip; an uncompressed module is taken as it is.
fn unpacked(sent: &Bytes) -> Result<Bytes, ErrorCode> {
    let invalid = |error: WireError| ErrorCode::SmartModuleInvalid { error: error.to_string(), name: None };
    if sent.starts_with(b"\0asm") {
        return Ok(sent.clone());
    }
    decompress(Codec::Gzip, sent, sandbox::MAX_MODULE_LEN).map_err(invalid)
}

/// The modules of one stream, or of one entry of a produce request.
#[derive(Debug)]
pub(crate) struct Chain {
    pool: Arc<ModulePool>,
    instances: Vec<Instance>,
}

impl Chain {
    /// Starts the modules of a request.
    pub(super) async fn start(
        pool: Arc<ModulePool>,
        sources: Vec<(SmartModuleInvocation, Bytes)>,
        version: i16,
    ) -> Result<Self, ErrorCode> {
        let started = Arc::clone(&pool).run(move |pool| {
            let start = |(invocation, sent): (SmartModuleInvocation, Bytes)| {
                let module = pool.module(&sent)?;
                Instance::start(&module, &invocation, version, pool.call_limits).map_err(init_code)
            };
            sources.into_iter().map(start).collect::<Result<Vec<_>, _>>()
        });
        let instances = started.await.map_err(ErrorCode::SmartModuleChainInitError)??;
        Ok(Self { pool, instances })
    }

    pub(super) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Calls modules. After an error the chain is unusable.
    pub(super) async fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut [Instance]) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        debug_assert!(!self.instances.is_empty(), "the chain is unusable after an error");
        let mut instances = mem::take(&mut self.instances);
        let called = Arc::clone(&self.pool).run(move |_| {
            let outcome = work(&mut instances);
            (outcome, instances)
        });
        let (outcome, instances) = called.await?;
        self.instances = instances;
        outcome
    }

    /// Sends the records of a batch, from the offset `from` on, through all modules. After an error the state of the
    /// modules is unknown and the request must fail.
    pub(crate) async fn transform(&mut self, batch: &EncodedBatch, from: i64) -> Result<Transformed, String> {
        let batch = batch.clone();
        self.call(move |instances| transform(instances, &batch, from)).await
    }
}

fn transform(instances: &mut [Instance], batch: &EncodedBatch, from: i64) -> Result<Transformed, String> {
    let text = |error: WireError| error.to_string();
    let from = from.max(batch.base_offset());
    let mut place = SectionPlace::of(batch.header());
    let records = if from == batch.base_offset() {
        batch.record_section(MAX_SECTION_LEN)
    } else {
        let skipped = i32::try_from(from - batch.base_offset()).unwrap_or(i32::MAX);
        place.base_offset = from;
        place.last_offset_delta = place.last_offset_delta.saturating_sub(skipped);
        batch.record_section_of(MAX_SECTION_LEN, from, |record| record.offset >= from)
    };
    let mut section =
        Section { base_offset: from, base_timestamp: place.first_timestamp, records: records.map_err(text)? };
    let mut failure = None;
    for instance in instances {
        let output = instance.transform(&section).map_err(|broken| broken.to_string())?;
        section.records = output.section;
        failure = output.failure;
        // The output of the modules before it is the result.
        if failure.is_some() {
            break;
        }
    }
    let is_empty = section.records.starts_with(&[0; 4]);
    let batch = if is_empty {
        None
    } else {
        let codec = batch.header().attributes.codec().map_err(text)?;
        let compression = Compression { threshold: 0, ..Compression::new(codec) };
        Some(EncodedBatch::from_record_section(place, &section.records, compression).map_err(text)?)
    };
    Ok(Transformed { batch, failure })
}

fn init_code(broken: ModuleError) -> ErrorCode {
    match broken {
        ModuleError::Memory(MemoryRefused { requested, max }) => {
            ErrorCode::SmartModuleMemoryLimitExceeded { requested, max }
        }
        ModuleError::Other(problem) => ErrorCode::SmartModuleChainInitError(problem),
    }
}
