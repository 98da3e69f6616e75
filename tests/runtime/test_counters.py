from theater.runtime.counters import Counters, Histogram


def test_a_histogram_counts_values_up_to_each_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)
    assert histogram.buckets() == [("0.1", 2.0), ("1.0", 4.0), ("+Inf", 5.0)]
    assert histogram.sum == 8.65


def test_a_histogram_without_values_is_all_zeros() -> None:
    assert Histogram((1,)).buckets() == [("1", 0.0), ("+Inf", 0.0)]
    assert Histogram((1,)).sum == 0


def test_counters_begin_at_zero() -> None:
    counters = Counters()
    names = set(Counters.__slots__) - {"closed", "ends", "round_trips"}
    assert {name: getattr(counters, name) for name in names} == dict.fromkeys(names, 0)
    assert counters.closed[1000] == counters.ends["trap"] == 0
    assert counters.round_trips.sum == 0


def test_counters_of_one_type_are_not_those_of_another() -> None:
    one, other = Counters(), Counters()
    one.closed[1000] += 1
    one.round_trips.observe(1)
    assert (other.closed, other.round_trips.sum) == ({}, 0)
