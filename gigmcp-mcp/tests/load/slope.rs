//! Whether something grows.

/// The slope of points in any order, by Theil and Sen: the median of the slopes of all pairs. Up to a quarter of the points may
/// lie anywhere.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(at, one)| points[at + 1..].iter().map(move |other| (one, other)));
    let mut slopes: Vec<f64> = pairs.map(|(one, other)| (other.1 - one.1) / (other.0 - one.0)).collect();
    slopes.sort_by(f64::total_cmp);
    slopes[slopes.len() / 2]
}

/// That it can tell.
pub(crate) fn check() {
    let points = |value: fn(u32) -> f64| (0..20).map(|at| (f64::from(at), value(at))).collect::<Vec<_>>();
    let noise = |at: u32| f64::from(at * 7919 % 13);
    for (case, value, expected) in [
        ("grows", (|at| 100.0 * f64::from(at) + f64::from(at * 7919 % 13)) as fn(u32) -> f64, 90.0..110.0),
        ("noise", |at| f64::from(at * 7919 % 13), -1.0..1.0),
        ("one step, early", |at| if at < 3 { 0.0 } else { 1000.0 }, -1.0..1.0),
        ("a peak", |at| if at == 11 { 5000.0 } else { f64::from(at % 3) }, -1.0..1.0),
    ] {
        let found = slope(&points(value));
        assert!(expected.contains(&found), "{case}: {found}");
    }
    assert!((0..13).map(noise).any(|value| value > 5.0), "there is noise");
}
