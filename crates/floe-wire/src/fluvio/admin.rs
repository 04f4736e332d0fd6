//! Admin requests to a controller: create, delete, update, list and watch objects.
//!
//! Every request, and the replies to lists and watches, are wrapped in an envelope: the label of the kind of object, a
//! length, and the message in that many bytes. The types here are generic over the kind and write and check the
//! envelope themselves; [`AnyCreate`] and its siblings are for servers, which learn the kind from the label.

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

/// Writes an envelope around what `write` writes.
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

/// Reads an envelope that must have `label`, and lets `read` read everything in it.
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
    let mut content = Input::new(input.take(length)?);
    content.enter(label);
    let value = read(&mut content)?;
    content.finish()?;
    Ok(value)
}

/// The label of the envelope that `input` begins with.
fn peek_label(input: &Input) -> Result<String, WireError> {
    let mut input = input.clone();
    input.enter("object label");
    input.string()
}

/// Makes a generic message out of its layout: the envelope around the fields.
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

/// Creates an object. The reply comes when it is done: for a topic only when all partitions are online, or after 90
/// seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateRequest<O> {
    /// Name of the object.
    pub name: String,
    /// Whether to check only.
    pub dry_run: bool,
    /// How long the controller may take, in milliseconds; honoured for groups of data servers only.
    pub timeout_ms: Option<u32>,
    /// What to create.
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

/// Deletes an object. The reply comes before it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest<O: Object> {
    /// Which object.
    pub key: O::DeleteKey,
    /// Whether to delete system objects, too.
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

/// Changes a topic, the only kind of object that can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateTopicRequest {
    /// Name of the topic.
    pub key: String,
    /// What to change.
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
    /// What became of a create, delete or update request.
    #[derive(Default)]
    pub struct Status {
        /// Name of the object, as it is stored.
        pub name: String,
        /// Whether it was done.
        pub error_code: ErrorCode,
        /// More about the error, for people.
        pub error_message: Option<String>,
    }
}

/// Lists objects. Lists of what the caller may not read are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest<O> {
    /// Names, or for most kinds **parts** of names; all objects if empty. Ignored for partitions and mirrors.
    pub name_filters: Vec<String>,
    /// Whether to leave out the payload of modules.
    pub summary: bool,
    /// Whether to list system topics and partitions, and only these.
    pub system: bool,
    kind: PhantomData<O>,
}

impl<O> ListRequest<O> {
    /// Lists objects whose names contain one of `name_filters`, or all if there are none; without summary, without
    /// system objects.
    #[must_use]
    pub fn new(name_filters: Vec<String>) -> Self {
        Self { name_filters, summary: false, system: false, kind: PhantomData }
    }

    /// Whether to leave out the payload of modules.
    #[must_use]
    pub fn summary(mut self, summary: bool) -> Self {
        self.summary = summary;
        self
    }

    /// Whether to list system objects in place of others.
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

/// The objects of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListReply<O: Object> {
    /// In no particular order.
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
    /// An object as lists and watches show it.
    pub struct Metadata<O: Object> {
        /// Its name.
        pub name: String,
        /// What it is to be.
        pub spec: O,
        /// What it is.
        pub status: O::Status,
    }
}

/// Opens a stream of changes to all objects of a kind. Controllers serve it for topics, partitions, data servers,
/// groups of them, modules and table formats, and close the connection for other kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest<O> {
    /// Not used: send 0.
    pub epoch: i64,
    /// Whether to leave out the payload of modules.
    pub summary: bool,
    kind: PhantomData<O>,
}

impl<O> WatchRequest<O> {
    /// Watches objects, with or without the payload of modules.
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

/// One of many replies to a [`WatchRequest`]. The first has everything in `all`; `all` may come again and then
/// replaces everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchReply<O: Object> {
    /// Rises with every change; not kept over restarts of the controller.
    pub epoch: i64,
    /// What changed; the same object may come again unchanged.
    pub changes: Vec<Change<O>>,
    /// Everything.
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
        /// What happened.
        pub kind: ChangeKind,
        /// The object after an update, or as it last was before its deletion.
        pub object: Metadata<O>,
    }
}

wire_enum! {
    /// What happened to an object.
    #[derive(Copy, Hash, Default)]
    pub enum ChangeKind {
        /// It was created or changed.
        #[default]
        0 => Update,
        /// It was deleted.
        1 => Delete,
    }
}

/// A request whose kind of object the envelope tells, as a server receives it.
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
            /// Reads the request that the label of the envelope announces.
            ///
            /// # Errors
            /// [`WireError::Truncated`], [`WireError::Malformed`], also for a label that is no kind of object.
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
                        return Err(WireError::malformed("object label", format!("{other:?} is no kind of object")));
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
