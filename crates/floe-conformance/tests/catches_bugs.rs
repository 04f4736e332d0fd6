//! The suite on faulty engines: each fault must fail the case that tests for it.
//!
//! The clock is paused, so a hanging case fails as soon as all tasks are idle.

mod liar;

use std::sync::Arc;

use floe_conformance::{CASES, Target, Verdict, find, run_case, run_suite};
use liar::{Liar, Lie};

fn target(lie: Lie) -> Target {
    Target::engine("liar", move || async move { Ok(Arc::new(Liar::new(lie)) as _) })
}

/// Runs one case on a faulty engine, expects it to fail, and returns the failure.
async fn caught_by(lie: Lie, name: &str) -> String {
    let case = find(name).unwrap_or_else(|| panic!("the suite has no case {name}"));
    match run_case(&target(lie), case).await {
        Verdict::Failed(failure) => {
            let why = failure.to_string();
            assert!(!why.contains("no connection"), "failed for another reason: {why}");
            why
        }
        verdict => panic!("{name} does not detect {lie:?}: {verdict:?}"),
    }
}

macro_rules! lies {
    ($($name:ident: $lie:ident => $case:ident;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                caught_by(Lie::$lie, stringify!($case)).await;
            }
        )*
    };
}

lies! {
    dropped_batches: DropEveryTenth => acknowledged_records_are_readable_at_once;
    repeated_batches: RepeatEveryTenth => append_assigns_dense_offsets;
    swapped_batches: SwapNeighbours => appends_are_applied_in_the_order_of_their_start;
    wrong_offsets: WrongOffsetInAck => acknowledged_offset_holds_that_record;
    early_acknowledgements: AckBeforeStore => acknowledged_records_are_readable_at_once;
    appends_in_any_order: StoreInAnyOrder => appends_are_applied_in_the_order_of_their_start;
    ended_epochs_ignored: IgnoreEpochs => appends_of_an_ended_epoch_are_refused;
    conditions_ignored: IgnoreConditions => conditional_appends_need_the_expected_end;
    dropped_appends_repeated: StoreAgainWhenDropped => cancelled_append_leaves_one_copy_or_none;
    wrong_partition: EverythingInPartition0 => chosen_partition_is_obeyed;
    undone_compression: Decompress => compressed_batches_stay_compressed;

    reads_that_hang: HangAfterFive => small_fetches_read_everything;
    reads_that_sleep_on: HangAfterFirstLook => waiting_reader_wakes;
    reads_that_end: EndInsteadOfWaiting => cancelled_wait_loses_nothing;
    dropped_reads_lose: LoseBatchWhenDropped => cancelled_reads_lose_nothing;
    first_records_skipped: SkipBatchAtStart => start_at_an_offset;
    first_batch_skipped: SkipToNextBatch => start_in_the_middle_of_a_batch;
    any_offset_accepted: AcceptAnyOffset => offset_beyond_the_end_is_refused;
    latest_is_earliest: LatestIsEarliest => earliest_and_latest_positions;
    large_batches_withheld: NeverLargerThanAsked => batch_larger_than_a_fetch_is_read;
    deletion_unnoticed: HangWhenDeleted => deletion_ends_waiting_readers;
    readers_that_steal: OneCursorForAll => readers_are_independent;

    changed_values: FlipByte => binary_values_are_kept;
    damaged_batches: FlipByteKeepChecksum => batches_are_read_one_by_one_and_whole;
    text_only: TextOnly => binary_values_are_kept;
    empty_values_filled: SpaceForEmpty => empty_values_are_kept;
    no_headers: DropHeaders => headers_are_kept_in_order;
    one_header_per_name: LastHeaderWins => headers_are_kept_in_order;
    no_timestamps: ZeroTimestamps => timestamps_are_kept;
    empty_keys_gone: EmptyKeyIsNone => keys_are_kept;

    wrong_watermarks: HighTooHigh => watermarks_follow_the_records;
    times_of_batches: TimeOfBatch => offset_of_a_time_is_found;
    commits_ahead: StoreOneAhead => commits_never_run_ahead;
    commits_lost: LoseCommits => commit_and_resume;
    nothing_forgotten: ForgetNothing => stored_offsets_are_listed_and_forgotten;
    groups_mixed_up: OneGroup => groups_are_separate;

    nothing_deleted: DeleteNothing => deleted_topic_is_gone;
    records_outlive_deletion: DeleteKeepsRecords => recreated_topic_starts_empty;
    offsets_outlive_deletion: DeleteKeepsOffsets => deletion_removes_stored_offsets;
    created_twice: CreateAgain => creating_a_topic_twice_is_refused;
    unknown_topics_created: CreateUnknown => unknown_topic_is_reported;
    nothing_added: AddNothing => partitions_are_added;
    unordered_list: ListBackwards => topics_are_listed_by_name;
    silent_watch: SilentWatch => watch_reports_changes;
    growth_unnoticed: SilentWatch => added_partitions_are_read;
    never_ready: NeverReady => health_is_reported;
    works_after_close: WorkAfterClose => closed_client_refuses_everything;
}

#[tokio::test(start_paused = true)]
async fn honest_engine_passes() {
    let report = run_suite(&target(Lie::None)).await;
    assert!(report.is_success(), "{report}");
    assert!(report.passed.len() + report.skipped.len() == CASES.len(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn hanging_case_fails_as_hanging() {
    let why = caught_by(Lie::HangAfterFive, "small_fetches_read_everything").await;
    assert!(why.contains("hangs"), "{why}");
}
