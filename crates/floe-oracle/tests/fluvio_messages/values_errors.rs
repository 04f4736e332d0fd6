//! Error codes have the same numbers, names and details as the official ones.

use floe_wire::fluvio as floe;
use fluvio_protocol::{
    api::RequestKind,
    link::{
        ErrorCode,
        smartmodule::{SmartModuleInitRuntimeError, SmartModuleKind, SmartModuleTransformRuntimeError},
    },
    record::{RecordData, ReplicaKey},
};

use crate::values_data::same;

#[test]
fn codes_with_details_are_the_official_ones() {
    let text = || "text".to_owned();
    for (floe, official) in [
        (floe::ErrorCode::Other(text()), ErrorCode::Other(text())),
        (
            floe::ErrorCode::RequestTimedOut { timeout_ms: 1500, kind: floe::RequestKind::Produce },
            ErrorCode::RequestTimedOut { timeout_ms: 1500, kind: RequestKind::Produce },
        ),
        (
            floe::ErrorCode::OffsetEvicted { offset: 3, next_available: 9 },
            ErrorCode::OffsetEvicted { offset: 3, next_available: 9 },
        ),
        (
            floe::ErrorCode::PartitionFull { topic: text(), partition: 4 },
            ErrorCode::PartitionFull { replica_key: ReplicaKey::new("text", 4u32) },
        ),
        (floe::ErrorCode::OffsetFlushRequestError(text()), ErrorCode::OffsetFlushRequestError(text())),
        (floe::ErrorCode::DerivedStreamNotFound(text()), ErrorCode::DerivedStreamNotFound(text())),
        (floe::ErrorCode::DerivedStreamInvalid(text()), ErrorCode::DerivedStreamInvalid(text())),
        (
            floe::ErrorCode::DeduplicationSmartModuleNameInvalid(text()),
            ErrorCode::DeduplicationSmartModuleNameInvalid(text()),
        ),
        (
            floe::ErrorCode::SystemSpecDeletionAttempt { kind: text(), name: "name".to_owned() },
            ErrorCode::SystemSpecDeletionAttempt { kind: text(), name: "name".to_owned() },
        ),
        (
            floe::ErrorCode::SystemSpecUpdatingAttempt { kind: text(), name: "name".to_owned() },
            ErrorCode::SystemSpecUpdatingAttempt { kind: text(), name: "name".to_owned() },
        ),
    ] {
        same(&floe, &official, 0);
    }
}

#[test]
fn codes_of_smartmodules_are_the_official_ones() {
    let text = || "text".to_owned();
    for (floe, official) in [
        (
            floe::ErrorCode::SmartModuleNotFound { name: text() },
            ErrorCode::SmartModuleNotFound { name: text() },
        ),
        (
            floe::ErrorCode::SmartModuleInvalid { error: text(), name: Some("name".to_owned()) },
            ErrorCode::SmartModuleInvalid { error: text(), name: Some("name".to_owned()) },
        ),
        (
            floe::ErrorCode::SmartModuleInvalidExports { error: text(), kind: "kind".to_owned() },
            ErrorCode::SmartModuleInvalidExports { error: text(), kind: "kind".to_owned() },
        ),
        (
            floe::ErrorCode::SmartModuleRuntimeError(Box::new(floe::SmartModuleFailure {
                hint: text(),
                offset: 77,
                kind: floe::FailedModuleKind::FilterMap,
                record_key: Some(floe::RecordBlob("key".into())),
                record_value: floe::RecordBlob(vec![0xff; 200].into()),
            })),
            ErrorCode::SmartModuleRuntimeError(Box::new(SmartModuleTransformRuntimeError {
                hint: text(),
                offset: 77,
                kind: SmartModuleKind::FilterMap,
                record_key: Some(RecordData::from("key")),
                record_value: RecordData::from(vec![0xff; 200]),
            })),
        ),
        (floe::ErrorCode::SmartModuleChainInitError(text()), ErrorCode::SmartModuleChainInitError(text())),
        (
            floe::ErrorCode::SmartModuleInitError(text()),
            ErrorCode::SmartModuleInitError(SmartModuleInitRuntimeError { hint: text() }),
        ),
        (floe::ErrorCode::SmartModuleLookBackError(text()), ErrorCode::SmartModuleLookBackError(text())),
        (
            floe::ErrorCode::SmartModuleMemoryLimitExceeded { requested: 8, max: 5 },
            ErrorCode::SmartModuleMemoryLimitExceeded { requested: 8, max: 5 },
        ),
    ] {
        same(&floe, &official, 0);
    }
}

/// Iterates over all codes by number: the details of any code decode from zeros.
#[test]
fn every_number_has_the_official_name_and_the_table_is_complete() {
    use std::io::Cursor;

    use floe::Wire;
    use fluvio_protocol::Decoder;

    let mut found = Vec::new();
    for code in i16::MIN..=i16::MAX {
        let bytes = [&code.to_be_bytes()[..], &[0; 64]].concat();
        let mut official = ErrorCode::default();
        let is_official = official.decode(&mut Cursor::new(&bytes), 0).is_ok();
        let floe = floe::ErrorCode::decode(&mut floe::Input::new(bytes.into()), 0).unwrap();
        assert_eq!(floe.code(), code);
        if !is_official {
            assert_eq!(floe, floe::ErrorCode::Unknown(code));
            continue;
        }
        let official = format!("{official:?}");
        let official_name = official.split(|character: char| !character.is_alphanumeric()).next().unwrap();
        assert_eq!(floe.name(), official_name, "{code}");
        assert!(!floe.to_string().is_empty());
        found.push((code, floe.name()));
    }
    let mut table = floe::ErrorCode::TABLE.to_vec();
    table.sort_unstable();
    assert_eq!(found, table);
}
