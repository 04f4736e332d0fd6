//! Layouts of values: [`Wire`], its implementations for primitives, and the macros that declare messages.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{input::Input, output::Output};
use crate::WireError;

/// A value with a byte layout that may depend on the version of its API.
pub trait Wire: Sized {
    /// Appends the value to `output`.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] or [`WireError::OutOfRange`] for a value that the layout cannot carry.
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError>;

    /// Takes a value off the front of `input`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the input ends too early; [`WireError::Malformed`] if it breaks the layout.
    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError>;
}

macro_rules! fixed_width {
    ($($type:ty),+) => {$(
        impl Wire for $type {
            fn encode(&self, output: &mut Output, _version: i16) -> Result<(), WireError> {
                output.put(&self.to_be_bytes());
                Ok(())
            }

            fn decode(input: &mut Input, _version: i16) -> Result<Self, WireError> {
                input.array().map(Self::from_be_bytes)
            }
        }
    )+};
}

fixed_width!(u8, u16, i16, u32, i32, u64, i64);

/// The empty value, in zero bytes.
impl Wire for () {
    fn encode(&self, _output: &mut Output, _version: i16) -> Result<(), WireError> {
        Ok(())
    }

    fn decode(_input: &mut Input, _version: i16) -> Result<Self, WireError> {
        Ok(())
    }
}

impl Wire for bool {
    fn encode(&self, output: &mut Output, _version: i16) -> Result<(), WireError> {
        output.u8(u8::from(*self));
        Ok(())
    }

    fn decode(input: &mut Input, _version: i16) -> Result<Self, WireError> {
        match input.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(input.malformed(format!("{other} is not a boolean"))),
        }
    }
}

impl Wire for String {
    fn encode(&self, output: &mut Output, _version: i16) -> Result<(), WireError> {
        output.string(self)
    }

    fn decode(input: &mut Input, _version: i16) -> Result<Self, WireError> {
        input.string()
    }
}

/// A blob with its length in front; decoded as a slice of the input.
impl Wire for Bytes {
    fn encode(&self, output: &mut Output, _version: i16) -> Result<(), WireError> {
        output.count(self.len())?;
        output.blob(self);
        Ok(())
    }

    fn decode(input: &mut Input, _version: i16) -> Result<Self, WireError> {
        let length = input.count()?;
        input.take(length)
    }
}

impl Wire for Duration {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.as_secs().encode(output, version)?;
        self.subsec_nanos().encode(output, version)
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        let seconds = u64::decode(input, version)?;
        let nanoseconds = u32::decode(input, version)?;
        if nanoseconds >= 1_000_000_000 {
            return Err(input.malformed(format!("{nanoseconds} nanoseconds")));
        }
        Ok(Self::new(seconds, nanoseconds))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.is_some().encode(output, version)?;
        self.as_ref().map_or(Ok(()), |value| value.encode(output, version))
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        if bool::decode(input, version)? { T::decode(input, version).map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        output.count(self.len())?;
        self.iter().try_for_each(|element| element.encode(output, version))
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        let count = input.count()?;
        input.spend_elements(count)?;
        // The capacity is bounded by the input; beyond it the vector grows with each decoded element.
        let affordable = input.remaining() / size_of::<T>().max(1);
        let mut elements = Self::with_capacity(if count < affordable { count } else { affordable });
        for _ in 0..count {
            elements.push(T::decode(input, version)?);
        }
        Ok(elements)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        let count = u16::try_from(self.len()).map_err(|_| WireError::TooLarge {
            what: "map",
            size: self.len(),
            limit: usize::from(u16::MAX),
        })?;
        output.u16(count);
        for (key, value) in self {
            key.encode(output, version)?;
            value.encode(output, version)?;
        }
        Ok(())
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        let count = input.u16()?;
        input.spend_elements(count.into())?;
        let mut map = Self::new();
        for _ in 0..count {
            let key = K::decode(input, version)?;
            map.insert(key, V::decode(input, version)?);
        }
        Ok(map)
    }
}

