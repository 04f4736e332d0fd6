//! Conversion of SmartModules to the form that requests carry.

use floe_core::{Error, Lookback, Result, SmartModule, SmartModuleKind};
use floe_wire::fluvio::{
    Lookback as WireLookback, SmartModuleContext, SmartModuleInvocation, SmartModuleKind as WireKind,
    SmartModuleParameters, SmartModuleSource,
};

/// Converts the modules of a request, in order.
pub(super) fn invocations(modules: &[SmartModule]) -> Result<Vec<SmartModuleInvocation>> {
    modules.iter().map(invocation).collect()
}

fn invocation(module: &SmartModule) -> Result<SmartModuleInvocation> {
    let wasm = match module.packed()? {
        Some(packed) => SmartModuleSource::AdHoc(packed),
        None => SmartModuleSource::Predefined(module.name().unwrap_or_default().to_owned()),
    };
    let kind = match module.module_kind() {
        SmartModuleKind::Any => WireKind::Generic(SmartModuleContext::None),
        SmartModuleKind::Filter => WireKind::Filter,
        SmartModuleKind::Map => WireKind::Map,
        SmartModuleKind::FilterMap => WireKind::FilterMap,
        SmartModuleKind::ArrayMap => WireKind::ArrayMap,
        SmartModuleKind::Aggregate { initial } => WireKind::Aggregate { accumulator: initial.clone() },
        _ => return Err(Error::unsupported("SmartModules of this kind", "fluvio")),
    };
    let lookback = match module.lookback_window() {
        None => None,
        Some(Lookback::Last(last)) => Some(WireLookback { last, age: None }),
        Some(Lookback::Age(age)) => Some(WireLookback { last: 0, age: Some(age) }),
        Some(Lookback::LastWithin(last, age)) => Some(WireLookback { last, age: Some(age) }),
        Some(_) => return Err(Error::unsupported("a lookback of this kind", "fluvio")),
    };
    let params = SmartModuleParameters { values: module.params().clone(), lookback };
    Ok(SmartModuleInvocation { wasm, kind, params, name: module.name().map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_setting_is_carried() {
        let age = Duration::from_secs(3);
        let chain = [
            SmartModule::named("g/a@1.0.0").param("x", "1").lookback(Lookback::Last(7)),
            SmartModule::wasm(&b"\0asm1"[..]).aggregate("0").lookback(Lookback::LastWithin(2, age)),
            SmartModule::named("b").kind(SmartModuleKind::ArrayMap).lookback(Lookback::Age(age)),
        ];
        let made = invocations(&chain).unwrap();
        assert_eq!(made[0].wasm, SmartModuleSource::Predefined("g/a@1.0.0".to_owned()));
        assert_eq!(made[0].kind, WireKind::Generic(SmartModuleContext::None));
        assert_eq!(made[0].params.values["x"], "1");
        assert_eq!(made[0].params.lookback, Some(WireLookback { last: 7, age: None }));
        let SmartModuleSource::AdHoc(packed) = &made[1].wasm else { panic!("{:?}", made[1].wasm) };
        assert!(packed.starts_with(&[0x1f, 0x8b]), "gzip");
        assert_eq!(made[1].kind, WireKind::Aggregate { accumulator: "0".into() });
        assert_eq!(made[1].params.lookback, Some(WireLookback { last: 2, age: Some(age) }));
        assert_eq!(made[2].kind, WireKind::ArrayMap);
        assert_eq!(made[2].params.lookback, Some(WireLookback { last: 0, age: Some(age) }));
    }
}
