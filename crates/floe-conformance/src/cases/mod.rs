//! The cases by theme, and the list of all cases.

pub(crate) mod applications;
pub(crate) mod cancel;
pub(crate) mod conditions;
pub(crate) mod consume;
pub(crate) mod faults;
pub(crate) mod flow;
pub(crate) mod groups;
pub(crate) mod lifecycle;
pub(crate) mod offsets;
pub(crate) mod order;
pub(crate) mod payloads;
pub(crate) mod produce;
pub(crate) mod refusals;
pub(crate) mod topics;

/// Lists the cases of each theme with their requirements. Passes the list to the macro `$then`, after `$given`.
#[doc(hidden)]
#[macro_export]
macro_rules! with_every_case {
    ([$($then:tt)+] $given:tt) => {
        $($then)+! { $given
            topics {
                created_topic_is_described:;
                every_partition_is_described: partitions offsets;
                topics_are_listed_by_name: list_topics;
                creating_a_topic_twice_is_refused:;
                trimmed_records_are_gone_and_the_others_stay: offsets;
                changed_settings_of_a_topic_are_kept:;
                ensure_topic_is_idempotent:;
                invalid_topics_are_refused:;
                longest_name_is_accepted:;
                partitions_are_added: partitions offsets;
                unknown_topic_is_reported:;
                unknown_partition_is_reported: partitions offsets;
                deleted_topic_is_gone: delete_topic;
                recreated_topic_starts_empty: delete_topic offsets;
                deletion_removes_stored_offsets: delete_topic commit_offsets;
                watch_reports_changes: list_topics delete_topic;
            }
            produce {
                append_assigns_dense_offsets: dense_offsets;
                acknowledged_offset_holds_that_record: offsets;
                acknowledged_records_are_readable_at_once: offsets shared_reads;
                records_come_back_in_order:;
                keys_decide_the_partition: partitions keys offsets;
                same_key_goes_to_the_same_partition: partitions keys;
                keyless_records_reach_every_partition: partitions;
                chosen_partition_is_obeyed: partitions offsets keys;
                too_large_record_is_refused:;
                record_over_the_engines_limit_is_refused:;
                every_codec_round_trips:;
                compressed_batches_stay_compressed: offsets;
                flush_waits_for_every_record: offsets;
                lingering_records_are_sent_by_flush:;
                closing_a_producer_delivers_everything:;
                shared_producer_serves_all_tasks:;
            }
            consume {
                start_at_the_beginning: offsets;
                start_at_an_offset: offsets;
                start_in_the_middle_of_a_batch: offsets;
                start_after_the_beginning: offsets;
                start_before_the_end: offsets;
                start_at_the_end_offset_waits_for_the_next: offsets;
                start_at_the_end: offsets;
                earliest_and_latest_positions: offsets;
                start_at_a_time: offsets;
                offset_of_a_time_is_found: offsets;
                offset_beyond_the_end_is_refused: offsets;
                waiting_reader_wakes:;
                all_waiting_readers_wake: shared_reads;
                readers_are_independent: shared_reads;
                consuming_readers_share: consuming_reads;
                consuming_readers_end_where_no_record_is_left: consuming_reads;
                stopping_at_the_end: offsets;
                one_stream_of_all_partitions: partitions offsets;
                only_the_chosen_partitions: partitions offsets;
                added_partitions_are_read: partitions offsets list_topics;
                paused_partitions_wait: partitions offsets;
                seeking_moves_the_reader: offsets;
                fetching_by_offset: offsets;
                watermarks_follow_the_records: partitions offsets;
                lag_counts_unread_records: offsets;
                whole_batches_hold_the_same_records: offsets;
                deletion_ends_readers: delete_topic;
                deletion_ends_waiting_readers: delete_topic;
            }
            offsets {
                commit_and_resume: commit_offsets;
                no_offset_is_stored_without_a_commit: commit_offsets;
                commits_never_run_ahead: commit_offsets;
                commit_for_every_record: commit_offsets;
                commit_at_intervals: commit_offsets;
                acknowledged_records_are_committed_in_order: commit_offsets;
                closing_commits_finished_records: commit_offsets;
                stored_or_end_without_a_stored_offset: commit_offsets;
                groups_are_separate: commit_offsets;
                partitions_are_committed_separately: commit_offsets partitions;
                stored_offsets_are_listed_and_forgotten: commit_offsets partitions;
                stored_offset_can_be_set: commit_offsets;
            }
            groups {
                shared_members_divide_the_partitions: commit_offsets dense_offsets partitions;
                shared_members_take_over_when_one_leaves: commit_offsets dense_offsets partitions;
                shared_members_of_two_topics_keep_the_numbers_together: commit_offsets dense_offsets partitions;
                shared_positions_outlast_the_members: commit_offsets dense_offsets partitions;
                shared_groups_are_administered: commit_offsets dense_offsets partitions;
            }
            order {
                one_producer_keeps_its_order:;
                many_tasks_of_one_producer_keep_their_order:;
                many_producers_keep_their_order:;
                records_of_a_key_stay_in_order: partitions keys;
                concurrent_appends_are_total_and_unique: offsets;
                appends_are_applied_in_the_order_of_their_start:;
                appends_of_an_ended_epoch_are_refused:;
                batches_are_read_one_by_one_and_whole: dense_offsets;
                large_backlog_is_read_back_exactly:;
            }
            conditions {
                conditional_appends_need_the_expected_end: conditional_appends offsets;
                one_of_concurrent_conditional_appends_gets_each_offset: conditional_appends dense_offsets;
                retried_conditional_append_is_stored_once: conditional_appends offsets;
                conditional_append_is_retried_across_a_restart: conditional_appends offsets persistence;
                newer_token_fences_older_ones: conditional_appends offsets;
                records_of_a_task_are_stored_once: conditional_appends dense_offsets;
                fences_outlive_the_connection: conditional_appends offsets persistence;
            }
            payloads {
                empty_values_are_kept:;
                unicode_values_are_kept:;
                binary_values_are_kept: binary;
                mebibyte_values_are_kept: binary large_batches;
                sizes_around_the_batch_size_are_kept: binary;
                keys_are_kept: keys;
                headers_are_kept_in_order: headers;
                timestamps_are_kept:;
                default_timestamp_is_the_time_of_sending:;
                a_whole_record_is_kept: keys headers;
            }
            cancel {
                cancelled_reads_lose_nothing:;
                cancelled_wait_loses_nothing:;
                cancelled_try_next_loses_nothing:;
                cancelled_next_batch_loses_nothing:;
                cancelled_send_leaves_one_copy_or_none:;
                cancelled_append_leaves_one_copy_or_none:;
            }
            flow {
                stalled_reader_bounds_memory_and_blocks_no_others:;
                full_buffer_is_reported:;
                full_buffer_applies_backpressure:;
                backpressure_ends_at_the_timeout:;
                slow_delivery_times_out:;
                batch_larger_than_a_fetch_is_read:;
                small_fetches_read_everything:;
            }
            faults {
                lost_replies_store_no_duplicates: offsets shared_reads;
                refused_appends_keep_the_order: offsets;
                undelivered_records_are_listed_at_close:;
                refused_send_says_where_and_why:;
                layers_change_nothing: offsets shared_reads;
            }
            lifecycle {
                health_is_reported:;
                closed_client_refuses_everything:;
                closing_ends_waiting_readers:;
                records_outlive_the_connection: persistence;
                offsets_continue_after_reconnecting: persistence offsets;
                stored_offsets_outlive_the_connection: persistence commit_offsets;
                topics_outlive_the_connection: persistence delete_topic;
                closing_the_client_delivers_and_commits: persistence commit_offsets offsets;
            }
            applications {
                typed_values_come_back:;
                binary_typed_values_come_back: binary;
                undecodable_record_is_one_error:;
                undecodable_records_become_dead_letters: headers;
                processor_transforms_every_record:;
                processor_keeps_the_order_of_keys: keys;
                processor_failures_become_dead_letters: headers;
                processor_resumes_where_it_stopped: commit_offsets offsets;
                recorded_outputs_are_those_of_one_call: commit_offsets dense_offsets headers partitions;
                outbox_delivers_in_order:;
                outbox_restarts_lose_and_duplicate_nothing: offsets shared_reads;
            }
            refusals {
                missing_capabilities_are_refused_before_io: missing_capability;
            }
        }
    };
}
