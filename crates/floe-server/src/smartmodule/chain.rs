//! Runs the modules of one request, one after the other, on blocking threads.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use floe::memory::{MemoryRefused, MemoryReservation};
use floe_wire::{
    WireError,
    batch::{EncodedBatch, SectionPlace},
    compress::{Codec, Compression, decompress},
    fluvio::{ErrorCode, SmartModuleInvocation},
};
use parking_lot::Mutex;
use wasmi::Module;

use super::{
    Transformed,
    instance::{CallLimits, Instance, ModuleError, Section},
    sandbox::{self, Host},
};
use crate::{limits::ServeLimits, memory::Tenant, workers::Workers};

/// Compiled modules in the cache: producers send their modules with every request.
const KEPT: usize = 16;

/// Memory of a compiled module, as a multiple of its size: the module itself, and the code that is made of it.
const COMPILED_FACTOR: usize = 8;

/// Least size of a decompressed module, and of the records of a batch, that memory is reserved for.
const LEAST: usize = 1 << 20;

/// Size of records that memory is reserved for at first, as a multiple of their compressed size.
const USUAL_RATIO: usize = 32;

/// Copies of the records of a batch that a module needs: the section, its input, its output.
const COPIES: usize = 3;

/// Largest size of a decompressed batch in bytes.
pub(super) const MAX_SECTION_LEN: usize = 64 << 20;

/// Cache of compiled modules, and the limit of concurrent calls.
pub(super) struct ModulePool {
    call_limits: CallLimits,
    /// Compiled modules by the bytes that clients sent, most recently used first.
    compiled: Mutex<VecDeque<(Bytes, Arc<CompiledModule>)>>,
    workers: Workers,
}

/// A compiled module, and its memory, which the connection that sent it first pays for.
struct CompiledModule {
    module: Module,
    _room: MemoryReservation,
}

/// Tells the modules of a client that it has left.
#[derive(Debug, Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for ModulePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModulePool").field("call_limits", &self.call_limits).finish_non_exhaustive()
    }
}

impl ModulePool {
    pub(super) fn new(limits: &ServeLimits, workers: Workers) -> Self {
        Self {
            call_limits: CallLimits {
                memory: limits.smartmodule_memory,
                fuel: limits.smartmodule_fuel,
                fuel_per_byte: limits.smartmodule_fuel_per_byte,
            },
            compiled: Mutex::default(),
            workers,
        }
    }

    /// Runs work when it is its turn. It goes on to its end, or to the next look at its flag, if the caller is cancelled.
    async fn run<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, String> {
        let worked = self.workers.turn().await.run(move || work(&self));
        worked.await.map_err(|stopped| format!("the SmartModule engine failed: {stopped}"))
    }

    fn known(&self, sent: &Bytes) -> Option<Arc<CompiledModule>> {
        let mut compiled = self.compiled.lock();
        let at = compiled.iter().position(|(bytes, _)| bytes == sent)?;
        let entry = compiled.remove(at)?;
        let module = Arc::clone(&entry.1);
        compiled.push_front(entry);
        Some(module)
    }

    /// Returns a module from the cache, or compiles it.
    async fn module(
        self: &Arc<Self>,
        tenant: &Tenant,
        sent: &Bytes,
    ) -> Result<Arc<CompiledModule>, ErrorCode> {
        if let Some(known) = self.known(sent) {
            return Ok(known);
        }
        // The size is known once the module is decompressed.
        let most = if is_plain(sent) { sent.len() } else { sandbox::MAX_MODULE_LEN };
        let usual = most.min(sent.len().saturating_mul(USUAL_RATIO).max(LEAST));
        let mut room = tenant.reserve_work(usual.saturating_mul(COMPILED_FACTOR)).await.map_err(refused)?;
        let sent = sent.clone();
        let compiled = Arc::clone(self).run(move |pool| {
            let wasm = unpacked(&sent, usual)?;
            room.shrink_to(wasm.len().saturating_mul(COMPILED_FACTOR));
            let module = sandbox::compile(&wasm)
                .map_err(|error| ErrorCode::SmartModuleChainInitError(error.to_string()))?;
            let module = Arc::new(CompiledModule { module, _room: room });
            let mut compiled = pool.compiled.lock();
            compiled.push_front((sent, Arc::clone(&module)));
            compiled.truncate(KEPT);
            Ok(module)
        });
        compiled.await.map_err(ErrorCode::SmartModuleChainInitError)?
    }
}

/// The code for a module that there is no memory for.
fn refused(MemoryRefused { requested, limit }: MemoryRefused) -> ErrorCode {
    let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    ErrorCode::SmartModuleMemoryLimitExceeded { requested: size(requested), max: size(limit) }
}

fn is_plain(sent: &Bytes) -> bool {
    sent.starts_with(b"\0asm")
}

/// Decompresses a module. Clients use gzip; an uncompressed module is taken as it is.
fn unpacked(sent: &Bytes, limit: usize) -> Result<Bytes, ErrorCode> {
    let invalid = |error: WireError| ErrorCode::SmartModuleInvalid { error: error.to_string(), name: None };
    if is_plain(sent) {
        return Ok(sent.clone());
    }
    decompress(Codec::Gzip, sent, limit).map_err(invalid)
}