/// Declares a struct and its layout in one place, so that encoder and decoder agree: fields in order, each with the
/// versions that have it in brackets. A version without the field decodes it as its default.
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$generic:ident: $bound:path>)? {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty $([$versions:expr])?,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name $(<$generic: $bound>)? {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $(<$generic: $bound>)? $crate::fluvio::Wire for $name $(<$generic>)? {
            fn encode(
                &self,
                output: &mut $crate::fluvio::Output,
                version: i16,
            ) -> Result<(), $crate::WireError> {
                $(wire_struct!(@encode self.$field, output, version $(, $versions)?);)*
                Ok(())
            }

            fn decode(
                input: &mut $crate::fluvio::Input,
                version: i16,
            ) -> Result<Self, $crate::WireError> {
                Ok(Self {
                    $($field: {
                        input.enter(concat!(stringify!($name), ".", stringify!($field)));
                        wire_struct!(@decode input, version $(, $versions)?)
                    },)*
                })
            }
        }
    };
    (@encode $value:expr, $output:ident, $version:ident) => {
        $crate::fluvio::Wire::encode(&$value, $output, $version)?
    };
    (@encode $value:expr, $output:ident, $version:ident, $versions:expr) => {
        if ($versions).contains(&$version) {
            $crate::fluvio::Wire::encode(&$value, $output, $version)?
        }
    };
    (@decode $input:ident, $version:ident) => {
        $crate::fluvio::Wire::decode($input, $version)?
    };
    (@decode $input:ident, $version:ident, $versions:expr) => {
        if ($versions).contains(&$version) {
            $crate::fluvio::Wire::decode($input, $version)?
        } else {
            Default::default()
        }
    };
}

/// Declares an enum and its layout: a tag of one byte, then the fields of the variant. Fields have no versions here,
/// because official encoders ignore versions within an enum.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $(
                $(#[$variant_meta:meta])*
                $tag:literal => $variant:ident
                $(($inner:ident: $inner_type:ty))?
                $({ $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })?,
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $(
                $(#[$variant_meta])*
                $variant $(($inner_type))? $({ $($(#[$field_meta])* $field: $type,)* })?,
            )*
        }

        impl $crate::fluvio::Wire for $name {
            fn encode(
                &self,
                output: &mut $crate::fluvio::Output,
                #[allow(unused_variables, reason = "enums without fields")] version: i16,
            ) -> Result<(), $crate::WireError> {
                match self {
                    $(Self::$variant $(($inner))? $({ $($field,)* })? => {
                        output.u8($tag);
                        $($crate::fluvio::Wire::encode($inner, output, version)?;)?
                        $($($crate::fluvio::Wire::encode($field, output, version)?;)*)?
                    })*
                }
                Ok(())
            }

            fn decode(
                input: &mut $crate::fluvio::Input,
                #[allow(unused_variables, reason = "enums without fields")] version: i16,
            ) -> Result<Self, $crate::WireError> {
                match input.u8()? {
                    $($tag => {
                        $(let $inner: $inner_type = $crate::fluvio::Wire::decode(input, version)?;)?
                        $($(let $field: $type = $crate::fluvio::Wire::decode(input, version)?;)*)?
                        Ok(Self::$variant $(($inner))? $({ $($field,)* })?)
                    })*
                    other => Err(input.malformed(format!(
                        concat!("{} is not a tag of ", stringify!($name)),
                        other
                    ))),
                }
            }
        }
    };
}

/// Declares an enum without fields that newer servers are likely to extend, and keeps unknown tags. Versions do not
/// guard tags, so one new state of one object would otherwise make a whole watch unreadable.
macro_rules! wire_open_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $tag:literal => $variant:ident,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// Tag of a newer server.
            Unknown(u8),
        }

        impl $crate::fluvio::Wire for $name {
            fn encode(
                &self,
                output: &mut $crate::fluvio::Output,
                _version: i16,
            ) -> Result<(), $crate::WireError> {
                output.u8(match self {
                    $(Self::$variant => $tag,)*
                    Self::Unknown(tag) => *tag,
                });
                Ok(())
            }

            fn decode(
                input: &mut $crate::fluvio::Input,
                _version: i16,
            ) -> Result<Self, $crate::WireError> {
                Ok(match input.u8()? {
                    $($tag => Self::$variant,)*
                    other => Self::Unknown(other),
                })
            }
        }
    };
}

pub(super) use {wire_enum, wire_open_enum, wire_struct};
