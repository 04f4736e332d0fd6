//! One module instance, ready to be called.

use std::fmt;

use bytes::Bytes;
use floe::memory::MemoryReservation;
use floe_wire::fluvio::{Input, Lookback, SmartModuleContext, SmartModuleInvocation, SmartModuleKind};
use wasmi::{Error, Instance as Exports, Memory, Module, Store, TrapCode, TypedFunc};

use super::{
    interface::{self, RecordsOutput},
    sandbox::{self, Host, MemoryRefused},
};

/// Signature of a module function: address and length of its input, and the version of its encoding. A negative
/// result is an error.
type Function = TypedFunc<(i32, i32, i32), i32>;

/// Kinds of transforms, in lookup order.
const SIMPLE: [&str; 4] = ["filter", "map", "filter_map", "array_map"];
const AGGREGATE: &str = "aggregate";

/// Limits of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLimits {
    /// Bytes of memory.
    pub(super) memory: usize,
    /// Instructions per call.
    pub(super) fuel: u64,
    /// Further instructions per byte of input.
    pub(super) fuel_per_byte: u64,
}

/// Why a module failed.
#[derive(Debug, PartialEq)]
pub(super) enum ModuleError {
    Memory(MemoryRefused),
    Other(String),
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(MemoryRefused { requested, max }) => {
                write!(f, "Requested memory {requested}b exceeded max allowed {max}b")
            }
            Self::Other(problem) => f.write_str(problem),
        }
    }
}

enum Transform {
    Simple(Function),
    Aggregate(Function, Bytes),
}

/// An instantiated module with its memory.
pub(super) struct Instance {
    store: Store<Host>,
    memory: Memory,
    allocate: TypedFunc<i32, i32>,
    transform: Transform,
    look_back: Option<Function>,
    pub(super) lookback: Option<Lookback>,
    call_limits: CallLimits,
    version: i16,
    /// Covers the copy of the last output.
    output_room: Option<MemoryReservation>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A record section, with the offset and time that its records count from.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) base_offset: i64,
    pub(super) base_timestamp: i64,
    pub(super) records: Bytes,
}

impl Instance {
    /// Instantiates a module and passes it its parameters.
    pub(super) fn start(
        module: &Module,
        invocation: &SmartModuleInvocation,
        version: i16,
        call_limits: CallLimits,
        host: Host,
    ) -> Result<Self, ModuleError> {
        let mut store = Store::new(module.engine(), host);
        store.limiter(Host::limits);
        let failed =
            |error: Error| ModuleError::Other(format!("Failed to instantiate: {}", module_error(&error)));
        let imports = sandbox::imports(module).map_err(failed)?;
        // The start function runs in one piece, so all its instructions are in the store.
        let _ = store.set_fuel(call_limits.fuel);
        let exports = imports.instantiate_and_start(&mut store, module).map_err(failed)?;
        let missing = |what: &str| ModuleError::Other(format!("the module exports no {what}"));
        let memory = exports.get_memory(&store, "memory").ok_or_else(|| missing("memory"))?;
        let allocate = exports
            .get_typed_func(&store, "alloc")
            .map_err(|error| ModuleError::Other(format!("the module exports no usable alloc: {error}")))?;
        let transform = transform(&exports, &store, &invocation.kind)?;
        let look_back = function(&exports, &store, "look_back")?;
        let init = function(&exports, &store, "init")?;
        let mut instance = Self {
            store,
            memory,
            allocate,
            transform,
            look_back,
            lookback: invocation.params.lookback,
            call_limits,
            version,
            output_room: None,
        };
        sandbox::settle(&mut instance.store, instance.memory);
        if let Some(init) = init {
            instance.init(&init, invocation)?;
        }
        // A module without `look_back` needs no records read for it.
        if instance.look_back.is_none() {
            instance.lookback = None;
        }
        Ok(instance)
    }

    fn init(&mut self, init: &Function, invocation: &SmartModuleInvocation) -> Result<(), ModuleError> {
        let other = |problem: String| Err(ModuleError::Other(problem));
        let input = match interface::init_input(&invocation.params, self.version) {
            Ok(input) => input,
            Err(error) => return other(error.to_string()),
        };
        match self.call(init, &input)? {
            0.. => Ok(()),
            interface::INIT_ERROR => {
                let hint = interface::hint(self.output(), self.version).unwrap_or_default();
                other(format!("{hint}\n\nSmartModule Init Error: \n"))
            }
            status => other(interface::init_status(status).to_owned()),
        }
    }

