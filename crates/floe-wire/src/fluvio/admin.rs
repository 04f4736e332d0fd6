//! Admin requests to a controller: create, delete, update, list and watch objects.
//!
//! Every request, and the replies to lists and watches, are wrapped in an envelope: the label of the kind of object, a
//! length, and the message in that many bytes. The types here are generic over the kind; they write and check the
//! envelope. [`AnyCreate`] and its siblings are for servers, which read the kind from the label.

use std::marker::PhantomData;

use super::{
    error_code::ErrorCode,
    input::Input,
    object::{
        CustomSpuSpec, MirrorSpec, Object, PartitionSpec, SmartModuleSpec, SpuGroupSpec, SpuSpec,
        TableFormatSpec, TopicSpec, TopicUpdate,
    },
    output::Output,
    request::{Request, SC_VERSIONS},
    version_range::VersionRange,
    wire::{Wire, wire_enum, wire_struct},
};
use crate::WireError;

/// Writes an envelope around the output of `write`.
pub(super) fn encode_envelope(
    output: &mut Output,
    label: &str,
    write: impl FnOnce(&mut Output) -> Result<(), WireError>,
) -> Result<(), WireError> {
    output.string(label)?;
    let length = output.begin_length();
    write(output)?;
    output.end_length(length)
}

/// Reads an envelope that must have `label`. `read` must consume its whole content.
pub(super) fn decode_envelope<T>(
    input: &mut Input,
    label: &'static str,
    read: impl FnOnce(&mut Input) -> Result<T, WireError>,
) -> Result<T, WireError> {
    input.enter("object label");
    let found = input.string()?;
    if found != label {
        return Err(input.malformed(format!("{found:?}, expected {label:?}")));
    }
    input.enter("object");
    let length = input.count()?;
    let mut content = input.part(length)?;
    content.enter(label);
    let value = read(&mut content)?;
    content.finish()?;
    input.charge(&content);
    Ok(value)
}

/// Returns the label of the envelope at the start of `input`, without consuming it.
fn peek_label(input: &Input) -> Result<String, WireError> {
    let mut input = input.clone();
    input.enter("object label");
    input.string()
}

/// Implements [`Wire`] for a generic message: the envelope around its fields.
macro_rules! enveloped {
    ($name:ident, $content:ident) => {
        impl<O: Object> Wire for $name<O> {
            fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
                encode_envelope(output, O::LABEL, |output| self.$content(output, version))
            }

            fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
                decode_envelope(input, O::LABEL, |input| Self::decode_content(input, version))
            }
        }
    };
}

/// Request to create an object. The reply comes after the creation: for a topic when all partitions are online, or
/// after 90 seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateRequest<O> {
    /// Name of the object.
    pub name: String,
    /// Whether the controller only validates the request.
    pub dry_run: bool,
    /// Time limit of the controller in milliseconds; honoured for groups of data servers only.
    pub timeout_ms: Option<u32>,
    /// Specification of the object.
    pub spec: O,
}

enveloped!(CreateRequest, encode_content);

impl<O: Object> CreateRequest<O> {
    fn encode_content(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.name.encode(output, version)?;
        self.dry_run.encode(output, version)?;
        self.timeout_ms.encode(output, version)?;
        self.spec.encode(output, version)
    }

    fn decode_content(input: &mut Input, version: i16) -> Result<Self, WireError> {
        Ok(Self {
            name: Wire::decode(input, version)?,
            dry_run: Wire::decode(input, version)?,
            timeout_ms: Wire::decode(input, version)?,
            spec: Wire::decode(input, version)?,
        })
    }
}

impl<O: Object> Request for CreateRequest<O> {
    type Reply = Status;
    const KEY: u16 = 1001;
    const NAME: &'static str = "Create";
    const VERSIONS: VersionRange = SC_VERSIONS;
}

/// Request to delete an object. The reply comes before the object disappears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest<O: Object> {
    /// Key of the object.
    pub key: O::DeleteKey,
    /// Whether system objects may be deleted, too.
    pub force: bool,
}

enveloped!(DeleteRequest, encode_content);

impl<O: Object> DeleteRequest<O> {
    fn encode_content(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.key.encode(output, version)?;
        self.force.encode(output, version)
    }

    fn decode_content(input: &mut Input, version: i16) -> Result<Self, WireError> {
        Ok(Self { key: Wire::decode(input, version)?, force: Wire::decode(input, version)? })
    }
}

