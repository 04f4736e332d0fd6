//! SmartModule options of `produce` and `consume`.
//!
//! Their order matters: an option that configures a module applies to the last module before it.

use std::{path::PathBuf, time::Duration};

use clap::{ArgMatches, Args, Command, FromArgMatches, error::ErrorKind as ClapErrorKind};
use floe::{Error, ErrorKind, Lookback, SmartModule, units};

use super::{require, smartmodule::read_wasm, with_admin};
use crate::{
    commands::parse_param,
    exit::{Failure, Outcome},
    global::Global,
};

const CAPABILITY: &str = "SmartModules";

/// Chain of SmartModules, in the order of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SmartModuleArgs {
    chain: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    source: Source,
    params: Vec<(String, String)>,
    initial: Option<String>,
    last: Option<u64>,
    age: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Named(String),
    File(PathBuf),
}

/// Declaration of the options. The derived fields stay unused: `SmartModuleArgs` reads values with their indices.
#[derive(Debug, Args)]
#[command(next_help_heading = "SmartModules, Fluvio only")]
struct Definition {
    /// Apply this SmartModule of the cluster to the records; may be repeated to form a chain
    #[arg(long, value_name = "NAME")]
    smartmodule: Vec<String>,
    /// Apply a SmartModule from a file (.wasm); may be repeated and mixed with --smartmodule
    #[arg(long, value_name = "FILE")]
    smartmodule_path: Vec<PathBuf>,
    /// Set a parameter of the preceding SmartModule; may be repeated
    #[arg(long, value_name = "KEY=VALUE", visible_alias = "param", value_parser = parse_param)]
    params: Vec<(String, String)>,
    /// Run the preceding SmartModule as an aggregate with this initial value
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    aggregate_initial: Vec<String>,
    /// Pass the last N records to the preceding SmartModule before it starts
    #[arg(long, value_name = "N", visible_alias = "lookback-last", value_parser = clap::value_parser!(u64).range(1..))]
    lookback: Vec<u64>,
    /// Pass records up to this age to the preceding SmartModule before it starts
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    lookback_age: Vec<Duration>,
}

/// One option of the command line.
enum Typed {
    Module(Source),
    Param((String, String)),
    Initial(String),
    Last(u64),
    Age(Duration),
}

impl Args for SmartModuleArgs {
    fn augment_args(command: Command) -> Command {
        Definition::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Definition::augment_args_for_update(command)
    }
}

impl FromArgMatches for SmartModuleArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut typed = Vec::new();
        collect(matches, "smartmodule", &mut typed, |name| Typed::Module(Source::Named(name)));
        collect(matches, "smartmodule_path", &mut typed, |path| Typed::Module(Source::File(path)));
        collect(matches, "params", &mut typed, Typed::Param);
        collect(matches, "aggregate_initial", &mut typed, Typed::Initial);
        collect(matches, "lookback", &mut typed, Typed::Last);
        collect(matches, "lookback_age", &mut typed, Typed::Age);
        typed.sort_by_key(|(index, _)| *index);
        let mut chain: Vec<Step> = Vec::new();
        for (_, option) in typed {
            match (option, chain.last_mut()) {
                (Typed::Module(source), _) => {
                    chain.push(Step { source, params: Vec::new(), initial: None, last: None, age: None });
                }
                (_, None) => {
                    let message = "SmartModule options must follow --smartmodule or --smartmodule-path\n";
                    return Err(clap::Error::raw(ClapErrorKind::MissingRequiredArgument, message));
                }
                (Typed::Param(param), Some(step)) => step.params.push(param),
                (Typed::Initial(text), Some(step)) => step.initial = Some(text),
                (Typed::Last(count), Some(step)) => step.last = Some(count),
                (Typed::Age(age), Some(step)) => step.age = Some(age),
            }
        }
        Ok(Self { chain })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Collects the values of an option with their indices on the command line.
fn collect<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    id: &str,
    typed: &mut Vec<(usize, Typed)>,
    make: impl Fn(T) -> Typed,
) {
    let indices = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<T>(id).into_iter().flatten();
    typed.extend(indices.zip(values).map(|(index, value)| (index, make(value.clone()))));
}

