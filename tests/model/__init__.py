"""A model of workers, zombies, readers and an operator, driving the production code.

A `World` plays events in any order: lives that overlap, calls that fail or arrive again later,
retention, replays, deliberate moves, readers that page and acknowledge. After every step what a
reader would see is held against what the logs say (G1 to G6). Without one of the rules below a
history goes wrong, in one of the ways named beside it:

    keys_sort_by_first                                    PAGE,PAGE-SKIPS
    what_was_passed_is_not_dropped                        TWICE
    the_cursor_is_not_read_again                          ECHO,PAGE
    a_page_goes_on_behind_a_cut_bundle                    PAGE,PAGE-SKIPS
    a_cut_bundle_counts_as_passed                         PAGE-SKIPS
    resends_of_what_was_acknowledged_are_dropped          PAGE,PAGE-SKIPS
    resends_are_shown                                     DOUBLE,PAGE
    cut_bundles_are_listed_for_deletion                   HOLE,LOST,VANISHED
    bundles_are_deleted_before_the_cursor_is_raised       HOLE,LOST,VANISHED
    bundles_are_deleted_though_the_cursor_was_not_raised  HOLE,LOST,VANISHED
    the_cursor_goes_down                                  CURSOR-BACK
    bundles_cross_window_borders                          LOST
    keys_do_not_tell_the_epoch                            FOREIGN,HIDDEN,HOLE,LOST
    waves_are_written_together                            HOLE
    next_wave_before_the_split_is_over                    HOLE
    halves_in_any_order                                   HOLE
    dead_letters_after_the_messages                       HOLE
    two_flushes_of_a_partition_at_a_time                  HOLE
    a_life_goes_on_after_a_failed_flush                   HOLE,LOST
    progress_of_what_is_not_durable                       LOST
    progress_goes_down                                    LOST
    progress_of_another_epoch_is_raised                   FOREIGN,LOST
    a_life_begins_between_borders                         LOST
    a_rewind_is_not_rounded                               LOST
    a_border_that_retention_ate_is_no_matter              LOST
    a_life_begins_below_the_origin                        ACK-COVERS-UNRETURNED,HIDDEN,LOST
    a_skip_leaves_the_origin                              ACK-COVERS-UNRETURNED,HIDDEN,LOST
    the_group_is_followed_forward                         HOLE
    a_first_start_is_not_recorded                         ACK-COVERS-UNRETURNED,HIDDEN
    a_jump_over_retention_is_gone_on_from                 HOLE,LOST
"""