impl<O: Object> Request for DeleteRequest<O> {
    type Reply = Status;
    const KEY: u16 = 1002;
    const NAME: &'static str = "Delete";
    const VERSIONS: VersionRange = SC_VERSIONS;
}

/// Request to change a topic, the only kind of object that can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateTopicRequest {
    /// Name of the topic.
    pub key: String,
    /// The change.
    pub action: TopicUpdate,
}

impl Wire for UpdateTopicRequest {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        encode_envelope(output, TopicSpec::LABEL, |output| {
            self.key.encode(output, version)?;
            self.action.encode(output, version)
        })
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        decode_envelope(input, TopicSpec::LABEL, |input| {
            Ok(Self { key: Wire::decode(input, version)?, action: Wire::decode(input, version)? })
        })
    }
}

impl Request for UpdateTopicRequest {
    type Reply = Status;
    const KEY: u16 = 1006;
    const NAME: &'static str = "Update";
    const VERSIONS: VersionRange = SC_VERSIONS;
}

wire_struct! {
    /// Result of a create, delete or update request.
    #[derive(Default)]
    pub struct Status {
        /// Name of the object, as it is stored.
        pub name: String,
        /// Outcome of the request.
        pub error_code: ErrorCode,
        /// Details of the error as text.
        pub error_message: Option<String>,
    }
}

/// Request to list objects. A caller without permission gets an empty list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest<O> {
    /// Names, or for most kinds **parts** of names; all objects if empty. Ignored for partitions and mirrors.
    pub name_filters: Vec<String>,
    /// Whether the payload of modules is left out.
    pub summary: bool,
    /// Whether to list system topics and partitions, and only these.
    pub system: bool,
    kind: PhantomData<O>,
}

impl<O> ListRequest<O> {
    /// Creates a request for objects whose names contain one of `name_filters`, or for all objects without filters;
    /// with payload, without system objects.
    #[must_use]
    pub fn new(name_filters: Vec<String>) -> Self {
        Self { name_filters, summary: false, system: false, kind: PhantomData }
    }

    /// Sets whether the payload of modules is left out.
    #[must_use]
    pub fn summary(mut self, summary: bool) -> Self {
        self.summary = summary;
        self
    }

    /// Sets whether to list system objects instead of the others.
    #[must_use]
    pub fn system(mut self, system: bool) -> Self {
        self.system = system;
        self
    }
}

impl<O> Default for ListRequest<O> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

enveloped!(ListRequest, encode_content);

impl<O: Object> ListRequest<O> {
    fn encode_content(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.name_filters.encode(output, version)?;
        self.summary.encode(output, version)?;
        self.system.encode(output, version)
    }

    fn decode_content(input: &mut Input, version: i16) -> Result<Self, WireError> {
        Ok(Self {
            name_filters: Wire::decode(input, version)?,
            summary: Wire::decode(input, version)?,
            system: Wire::decode(input, version)?,
            kind: PhantomData,
        })
    }
}

impl<O: Object> Request for ListRequest<O> {
    type Reply = ListReply<O>;
    const KEY: u16 = 1003;
    const NAME: &'static str = "List";
    const VERSIONS: VersionRange = SC_VERSIONS;
}

/// Reply to a [`ListRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListReply<O: Object> {
    /// The objects, in no particular order.
    pub objects: Vec<Metadata<O>>,
}

enveloped!(ListReply, encode_content);

impl<O: Object> ListReply<O> {
    fn encode_content(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.objects.encode(output, version)
    }

    fn decode_content(input: &mut Input, version: i16) -> Result<Self, WireError> {
        Ok(Self { objects: Wire::decode(input, version)? })
    }
}

wire_struct! {
    /// An object in the replies to lists and watches.
    pub struct Metadata<O: Object> {
        /// Its name.
        pub name: String,
        /// Desired state.
        pub spec: O,
        /// Observed state.
        pub status: O::Status,
    }
}

/// Request to stream changes of all objects of a kind. Controllers serve it for topics, partitions, data servers,
/// groups of them, modules and table formats, and close the connection for other kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest<O> {
    /// Unused by controllers; clients send 0.
    pub epoch: i64,
    /// Whether the payload of modules is left out.
    pub summary: bool,
    kind: PhantomData<O>,
}

impl<O> WatchRequest<O> {
    /// Creates a request; `summary` leaves out the payload of modules.
    #[must_use]
    pub fn new(summary: bool) -> Self {
        Self { epoch: 0, summary, kind: PhantomData }
    }
}

