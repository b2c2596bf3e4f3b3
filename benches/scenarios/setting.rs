//! What each section is given: how much is to be measured, and numbers that nobody foresees.

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Whether little is measured.
    pub quick: bool,
    /// Divides the number of rounds.
    pub hurry: usize,
}

impl Scale {
    /// One of two, for a quick run the first.
    pub fn of<T>(self, quick: T, whole: T) -> T {
        if self.quick { quick } else { whole }
    }
}

/// A generator of numbers that are the same in each run.
pub struct Random(u64);

impl Random {
    /// One that begins anywhere, and with the same seed there again.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number below 2^40.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }

    /// Any number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// As often between `least` and its double as between any other number and its double.
    pub fn size(&mut self, least: u64, most: u64) -> u64 {
        let part = self.below(1 << 20) as f64 / f64::from(1 << 20);
        (least as f64 * (most as f64 / least as f64).powf(part)) as u64
    }
}
