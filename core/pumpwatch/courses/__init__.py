"""The balance of a station's tanks: what the gauges show, what was sold and what came, as one course a tank."""

from pumpwatch.courses.course import (
    EXPANSION,
    NOISE_DAYS,
    Course,
    Rise,
    courses,
    expansion,
    litres_20c,
    sold_until,
)
from pumpwatch.courses.excuses import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    WORK_MOST_L,
    WrongClock,
    draws_of,
    is_work,
    misplaced_l,
    work_on,
    wrong_clocks,
)
from pumpwatch.courses.medians import median, medians

__all__ = [
    "DAY_US",
    "EXPANSION",
    "HOUR_US",
    "MINUTE_US",
    "NOISE_DAYS",
    "WORK_MOST_L",
    "Course",
    "Rise",
    "WrongClock",
    "courses",
    "draws_of",
    "expansion",
    "is_work",
    "litres_20c",
    "median",
    "medians",
    "misplaced_l",
    "sold_until",
    "work_on",
    "wrong_clocks",
]
