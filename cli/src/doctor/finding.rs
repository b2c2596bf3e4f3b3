//! One thing that was looked at: what it is here, why it matters, and the line that changes it.

use serde_json::{Value, json};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Fine,
    /// Arenas work; something is smaller or slower than it could be.
    Note,
    /// Arenas do not work.
    Fails,
}

impl Verdict {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Fine => "ok",
            Verdict::Note => "note",
            Verdict::Fails => "fails",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// What it is.
    pub what: &'static str,
    /// What it is here, for people.
    pub here: String,
    /// What it is here, as numbers.
    pub facts: Value,
    /// How much it matters.
    pub verdict: Verdict,
    /// Why it matters to arenas.
    pub why: String,
    /// Lines that change it, each complete.
    pub change: Vec<String>,
}

impl Finding {
    /// Something of which nothing is wrong, until somebody says otherwise.
    pub fn fine(what: &'static str, here: impl Into<String>, facts: Value, why: impl Into<String>) -> Finding {
        Finding { what, here: here.into(), facts, verdict: Verdict::Fine, why: why.into(), change: vec![] }
    }

    /// This, if `so` with that verdict.
    #[must_use]
    pub fn or(self, so: bool, verdict: Verdict) -> Finding {
        if so { Finding { verdict, ..self } } else { self }
    }

    /// This, with lines that change it.
    #[must_use]
    pub fn changed_by<S: Into<String>>(self, lines: impl IntoIterator<Item = S>) -> Finding {
        Finding { change: lines.into_iter().map(Into::into).collect(), ..self }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "check": self.what,
            "verdict": self.verdict.word(),
            "here": self.here,
            "facts": self.facts,
            "why": self.why,
            "change": self.change,
        })
    }
}
