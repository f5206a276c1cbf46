"""The model test: the production code, in a world where everything happens that can.

A world has one table in memory, a topic with one or two partitions, and around it, all at once:

* workers: the real PartitionOpener, Assignment, Flusher, Committer, writer and progress. Two may
  believe to own a partition; each has its own bundle limits and its own opinion of which records
  are dead letters (a version decodes badly, a store rejects). Flushes fail half-way, are cut off,
  or go on when others have taken over
* calls of those who are gone, and repeated ones, that take effect at any later time
* the topic: records, resends, markers, records that expire; retention, at its own pace; the
  topic created again. The group's offset: set to anything, or lost
* the operator: rewind, skip, epoch, each of which may be interrupted
* readers: the real Mailboxes over small Queries, for the account and for devices: page behind
  page, or since a receipt, with limits that cut within bundles; acknowledgements, old and new, cut
  off anywhere; devices that are added and removed; in some worlds what was acknowledged is deleted,
  or fails to be, in the others it stays

Every call stops at a gate (`scheduler`) and is made when the world draws it, so calls interleave
one by one. Windows are 4, 8 or 16 offsets. After every write the truth is checked (`truth`,
`ledger`):

    LOST, HOLE, VANISHED     a message below progress, before a visible one, or seen before, is not
                             in a full reading, of the account or a device (G1, G2, G12)
    ORDER, TWICE, ECHO       of full readings and of pages (G3, G5, G4)
    DOUBLE, PAGE             a resend twice in a page; a page or its `more` is not exact (G5)
    PAGE-SKIPS, EMPTY-PAGE   a page passes what it does not return (G2)
    ACK-COVERS-UNRETURNED    a cursor covers what was never returned to its device (G2, G6, G12)
    CURSOR-BACK, HIDDEN      a cursor goes down; a message is delivered below it (G4, G10)
    CURSOR-PART, CARRIED     a device's cursor is made with other logs than it has read from; it
                             hides what only the account had acknowledged (G12)
    FORGOTTEN                a confirmed acknowledgement does not cover what its pages returned
                             (G4, G12)
    DELETED                  a bundle is deleted that a cursor has not passed (G1, G12)
    COMMITTED-UNWRITTEN      the group's offset is above what is durable (G1)
    ORIGIN, FOREIGN, UNREADABLE, RAISED      what nobody should have done

What excuses a missing message: it is in the dead-letter topic, has expired, lies below where the
log's first task was told to begin, was skipped, or stands in the gap that retention was reported
to have made. The last is wider than it seems: after a rewind, what lies above it counts as unread,
and where retention passes it before a worker does, bundles of before may be hidden.

Each rule is there for a reason. Left out, on purpose and alone, this is what is found:

    bundles_cross_window_borders  LOST,HOLE
        a bundle never crosses a window border
    keys_do_not_tell_the_epoch  FOREIGN,LOST,HOLE,HIDDEN
        the epoch leads the position
    waves_are_written_together  HOLE,LOST,PAGE-SKIPS
        a mailbox's next bundle is written when the one before is durable
    next_wave_before_the_split_is_over  HOLE,LOST
        ... with all that it was split into
    halves_in_any_order  HOLE,LOST
        of a rejected bundle, what is before the dead letter is written first
    dead_letters_after_the_messages  HOLE,LOST
        dead letters are acknowledged before a message behind them is visible
    two_flushes_of_a_partition_at_a_time  HOLE,LOST
        one flush at a time per partition
    a_task_continues_after_a_failed_flush  HOLE,LOST
        a flush that did not end well is the last of its partition task
    progress_of_what_is_not_durable  LOST
        progress is of what is durable in this partition task
    the_group_is_committed_up_to_what_was_fetched  COMMITTED-UNWRITTEN
        the group's offset is of what is durable
    progress_goes_down  LOST
        progress is monotone
    progress_of_another_epoch_is_raised  LOST,FOREIGN
        ... and raised within its epoch only
    a_task_begins_between_window_borders  LOST,HOLE
        a lower start is rounded down to a window border
    a_rewind_is_not_rounded  LOST,HOLE
        so is a deliberate rewind
    a_border_that_retention_ate_is_no_matter  LOST,HOLE
        if retention ate that border: the next one, or progress
    a_task_begins_below_the_origin  HIDDEN,ACK-COVERS-UNRETURNED,LOST
        never below the origin
    a_skip_leaves_the_origin  HIDDEN,ACK-COVERS-UNRETURNED,LOST
        a skip moves the origin too
    the_group_is_followed_forward  HOLE,LOST
        the group's offset may lower a start, never raise it
    a_first_start_is_not_recorded  HIDDEN,ACK-COVERS-UNRETURNED,LOST,HOLE
        a first start is recorded before its first record
    a_first_start_overwrites_another  ORIGIN,LOST,HOLE,HIDDEN,ACK-COVERS-UNRETURNED
        ... on condition of absence
    a_jump_over_retention_is_gone_on_from  LOST,HOLE
        a jump that retention made ends the partition task
    keys_sort_by_first  PAGE,PAGE-SKIPS
        a key leads with last: a new message sorts after every visible one
    what_was_passed_is_not_dropped  TWICE,PAGE
        read in key order, drop what was passed
    the_cursor_is_not_read_again  ECHO,PAGE
        behind a receipt, the cursor is read again
    a_page_goes_on_behind_a_cut_bundle  PAGE-SKIPS,PAGE
        go on after offset p with keys whose last > p
    a_cut_bundle_counts_as_passed  PAGE-SKIPS
        a receipt covers what was passed, and no more
    resends_of_what_was_acknowledged_are_dropped  PAGE-SKIPS,PAGE
        resends are dropped last, within a page: in doubt, twice
    resends_are_shown  DOUBLE,PAGE
        a resend is shown once within a page
    the_cursor_goes_down  CURSOR-BACK
        the cursor only rises
    the_scan_skips_one_step_too_far  PAGE-SKIPS,PAGE
        go on above what the cursor hides, and no further
    a_receipt_that_is_kept_counts_for_nothing  ECHO,PAGE,TWICE
        what it covers counts as acknowledged
    a_devices_cursor_does_not_count_alone  PAGE,PAGE-SKIPS
        a device that has a cursor reads from it alone
    a_device_without_a_cursor_reads_from_the_beginning  ECHO,PAGE
        ... and one that has none from the account's
    a_device_acknowledges_for_the_account  ACK-COVERS-UNRETURNED
        an acknowledgement raises the cursor of its device
    a_devices_cursor_begins_with_what_it_was_returned  CURSOR-PART
        a device's cursor is made with all that its reading began with
    a_devices_cursor_appears_log_by_log  CURSOR-PART
        ... at once
    a_devices_cursor_begins_where_the_account_stands_now  CURSOR-PART
        ... as the account stood when the page was read
    what_is_inherited_is_acknowledged  CARRIED
        a cursor that is there is raised by what the reading has passed itself
    what_the_account_has_is_taken_for_a_devices_own  FORGOTTEN,CURSOR-PART
        ... by all of it, also where the account was ahead of it
    a_device_that_is_there_is_added_again  CURSOR-BACK,ACK-COVERS-UNRETURNED
        a device is added on condition of absence
    bundles_that_are_half_acknowledged_are_deleted  DELETED
        a bundle is deleted where all of it is acknowledged
    what_a_device_has_not_passed_is_deleted  DELETED
        ... by every device
    a_log_that_a_cursor_does_not_name_counts_as_passed  DELETED
        ... also by one that has read nothing of the log
    bundles_are_deleted_before_the_cursor_is_raised  DELETED
        an acknowledgement raises the cursor, then deletes
    bundles_are_deleted_though_the_cursor_was_not_raised  DELETED
        ... where the raise is confirmed

Left out without harm to G2 to G6, and so not listed: that progress is written before the group's
offset, that the latter goes up to what this task made durable and not to stored progress, and that
a lower start forgets the offset last confirmed (they decide what is replayed, and the world sets
the group's offset to anything); that what a cursor covered already is not acknowledged again (it
saves the update); and, as long as the other rules hold, that a key tells where its bundle begins.
"""
