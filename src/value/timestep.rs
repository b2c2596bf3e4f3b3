//! The steps that numpy's `datetime64` and `timedelta64` count.

use std::fmt;

/// The step that the integers of a `datetime64` or `timedelta64` count: so many of a unit.
///
/// ```
/// use faretra::{DatetimeUnit, TimeStep};
///
/// assert_eq!(TimeStep { count: 25, unit: DatetimeUnit::Second }.to_string(), "[25s]");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeStep {
    /// How many units make a step. 1 to 2,147,483,647.
    pub count: u32,
    /// The unit.
    pub unit: DatetimeUnit,
}

macro_rules! units {
    ($($(#[$doc:meta])* $unit:ident = $text:literal;)*) => {
        /// The units of numpy's `datetime64` and `timedelta64`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DatetimeUnit {
            $($(#[$doc])* $unit,)*
        }

        impl DatetimeUnit {
            /// Returns the unit as numpy writes it: `ns`, `D`; the generic unit is empty.
            pub const fn name(self) -> &'static str {
                match self {
                    $(DatetimeUnit::$unit => $text,)*
                }
            }

            pub(crate) fn of(text: &str) -> Option<DatetimeUnit> {
                match text {
                    $($text => Some(DatetimeUnit::$unit),)*
                    _ => None,
                }
            }
        }
    };
}

units! {
    /// None was given.
    Generic = "";
    /// Calendar years.
    Year = "Y";
    /// Calendar months.
    Month = "M";
    /// Weeks, from a Thursday (1 January 1970) on.
    Week = "W";
    /// Days.
    Day = "D";
    /// Hours.
    Hour = "h";
    /// Minutes.
    Minute = "m";
    /// Seconds.
    Second = "s";
    /// 10^-3 seconds.
    Millisecond = "ms";
    /// 10^-6 seconds.
    Microsecond = "us";
    /// 10^-9 seconds.
    Nanosecond = "ns";
    /// 10^-12 seconds.
    Picosecond = "ps";
    /// 10^-15 seconds.
    Femtosecond = "fs";
    /// 10^-18 seconds.
    Attosecond = "as";
}

/// As numpy writes it behind `M8`: `[ns]`, `[25s]`, and nothing for the generic unit.
impl fmt::Display for TimeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.unit, self.count) {
            (DatetimeUnit::Generic, _) => Ok(()),
            (unit, 1) => write!(f, "[{}]", unit.name()),
            (unit, count) => write!(f, "[{count}{}]", unit.name()),
        }
    }
}
