//! The soak.

mod member;
mod produce;
mod rng;
mod samples;
mod scene;
mod server;
mod settings;

use std::{process::ExitCode, time::Instant};

use serde_json::{Value, json};

use self::{
    rng::Rng,
    samples::Samples,
    scene::{Scene, SceneReport},
    settings::Settings,
};

pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if std::env::var_os(member::ROLE).is_some() {
        runtime.block_on(member::process());
        return ExitCode::SUCCESS;
    }
    let Some(settings) = Settings::from_arguments(std::env::args().skip(1)) else { return ExitCode::SUCCESS };
    match runtime.block_on(soak(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            print(&json!({ "soak": "failed", "problem": problem }));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line of the report.
fn print(line: &Value) {
    println!("{line}");
}

async fn soak(settings: &Settings) -> Result<(), String> {
    print(&json!({
        "soak": "begins", "seconds": settings.duration.as_secs(), "round_seconds": settings.round.as_secs(),
        "records_per_second": settings.rate, "seed": settings.seed,
    }));
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut rng = Rng::new(settings.seed);
    let mut steady = Scene::start("steady", false, settings, folder.path(), rng.fork()).await?;
    let mut killed = Scene::start("killed", true, settings, folder.path(), rng.fork()).await?;
    let samples = Samples::begin(settings.duration, &[&steady.server, &killed.server]);
    let until = begun + settings.duration;
    let ended = tokio::try_join!(steady.run(until), killed.run(until));
    let (steady, killed) = match ended {
        Ok(reports) => reports,
        Err(problem) => {
            let kept = folder.keep();
            return Err(format!("{problem}; the folder {} is left", kept.display()));
        }
    };
    report(begun, &[steady, killed], &samples)
}

fn report(begun: Instant, scenes: &[SceneReport], samples: &Samples) -> Result<(), String> {
    let growth = samples.growth();
    for scene in scenes {
        print(&scene.line());
    }
    for line in growth.lines() {
        print(&line);
    }
    let problem = growth.problem();
    if begun.elapsed() >= samples::WARM && problem.is_some() {
        return problem.map_or(Ok(()), Err);
    }
    print(&json!({ "soak": "passed", "seconds": begun.elapsed().as_secs() }));
    Ok(())
}
