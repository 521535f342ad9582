//! The contract of a cache without a server. Not here: what looks into a server, or takes one away (ends of keys, damaged
//! entries, another layout, a lost journal, a handle that is closed, a user without rights); what needs one (access insight
//! and what stands on it, removal by pattern, size, write-behind); and a stale batch: a load that takes no time at all is
//! there before that.

use russet_cache::Memory;

use crate::support::At;

macro_rules! in_memory {
    ($($module:ident { $($name:ident,)* })*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $name() {
                crate::$module::$name(super::At::Memory(super::Memory::new())).await;
            })*
        })*
    };
}

in_memory! {
    single {
        a_value_is_loaded_once_and_then_found,
        what_is_not_to_be_kept_is_not,
        a_loader_that_fails_is_an_error_and_leaves_nothing,
        a_value_that_can_not_be_kept_is_still_served,
        what_yesterdays_release_wrote_is_a_miss,
    }
    batch {
        one_result_a_key_in_the_order_asked_duplicates_too,
        a_thousand_keys_in_any_slots_are_read_filled_and_removed,
        a_batch_of_nothing_asks_nobody,
        a_loader_that_fails_fails_the_batch,
        what_is_removed_while_a_batch_loads_it_is_not_filled,
    }
    pages {
        a_list_is_cached_once_and_its_items_one_by_one,
    }
    warm {
        a_warmer_goes_no_faster_than_it_may_and_ends_when_it_is_told,
    }
    stampede {
        a_thousand_who_miss_are_one_load,
        who_waits_is_woken_by_the_fill,
        what_is_removed_while_it_is_loaded_is_not_filled,
        who_asks_after_a_removal_does_not_wait_for_what_was_under_way,
        what_is_written_while_it_is_loaded_stays,
        a_caller_that_goes_away_leaves_the_load_to_the_others,
        a_load_longer_than_its_lease_keeps_it,
        who_has_waited_for_two_leases_loads_for_itself_and_does_not_fill,
        batches_that_overlap_load_each_key_once,
    }
    grace {
        a_value_past_its_time_is_given_while_one_loads,
        a_handle_with_another_time_to_live_fills_for_that,
        its_time_is_the_servers,
        where_the_loader_fails_the_old_value_serves_and_it_is_not_asked_by_everybody,
        a_lookup_waits_as_long_as_it_is_told_to,
        what_has_not_changed_is_kept_for_another_time,
        what_has_not_changed_keeps_its_version_and_its_tags,
        what_is_gone_at_the_origin_goes_here_too,
        what_is_marked_or_removed_while_it_is_refreshed_is_not_filled,
    }
    refresh {
        before_its_time_is_over_one_lookup_refreshes_it,
        what_a_refresh_finds_gone_is_removed,
        what_took_long_to_load_is_refreshed_early,
        memory_gives_way_to_the_refresh_of_a_value_by_its_own_time,
        what_memory_answers_is_refreshed_early_too,
    }
    journal {
        tags_make_what_has_them_invalid_and_nothing_else,
        absence_and_batches_are_invalid_with_the_rest,
        an_invalidation_wins_over_a_load_that_began_before_it,
        what_was_done_is_what_is_told_and_by_whom,
        whoever_listens_hears_what_is_invalid_in_order,
        who_falls_too_far_behind_begins_anew,
        tags_from_before_one_began_to_follow_are_asked_for,
        more_tags_than_are_remembered_are_invalid_rather_than_forgotten,
    }
    local {
        other_processes_know_in_time,
        memory_keeps_nothing_for_longer_than_redis,
    }
    write {
        what_is_written_is_cached_and_what_it_concerns_is_not,
        what_a_write_is_said_to_concern_waits_for_it,
        a_write_that_fails_leaves_nothing,
        of_many_writers_none_leaves_the_older_value,
        an_update_is_for_what_is_older_and_there,
    }
}
