//! What happened in a run, for the table at the end.

use std::collections::BTreeMap;

/// The kinds of fault; a campaign in which one never happened is red.
pub const FAULTS: &[&str] = &[
    "crash between calls",
    "crash inside a call",
    "crash inside a job",
    "crash while starting",
    "crash in recovery, again",
    "crash soon after a start",
    "clean shutdown",
    "connection broken",
    "disk full",
    "fsync error",
    "read error",
    "write without space",
    "slow disk",
    "bit flip",
    "wall clock jump",
    "process ended itself",
    "files of an earlier build",
];

/// The kinds that only a cluster knows.
pub const OUTAGES: &[&str] = &[
    "crash of several nodes",
    "cut between two nodes",
    "one-way cut",
    "isolated node",
    "slow link",
    "pause",
    "controller killed",
    "rolling restart",
    "left in good order",
    "left in haste",
    "disk lost",
    "lost disk made good",
    "metadata rotten",
    "disk replaced",
    "damage repaired",
    "rot under a running node",
];

/// The marks that a campaign must reach.
pub const MARKS: &[&str] = &[
    "append_without_space",
    "batch_compacted_away",
    "damage_before_start_passed",
    "deleted_partition_makes_way",
    "deleted_partition_swept",
    "directory_fenced",
    "duplicate_batch_found",
    "epochs_rebuilt",
    "fetch_out_of_range",
    "first_rebalance_extended",
    "flush_of_another_generation",
    "group_append_failed",
    "index_rebuilt",
    "log_start_moved",
    "metadata_waits_for_space",
    "offsets_of_deleted_topics",
    "partition_compacted",
    "partition_led_anew",
    "partition_opened_later",
    "partition_waits_for_space",
    "rebalance_while_completing",
    "recovered_not_settled",
    "rejoin_answered_at_once",
    "retention_doubts_clock",
    "round_flushed_file_system",
    "segment_cut",
    "segment_rolled",
    "session_expired",
    "session_of_waiting_member",
    "shard_lost",
    "shard_resigned",
    "static_member_replaced",
    "stray_set_aside",
    "tail_cut",
    "tails_flushed_with_file_system",
];

/// The marks that a campaign of clusters must reach.
pub const CLUSTER_MARKS: &[&str] = &[
    "deletion_waits_for_followers",
    "directory_of_nobody_makes_way",
    "duplicate_batch_found",
    "fenced_broker_told_of",
    "fetch_cut_short",
    "fetch_stands_in_line",
    "follower_could_not_take",
    "follower_cut",
    "follower_diverges",
    "follower_does_not_wait",
    "follower_out_of_range",
    "follower_read",
    "follower_refused",
    "follower_start_moved",
    "follower_starts_over",
    "gone_process_fenced",
    "in_sync_change_not_answered",
    "in_sync_change_refused",
    "in_sync_changed",
    "leadership_lost",
    "log_started_over",
    "log_truncated",
    "member_came_with_another_disk",
    "node_admitted",
    "node_leaves",
    "partition_led_anew",
    "preferred_leader_moved_to_even_out",
    "produce_timed_out",
    "question_asked_again",
    "question_asked_elsewhere",
    "quorum_leader_gone",
    "reader_sent_nearer",
    "repeated_answer_dropped",
    "session_expired",
    "snapshot_installed",
    "successor_awaited",
];

/// Held by `every_script_holds_on_the_machine`.
pub(crate) const NO_CLIENT: &str = "no simulated client asks for it; a script does";
const ALL_IN_MEMORY: &str = "the page cache is never dropped under the node; a unit test does it";
const UNTHROTTLED: &str = "nobody throttles copies; the tests of replicas that follow each other do";
const SELDOM: &str = "a few seeds in a thousand reach it, too few to demand it of each campaign";
const BOUND: &str = "a bound that is far above what a run reaches; a unit test reaches it";
const QUORUM: &str = "whole quorums run in `quorum/tests/members`, which demands it, or its unit tests do";
const WRITTEN_BY_KAFKA: &str = "takes a log that a real broker wrote; a unit test has one";
const ANOTHER_CLUSTER: &str =
    "takes a node of another cluster, or another disk, or a client that poses as a node";
const ONE_RELEASE: &str = "all simulated nodes are of one release; a unit test speaks to an older one";
const FIVE: &str = "takes more nodes than the voters: a run of five has them";
const MEMBERSHIP: &str = "no run changes the members of its cluster; tests of the membership do";
const COMPACTION: &str = "unique keys leave nothing of this kind; the compaction's own tests do";

