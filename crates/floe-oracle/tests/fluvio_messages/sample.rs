//! Seeded random values of messages.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    fluvio::RecordSet,
};

/// SplitMix64 generator: a seed always gives the same values.
pub(crate) struct Source(pub(crate) u64);

impl Source {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// A type with random values.
pub(crate) trait Sample: Sized {
    fn sample(source: &mut Source) -> Self;
}

macro_rules! sample_number {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn sample(source: &mut Source) -> Self {
                match source.below(8) {
                    0 => Self::MIN,
                    1 => Self::MAX,
                    2 => 0,
                    _ => {
                        let bytes = source.next().to_le_bytes();
                        Self::from_le_bytes(*bytes.first_chunk().unwrap())
                    }
                }
            }
        }
    )*};
}

sample_number!(u8, u16, u32, u64, i16, i32, i64);

impl Sample for bool {
    fn sample(source: &mut Source) -> Self {
        source.below(2) == 1
    }
}

impl Sample for () {
    fn sample(_source: &mut Source) -> Self {}
}

impl Sample for String {
    fn sample(source: &mut Source) -> Self {
        const LETTERS: &[char] = &['a', 'Z', '0', '-', ' ', '\0', 'ß', '☃', '🦀'];
        if source.below(40) == 0 {
            return "x".repeat(32_767);
        }
        (0..source.below(12)).map(|_| LETTERS[source.below(LETTERS.len())]).collect()
    }
}

impl Sample for Bytes {
    fn sample(source: &mut Source) -> Self {
        let length = if source.below(10) == 0 { 3000 } else { source.below(40) };
        (0..length).map(|_| u8::sample(source)).collect()
    }
}

impl Sample for Duration {
    fn sample(source: &mut Source) -> Self {
        Self::new(u64::sample(source), u32::try_from(source.below(1_000_000_000)).unwrap())
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source) -> Self {
        bool::sample(source).then(|| T::sample(source))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source) -> Self {
        (0..source.below(4)).map(|_| T::sample(source)).collect()
    }
}

impl<T: Sample> Sample for Box<T> {
    fn sample(source: &mut Source) -> Self {
        Self::new(T::sample(source))
    }
}

impl<K: Sample + Ord, V: Sample> Sample for BTreeMap<K, V> {
    fn sample(source: &mut Source) -> Self {
        (0..source.below(4)).map(|_| (K::sample(source), V::sample(source))).collect()
    }
}

pub(crate) fn sample_batch(source: &mut Source) -> EncodedBatch {
    let mut builder = BatchBuilder::new(256);
    for delta in 0..=source.below(3) {
        let key = Option::<Bytes>::sample(source);
        let value = Bytes::sample(source);
        let timestamp = 1_700_000_000_000 + i64::try_from(delta).unwrap();
        builder.append(timestamp, key.as_deref(), &value, &[]).unwrap();
    }
    let offset = i64::try_from(source.below(1 << 40)).unwrap();
    builder.finish(FinishOptions::default()).unwrap().with_base_offset(offset)
}

/// Only whole batches, because the official decoder drops incomplete ones.
impl Sample for RecordSet {
    fn sample(source: &mut Source) -> Self {
        let batches: Vec<_> = (0..source.below(3)).map(|_| sample_batch(source)).collect();
        Self::from_batches(&batches)
    }
}

macro_rules! sample_struct {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Sample for $name {
            fn sample(source: &mut Source) -> Self {
                Self { $($field: Sample::sample(source),)* }
            }
        }
    )*};
}

macro_rules! sample_enum {
    ($($name:ident: $($variant:ident $(($inner:tt))? $({ $($field:ident),* })?),+;)*) => {$(
        impl Sample for $name {
            fn sample(source: &mut Source) -> Self {
                let variants: &[fn(&mut Source) -> Self] = &[$(
                    #[allow(unused_variables, reason = "variants without fields")]
                    |source| Self::$variant
                        $(({ let $inner = Sample::sample(source); $inner }))?
                        $({ $($field: Sample::sample(source),)* })?,
                )+];
                variants[source.below(variants.len())](source)
            }
        }
    )*};
}

pub(crate) use {sample_enum, sample_struct};
