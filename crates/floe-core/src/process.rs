//! The process that a task belongs to. There is one, except in a simulation, which runs several within one thread.

/// Makes a future that is about to be spawned belong to the process of the task that spawns it. Without the feature
/// `simulation` it is the same future.
#[cfg(not(feature = "simulation"))]
pub fn inherit<F: Future>(work: F) -> F {
    work
}

/// Makes a future that is about to be spawned belong to the [simulated process](crate::simulation::Process) of the task that
/// spawns it, if there is one.
#[cfg(feature = "simulation")]
pub fn inherit<F: Future>(work: F) -> crate::simulation::ProcessTask<F> {
    crate::simulation::ProcessTask::of_caller(work)
}