    /// Sends records through the module.
    pub(super) fn transform(&mut self, section: &Section) -> Result<RecordsOutput, ModuleError> {
        let Section { base_offset, base_timestamp, records } = section;
        let mut input = interface::records_input(*base_offset, *base_timestamp, records, self.version);
        let function = match &self.transform {
            Transform::Simple(function) => *function,
            Transform::Aggregate(function, accumulator) => {
                interface::put_accumulator(&mut input, accumulator);
                *function
            }
        };
        let status = self.call(&function, &input)?;
        if status < 0 {
            return Err(ModuleError::Other(interface::transform_status(status).to_owned()));
        }
        let unreadable = |error| ModuleError::Other(format!("invalid output of the module: {error}"));
        let mut output = Input::new(self.output());
        let records = interface::records_output(&mut output, self.version).map_err(unreadable)?;
        if let Transform::Aggregate(_, accumulator) = &mut self.transform {
            *accumulator = interface::accumulator(&mut output, self.version).map_err(unreadable)?;
        }
        Ok(records)
    }

    /// Shows the module records that lie before those it will transform.
    pub(super) fn look_back(&mut self, section: &Section) -> Result<(), ModuleError> {
        let Some(function) = self.look_back else { return Ok(()) };
        let Section { base_offset, base_timestamp, records } = section;
        let input = interface::records_input(*base_offset, *base_timestamp, records, self.version);
        match self.call(&function, &input)? {
            0.. => Ok(()),
            interface::LOOK_BACK_ERROR => {
                let hint = interface::hint(self.output(), self.version).unwrap_or_default();
                Err(ModuleError::Other(format!("{hint}\n\nSmartModule Lookback Error: \n")))
            }
            status => Err(ModuleError::Other(interface::look_back_status(status).to_owned())),
        }
    }

    fn call(&mut self, function: &Function, input: &[u8]) -> Result<i32, ModuleError> {
        self.store.data_mut().output = None;
        self.output_room = None;
        let size = u64::try_from(input.len()).unwrap_or(u64::MAX);
        let by_size = self.call_limits.fuel_per_byte.saturating_mul(size);
        sandbox::refuel(&mut self.store, self.call_limits.fuel.saturating_add(by_size));
        let length = i32::try_from(input.len())
            .map_err(|_| ModuleError::Other("the records do not fit into the module's memory".to_owned()))?;
        let at =
            sandbox::call(&mut self.store, self.allocate, length).map_err(|error| module_error(&error))?;
        // The module returned the address, so the write is bounds-checked.
        if self.memory.write(&mut self.store, at.cast_unsigned() as usize, input).is_err() {
            return Err(ModuleError::Other("the module allocated its input outside its memory".to_owned()));
        }
        let arguments = (at, length, i32::from(self.version));
        let outcome = sandbox::call(&mut self.store, *function, arguments);
        sandbox::settle(&mut self.store, self.memory);
        outcome.map_err(|error| module_error(&error))
    }

    /// Returns the output of the last call; empty if the module gave none, one outside its memory, or one that there is no
    /// memory for.
    fn output(&mut self) -> Bytes {
        let Some((at, length)) = self.store.data().output else { return Bytes::new() };
        let (at, length) = (at as usize, length as usize);
        self.output_room = self.store.data().reserve_output(length);
        if self.output_room.is_none() {
            return Bytes::new();
        }
        let handed = at.checked_add(length).and_then(|end| self.memory.data(&self.store).get(at..end));
        handed.map(Bytes::copy_from_slice).unwrap_or_default()
    }
}

/// Returns the transform that the module exports. The request only contributes the initial value of an aggregate.
fn transform(
    exports: &Exports,
    store: &Store<Host>,
    kind: &SmartModuleKind,
) -> Result<Transform, ModuleError> {
    for name in SIMPLE {
        if let Some(function) = function(exports, store, name)? {
            return Ok(Transform::Simple(function));
        }
    }
    let start = match kind {
        SmartModuleKind::Aggregate { accumulator }
        | SmartModuleKind::Generic(SmartModuleContext::Aggregate { accumulator }) => accumulator.clone(),
        _ => Bytes::new(),
    };
    match function(exports, store, AGGREGATE)? {
        Some(function) => Ok(Transform::Aggregate(function, start)),
        None => Err(ModuleError::Other("No valid smartmodule found".to_owned())),
    }
}

fn function(exports: &Exports, store: &Store<Host>, name: &str) -> Result<Option<Function>, ModuleError> {
    let Some(function) = exports.get_func(store, name) else { return Ok(None) };
    let typed = function.typed(store);
    typed.map(Some).map_err(|error| ModuleError::Other(format!("the module's {name}: {error}")))
}

fn module_error(error: &Error) -> ModuleError {
    ModuleError::Other(match error.as_trap_code() {
        Some(TrapCode::OutOfFuel) => "the module exceeded its instruction limit".to_owned(),
        Some(TrapCode::GrowthOperationLimited) => "the module exceeded its memory limit".to_owned(),
        _ => error.to_string(),
    })
}