impl SmartModuleArgs {
    /// Loads the modules. Fails before it reads a file if the engine has no SmartModules, and after that if the cluster
    /// lacks one of them.
    pub(crate) async fn load(&self, global: &Global) -> Outcome<Vec<SmartModule>> {
        if self.chain.is_empty() {
            return Ok(Vec::new());
        }
        require(&global.url, CAPABILITY)?;
        let modules = self.chain.iter().map(Step::load).collect::<Outcome<Vec<_>>>()?;
        let named: Vec<_> = modules.iter().filter_map(SmartModule::name).collect();
        if !named.is_empty() {
            // An SPU learns of a new module with a delay, so the client retries a request for an unknown one. A misspelt
            // name would be retried forever.
            with_admin(global, CAPABILITY, async |admin| {
                for name in named {
                    if !admin.has_smartmodule(name).await? {
                        let message = format!("the cluster has no SmartModule {name:?}");
                        return Err(Error::new(ErrorKind::ModuleNotFound, message).into());
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(modules)
    }
}

impl Step {
    fn load(&self) -> Outcome<SmartModule> {
        let mut module = match &self.source {
            Source::Named(name) => SmartModule::named(name.as_str()),
            Source::File(path) => SmartModule::wasm(read_wasm(path)?),
        };
        for (key, value) in &self.params {
            module = module.param(key, value);
        }
        if let Some(initial) = &self.initial {
            module = module.aggregate(initial.clone());
        }
        let lookback = match (self.last, self.age) {
            (None, None) => None,
            (Some(count), None) => Some(Lookback::Last(count)),
            (None, Some(age)) => Some(Lookback::Age(age)),
            (Some(count), Some(age)) => Some(Lookback::LastWithin(count, age)),
        };
        if let Some(lookback) = lookback {
            module = module.lookback(lookback);
        }
        module.validate().map_err(|error| match &self.source {
            Source::Named(_) => Failure::from(error),
            Source::File(path) => Failure::from(error).explained(format!("{} is not usable", path.display())),
        })?;
        Ok(module)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use floe::config::Config;

    use super::*;
    use crate::format::OutputFormat;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        modules: SmartModuleArgs,
    }

    fn parse(line: &[&str]) -> Result<SmartModuleArgs, clap::Error> {
        Ok(Line::try_parse_from([&["consume"], line].concat())?.modules)
    }

    #[test]
    fn options_apply_to_the_preceding_module() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sum.wasm");
        std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        let line = [
            "--smartmodule=a/filter@0.1.0",
            "--params=below=1=2",
            "--param",
            "mode=x",
            "--smartmodule-path",
            path.to_str().unwrap(),
            "--aggregate-initial",
            "-1",
            "--lookback=5",
            "--lookback-age=1m",
            "--smartmodule=last",
            "--lookback-last=3",
        ];
        let chain = parse(&line).unwrap().chain;
        let modules: Vec<_> = chain.iter().map(|step| step.load().unwrap()).collect();
        let expected = [
            SmartModule::named("a/filter@0.1.0").param("below", "1=2").param("mode", "x"),
            SmartModule::wasm(&b"\0asm\x01\0\0\0"[..])
                .aggregate("-1")
                .lookback(Lookback::LastWithin(5, Duration::from_secs(60))),
            SmartModule::named("last").lookback(Lookback::Last(3)),
        ];
        assert_eq!(modules, expected);
    }

    #[test]
    fn invalid_chains_are_rejected() {
        for line in [
            &["--params=a=b"][..],
            &["--lookback=3", "--smartmodule=a"],
            &["--smartmodule=a", "--params=b"],
            &["--smartmodule=a", "--lookback=0"],
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }

    #[tokio::test]
    async fn unsupported_engines_and_missing_files_are_rejected() {
        let at = |url: &str| Global {
            url: url.to_owned(),
            output: OutputFormat::default(),
            listen_public: false,
            wait: Duration::ZERO,
            config: Config::default(),
        };
        let none = parse(&[]).unwrap();
        assert_eq!(none.load(&at("memory:")).await.unwrap(), []);
        let one = parse(&["--smartmodule-path=/no/such.wasm"]).unwrap();
        assert_eq!(one.load(&at("walrus://h")).await.unwrap_err().code(), "unsupported");
        assert_eq!(one.load(&at("fluvio://h")).await.unwrap_err().exit_code(), 3);
    }
}