/// The modules of one stream, or of one entry of a produce request.
#[derive(Debug)]
pub(crate) struct Chain {
    pool: Arc<ModulePool>,
    tenant: Tenant,
    instances: Vec<Instance>,
    cancel: CancelOnDrop,
}

impl Chain {
    /// Starts the modules of a request. The initial memory of all of them is reserved before.
    pub(super) async fn start(
        pool: Arc<ModulePool>,
        tenant: &Tenant,
        sources: Vec<(SmartModuleInvocation, Bytes)>,
        version: i16,
    ) -> Result<Self, ErrorCode> {
        let (mut modules, mut needs, mut total) = (Vec::with_capacity(sources.len()), Vec::new(), 0_usize);
        for (invocation, sent) in sources {
            let compiled = pool.module(tenant, &sent).await?;
            let need = sandbox::initial_memory(&compiled.module, pool.call_limits.memory);
            let need = need.map_err(|refused| init_code(ModuleError::Memory(refused)))?;
            total = total.saturating_add(need);
            needs.push(need);
            modules.push((invocation, compiled));
        }
        let mut room = tenant.reserve_work(total).await.map_err(refused)?;
        let cancel = CancelOnDrop::default();
        let (cancelled, account) = (Arc::clone(&cancel.0), tenant.modules.clone());
        let started = Arc::clone(&pool).run(move |pool| {
            let start =
                |((invocation, compiled), need): ((SmartModuleInvocation, Arc<CompiledModule>), usize)| {
                    let host = Host::new(
                        pool.call_limits.memory,
                        account.clone(),
                        room.split(need),
                        Arc::clone(&cancelled),
                    );
                    Instance::start(&compiled.module, &invocation, version, pool.call_limits, host)
                        .map_err(init_code)
                };
            modules.into_iter().zip(needs).map(start).collect::<Result<Vec<_>, _>>()
        });
        let instances = started.await.map_err(ErrorCode::SmartModuleChainInitError)??;
        Ok(Self { pool, tenant: tenant.clone(), instances, cancel })
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
        debug_assert!(!self.cancel.0.load(Ordering::Relaxed), "a chain that is used was not dropped");
        let usual = batch.len().saturating_mul(USUAL_RATIO).clamp(LEAST, MAX_SECTION_LEN);
        let is_plain = batch.header().attributes.codec() == Ok(Codec::None);
        let limit = if is_plain { batch.len() } else { usual };
        let transformed = self.transform_within(batch, from, limit).await;
        match transformed {
            Some(outcome) => outcome,
            None => self.transform_within(batch, from, MAX_SECTION_LEN).await.unwrap_or_else(|| {
                Err(format!("the records of the batch have more than {MAX_SECTION_LEN} bytes"))
            }),
        }
    }

    /// Transforms a batch of at most `limit` bytes of records; `None` if there are more, which no module has seen then.
    async fn transform_within(
        &mut self,
        batch: &EncodedBatch,
        from: i64,
        limit: usize,
    ) -> Option<Result<Transformed, String>> {
        let room = match self.tenant.reserve_work(limit.saturating_mul(COPIES)).await {
            Ok(room) => room,
            Err(refused) => return Some(Err(refused.to_string())),
        };
        let batch = batch.clone();
        let outcome = self.call(move |instances| {
            let outcome = match section_of(&batch, from, limit) {
                Ok((place, section)) => transform(instances, &batch, place, section).map(Some),
                Err(WireError::TooLarge { .. }) => Ok(None),
                Err(error) => Err(error.to_string()),
            };
            drop(room);
            outcome
        });
        outcome.await.transpose()
    }
}

/// Returns the records of a batch from the offset `from` on, of at most `limit` bytes.
fn section_of(batch: &EncodedBatch, from: i64, limit: usize) -> Result<(SectionPlace, Section), WireError> {
    let from = from.max(batch.base_offset());
    let mut place = SectionPlace::of(batch.header());
    let records = if from == batch.base_offset() {
        batch.record_section(limit)?
    } else {
        let skipped = i32::try_from(from - batch.base_offset()).unwrap_or(i32::MAX);
        place.base_offset = from;
        place.last_offset_delta = place.last_offset_delta.saturating_sub(skipped);
        batch.record_section_of(limit, from, |record| record.offset >= from)?
    };
    let section = Section { base_offset: from, base_timestamp: place.first_timestamp, records };
    Ok((place, section))
}

fn transform(
    instances: &mut [Instance],
    batch: &EncodedBatch,
    place: SectionPlace,
    mut section: Section,
) -> Result<Transformed, String> {
    let text = |error: WireError| error.to_string();
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
        ModuleError::Memory(sandbox::MemoryRefused { requested, max }) => {
            ErrorCode::SmartModuleMemoryLimitExceeded { requested, max }
        }
        ModuleError::Other(problem) => ErrorCode::SmartModuleChainInitError(problem),
    }
}
