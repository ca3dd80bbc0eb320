//! The spread between starts of a server, as a host's own records show it.

use awqdeploy::domain::{measure::USUAL_START_SPREAD, validation::spread::start_spread};

#[test]
fn a_host_of_which_nothing_is_known_is_a_usual_one() {
    let nothing: [&[f64]; 0] = [];
    assert!((start_spread(nothing) - USUAL_START_SPREAD).abs() < 1e-12);
    // One start says nothing of the spread, nor do figures that are none.
    for medians in [&[100.0][..], &[], &[0.0, -1.0], &[f64::NAN, 5.0, f64::INFINITY]] {
        assert!((start_spread([medians]) - USUAL_START_SPREAD).abs() < 1e-12, "{medians:?}");
    }
}

#[test]
fn what_starts_showed_counts_the_more_the_more_there_are() {
    let steady = [100.0, 100.1, 99.9, 100.0];
    let few = start_spread([&steady[..]]);
    let many = start_spread([&steady[..]; 10]);
    assert!(many < few && few < USUAL_START_SPREAD, "{many} {few}");
    // Ten per cent up and down, each server at its own speed.
    let unsteady = start_spread([&[90.0, 110.0, 90.0, 110.0][..], &[9.0, 11.0, 9.0, 11.0]]);
    assert!((0.08..0.12).contains(&unsteady), "{unsteady}");
    // Another model under the same name is no start of the same server.
    assert!(start_spread([&[1.0, 100.0][..]; 9]) <= 0.25);
}