/// All other marks, and why no campaign of a node alone is asked for them (some, a campaign of clusters is).
pub const NOT_DEMANDED: &[(&str, &str)] = &[
    ("api_versions_downgraded", NO_CLIENT),
    ("assignment_too_large", BOUND),
    ("broker_registers_again", SELDOM),
    ("batch_emptied", COMPACTION),
    ("batch_recompressed", NO_CLIENT),
    ("commit_too_large", BOUND),
    ("compaction_dropped", SELDOM),
    ("compaction_met_damage", SELDOM),
    ("connection_refused", NO_CLIENT),
    ("controller_forgotten", MEMBERSHIP),
    ("controller_reads_before_it_fences", SELDOM),
    ("cut_failed", SELDOM),
    ("damage_before_start", SELDOM),
    ("damage_found_by_a_reader", SELDOM),
    ("damage_told", SELDOM),
    ("damage_without_another_copy", SELDOM),
    ("damaged_replica_replaced", SELDOM),
    ("decision_spans_entries", BOUND),
    ("deletion_timed_out", SELDOM),
    ("empty_group_removed", SELDOM),
    ("end_not_known_yet", SELDOM),
    ("expiry_continued", BOUND),
    ("fetch_not_answered", SELDOM),
    ("fetch_of_cold_records", ALL_IN_MEMORY),
    ("fetch_session_epoch_refused", NO_CLIENT),
    ("fetch_session_evicted", NO_CLIENT),
    ("follower_begins_with_the_batch", SELDOM),
    ("follower_holds_back", UNTHROTTLED),
    ("follower_of_an_earlier_life", SELDOM),
    ("follower_session_refused", SELDOM),
    ("foreign_group_record_skipped", WRITTEN_BY_KAFKA),
    ("founder_finds_a_cluster", SELDOM),
    ("greeting_of_a_double", ANOTHER_CLUSTER),
    ("group_full", NO_CLIENT),
    ("index_dropped", SELDOM),
    ("job_of_deleted_partition", SELDOM),
    ("late_answer_dropped", SELDOM),
    ("late_load_dropped", SELDOM),
    ("late_member_removed", SELDOM),
    ("late_report_dropped", SELDOM),
    ("leader_hands_over_to_lose_its_vote", MEMBERSHIP),
    ("leader_holds_back", UNTHROTTLED),
    ("leader_is_no_member_yet", SELDOM),
    ("link_dead_and_quiet", SELDOM),
    ("link_garbled", ANOTHER_CLUSTER),
    ("link_not_greeted", SELDOM),
    ("link_peer_cannot_be_told", ONE_RELEASE),
    ("link_refused", ANOTHER_CLUSTER),
    ("loaded_group_too_large", BOUND),
    ("log_before_a_fetched_snapshot", SELDOM),
    ("member_asks_for_its_vote", MEMBERSHIP),
    ("member_forgotten", MEMBERSHIP),
    ("moved_partition_swept", SELDOM),
    ("nobody_rejoined", SELDOM),
    ("null_key_refused", NO_CLIENT),
    ("own_snapshot_outdated", SELDOM),
    ("partition_moved_away", MEMBERSHIP),
    ("partition_opened_with_the_next", BOUND),
    ("partition_reopened", SELDOM),
    ("peer_is_another", ANOTHER_CLUSTER),
    ("pending_member_expired", SELDOM),
    ("produce_timed_out", NO_CLIENT),
    ("producers_forgotten", SELDOM),
    ("question_given_up", SELDOM),
    ("quorum_candidate_without_snapshot", QUORUM),
    ("quorum_garbled_message", QUORUM),
    ("quorum_joint_left", QUORUM),
    ("quorum_late_rejection", QUORUM),
    ("quorum_leader_left", QUORUM),
    ("quorum_leaver_hands_over", QUORUM),
    ("quorum_refused_message", QUORUM),
    ("quorum_snapshot_of_an_earlier_leader", QUORUM),
    ("replica_moved_to_even_out", FIVE),
    ("report_of_a_stranger", ANOTHER_CLUSTER),
    ("retention_deleted", SELDOM),
    ("server_says_who_it_is", FIVE),
    ("shard_settles", SELDOM),
    ("snapshot_dropped", SELDOM),
    ("snapshot_fetch_failed", SELDOM),
    ("snapshot_fetch_refused", SELDOM),
    ("snapshot_without_space", SELDOM),
    ("static_member_removed_by_name", NO_CLIENT),
    ("stranger_refused", ANOTHER_CLUSTER),
    ("swap_completed_on_open", SELDOM),
    ("sync_timeout", SELDOM),
    ("tail_of_closed_segment_cut", SELDOM),
    ("timestamp_in_the_future", NO_CLIENT),
    ("unfinished_decision_aborted", BOUND),
    ("unknown_follower", SELDOM),
    ("wall_clock_doubted", SELDOM),
    ("wrong_node_reached", ANOTHER_CLUSTER),
];

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Marks by name.
    pub marks: BTreeMap<&'static str, u64>,
    /// Faults that were drawn in one run, as they are numbered.
    pub faults_drawn: u32,
    /// Times the node started.
    pub starts: u64,
    /// Times it crashed.
    pub crashes: u64,
    /// Replies that clients got.
    pub replies: u64,
    /// Values acknowledged.
    pub acked: usize,
    /// Offset commits acknowledged.
    pub committed: usize,
    /// Assignments that group members got.
    pub assigned: usize,
    /// Milliseconds that passed in the simulated world.
    pub millis: u64,
    /// Records found at the end.
    pub read: usize,
    /// Acknowledged records of `replicated` topics that power failures took: allowed, and expected.
    pub lost_volatile: usize,
}

impl Report {
    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in &other.marks {
            *self.marks.entry(name).or_default() += count;
        }
        self.starts += other.starts;
        self.crashes += other.crashes;
        self.replies += other.replies;
        self.acked += other.acked;
        self.read += other.read;
        self.millis += other.millis;
        self.committed += other.committed;
        self.assigned += other.assigned;
        self.lost_volatile += other.lost_volatile;
    }
}