impl<O> Default for WatchRequest<O> {
    fn default() -> Self {
        Self::new(false)
    }
}

enveloped!(WatchRequest, encode_content);

impl<O: Object> WatchRequest<O> {
    fn encode_content(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.epoch.encode(output, version)?;
        self.summary.encode(output, version)
    }

    fn decode_content(input: &mut Input, version: i16) -> Result<Self, WireError> {
        Ok(Self {
            epoch: Wire::decode(input, version)?,
            summary: Wire::decode(input, version)?,
            kind: PhantomData,
        })
    }
}

impl<O: Object> Request for WatchRequest<O> {
    type Reply = WatchReply<O>;
    const KEY: u16 = 1004;
    const NAME: &'static str = "Watch";
    const VERSIONS: VersionRange = SC_VERSIONS;
}

/// One of many replies to a [`WatchRequest`]. The first holds all objects in `all`; a later reply with `all` replaces
/// all objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchReply<O: Object> {
    /// Counter of changes; lost when the controller restarts.
    pub epoch: i64,
    /// Changed objects; the same object may recur unchanged.
    pub changes: Vec<Change<O>>,
    /// All objects.
    pub all: Vec<Metadata<O>>,
}

enveloped!(WatchReply, encode_content);

impl<O: Object> WatchReply<O> {
    fn encode_content(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.epoch.encode(output, version)?;
        self.changes.encode(output, version)?;
        self.all.encode(output, version)
    }

    fn decode_content(input: &mut Input, version: i16) -> Result<Self, WireError> {
        Ok(Self {
            epoch: Wire::decode(input, version)?,
            changes: Wire::decode(input, version)?,
            all: Wire::decode(input, version)?,
        })
    }
}

wire_struct! {
    /// A change to one object.
    pub struct Change<O: Object> {
        /// Kind of the change.
        pub kind: ChangeKind,
        /// The object after an update, or as it last was before its deletion.
        pub object: Metadata<O>,
    }
}

wire_enum! {
    /// Kind of a change.
    #[derive(Copy, Hash, Default)]
    pub enum ChangeKind {
        /// The object was created or changed.
        #[default]
        0 => Update,
        /// The object was deleted.
        1 => Delete,
    }
}

/// Declares a request as a server receives it, with the kind of object from the envelope.
macro_rules! any_kind {
    ($(#[$meta:meta])* $name:ident of $request:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the variants are the kinds of objects")]
        pub enum $name {
            Topic($request<TopicSpec>),
            Partition($request<PartitionSpec>),
            Spu($request<SpuSpec>),
            CustomSpu($request<CustomSpuSpec>),
            SmartModule($request<SmartModuleSpec>),
            SpuGroup($request<SpuGroupSpec>),
            TableFormat($request<TableFormatSpec>),
            Mirror($request<MirrorSpec>),
        }

        impl $name {
            /// Decodes the request whose kind the label of the envelope names.
            ///
            /// # Errors
            /// [`WireError::Truncated`], [`WireError::Malformed`], also for an unknown label.
            pub fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
                let label = peek_label(input)?;
                Ok(match label.as_str() {
                    TopicSpec::LABEL => Self::Topic(Wire::decode(input, version)?),
                    PartitionSpec::LABEL => Self::Partition(Wire::decode(input, version)?),
                    SpuSpec::LABEL => Self::Spu(Wire::decode(input, version)?),
                    CustomSpuSpec::LABEL => Self::CustomSpu(Wire::decode(input, version)?),
                    SmartModuleSpec::LABEL => Self::SmartModule(Wire::decode(input, version)?),
                    SpuGroupSpec::LABEL => Self::SpuGroup(Wire::decode(input, version)?),
                    TableFormatSpec::LABEL => Self::TableFormat(Wire::decode(input, version)?),
                    MirrorSpec::LABEL => Self::Mirror(Wire::decode(input, version)?),
                    other => {
                        return Err(WireError::malformed("object label", format!("{other:?} is not a kind of object")));
                    }
                })
            }
        }
    };
}

any_kind! {
    /// A [`CreateRequest`] of any kind of object. Official controllers refuse partitions and managed data servers.
    AnyCreate of CreateRequest
}
any_kind! {
    /// A [`DeleteRequest`] of any kind of object.
    AnyDelete of DeleteRequest
}
any_kind! {
    /// A [`ListRequest`] of any kind of object.
    AnyList of ListRequest
}
any_kind! {
    /// A [`WatchRequest`] of any kind of object.
    AnyWatch of WatchRequest
}
