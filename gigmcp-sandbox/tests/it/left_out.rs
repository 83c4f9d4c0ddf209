//! Tests that need more than a user has say so, and the runs as a user know which they are.

use std::fs::File;
use std::io::{Write, stdout};
use std::os::fd::AsFd;

/// What is left out of a run as a user to whom no control groups are delegated.
const AS_A_USER: &[&str] = &[
    "docker::a_container_that_is_too_strict_is_told_of_with_the_fix",
    "docker::each_call_that_the_profile_adds_is_needed",
    "docker::everything_holds_in_a_container_with_users_of_its_own",
    "docker::everything_holds_in_a_container_without_capabilities",
    "docker::the_profile_is_dockers_own_with_these_calls_added",
    "docker::the_profile_refuses_what_a_sandbox_needs_nothing_of",
    "hostile_images::row_36_the_known_bubblewrap_writes_to_the_host_from_such_an_image",
    "hosts::the_hosts_root_who_cannot_become_another_user_starts_nothing",
    "inherited::a_host_process_that_takes_less_has_servers_that_take_no_more",
    "inherited::a_server_is_no_more_than_usual_whatever_the_host_process_is",
    "limits::nothing_is_left_of_a_group_however_a_sandbox_ends",
    "limits::one_process_out_of_memory_ends_the_whole_sandbox",
    "limits::too_little_memory_to_start_is_named",
    "limits::what_is_written_to_memory_counts_as_memory",
    "network::what_a_bare_link_lets_out_stays_in_with_both_networks",
    "network::what_is_refused_anywhere_is_refused_with_both_networks",
    "posture::pid_1_ends_by_itself_however_its_sandbox_does",
    "posture::the_processes_of_the_frame_hold_nothing_that_they_do_not_need",
    "real_servers::mcp_server_fetch_works",
    "real_servers::mcp_server_git_works_with_git_as_its_child",
    "real_servers::mcp_server_time_works",
    "real_servers::server_everything_and_server_filesystem_work_on_node_20_and_24",
    "runtimes::a_static_go_server_works_alone_in_its_root",
    "runtimes::java_works_with_the_default_profile",
    "runtimes::node_24_works",
    "start::row_13_streams_are_not_the_servers_to_turn_around",
    "state::the_quota_holds_where_directories_do_not_say_what_is_in_them",
    "unprivileged::everything_holds_when_the_host_process_is_not_root",
    "veth::a_link_is_all_there_is",
    "veth::a_link_needs_the_capability_for_networks_and_no_other",
    "veth::names_are_asked_for_at_the_hosts_end",
    "veth::only_what_comes_over_the_link_reaches_the_proxy",
    "veth::ports_that_were_asked_for_can_be_reached_and_answer",
    "veth::row_93_the_host_cannot_come_in",
    "veth::the_filter_belongs_to_a_user_namespace_around_the_servers",
    "veth::what_the_host_has_in_the_way_is_named",
    "veth::without_a_packet_filter_there_is_no_link",
    "veth_ends::a_connection_that_the_host_holds_on_to_does_not_keep_the_link",
    "veth_ends::addresses_rest_after_their_sandbox",
    "veth_ends::kill_9_in_every_order_leaves_no_link",
    "veth_ends::the_end_of_one_process_of_the_frame_is_the_end_of_the_link",
];

/// A test's name is its thread's, which it has only beside others.
pub(crate) const THREADS: (&str, &str) = ("RUST_TEST_THREADS", "4");

/// Whether this is root; if not, the calling test is left out.
pub(crate) fn has_root(why: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        leave_out(why);
    }
    is_root
}

/// Says that the calling test is left out, past the capture of a test that passes.
pub(crate) fn leave_out(why: &str) {
    let thread = std::thread::current();
    let line = format!("left out: {}: {why}\n", thread.name().unwrap_or("?"));
    let mut stdout = File::from(stdout().as_fd().try_clone_to_owned().unwrap());
    stdout.write_all(line.as_bytes()).unwrap();
}

/// Checks that a run as a user has passed, and that it left out what is known, and nothing else.
pub(crate) fn assert_passed_as_a_user(said: &str) {
    assert!(said.contains("test result: ok."), "{said}");
    assert!(said.contains(" 0 ignored; 0 measured; 0 filtered out"), "{said}");
    let lines = said.lines().filter_map(|line| line.split_once("left out: "));
    let mut found: Vec<&str> = lines.filter_map(|(_, rest)| Some(rest.split_once(": ")?.0)).collect();
    found.sort_unstable();
    assert_eq!(found, AS_A_USER, "{said}");
}
