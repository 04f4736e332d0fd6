//! The producer on an engine with faults, its clock paused.

mod sending;
