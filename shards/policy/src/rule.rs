//! Whether conditions hold and which rule comes next (HAProxy manual section 7.2 of conditions and `tcp-request`).
//!
//! Sessions call [`next`] with their rules and act on what it finds. Decides only: actions are the caller's.

use ringmain_model::rule::{Acl, Condition, Rule, Term};

use crate::expression::{Absent, Evaluation, evaluate};
use crate::pattern;

/// The outcome of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// More bytes may decide it.
    NotYet,
    /// A stick table's answer must be fetched first.
    Table,
}

impl Verdict {
    fn negated_if(self, negated: bool) -> Self {
        match self {
            Self::Pass if negated => Self::Fail,
            Self::Fail if negated => Self::Pass,
            other => other,
        }
    }
}

/// What comes next in a list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The rule at this position applies.
    Apply(usize),
    /// The rule at this position cannot be decided before more bytes come.
    NotYet(usize),
    /// The rule at this position needs a stick table's answer.
    Table(usize),
    /// No further rule applies.
    End,
}

/// The first rule from `start` on that applies.
pub fn next<A>(rules: &[Rule<A>], start: usize, evaluation: Evaluation<'_>) -> Next {
    for (position, rule) in rules.iter().enumerate().skip(start) {
        match rule.condition.as_ref().map_or(Verdict::Pass, |condition| holds(condition, evaluation)) {
            Verdict::Pass => return Next::Apply(position),
            Verdict::Fail => {}
            Verdict::NotYet => return Next::NotYet(position),
            Verdict::Table => return Next::Table(position),
        }
    }
    Next::End
}

/// Whether a condition holds. Alternatives and terms are looked at in order, and no further than needed.
pub fn holds(condition: &Condition, evaluation: Evaluation<'_>) -> Verdict {
    let mut outcome = Verdict::Fail;
    for terms in &condition.alternatives {
        match all(terms, evaluation) {
            Verdict::Pass => return Verdict::Pass.negated_if(condition.negated),
            Verdict::Table => return Verdict::Table,
            Verdict::NotYet => outcome = Verdict::NotYet,
            Verdict::Fail => {}
        }
    }
    outcome.negated_if(condition.negated)
}

fn all(terms: &[Term], evaluation: Evaluation<'_>) -> Verdict {
    for term in terms {
        let verdict = test(&term.acl, evaluation).negated_if(term.negated);
        if verdict != Verdict::Pass {
            return verdict;
        }
    }
    Verdict::Pass
}

/// Whether an ACL holds: one of its tests does. What more bytes may change is not final until it passes.
fn test(acl: &Acl, evaluation: Evaluation<'_>) -> Verdict {
    let mut outcome = Verdict::Fail;
    for test in &acl.tests {
        match evaluate(&test.expression, evaluation) {
            Ok(sample) if pattern::find(&test.patterns, &sample.value).is_some() => return Verdict::Pass,
            Ok(sample) if sample.may_change => outcome = Verdict::NotYet,
            Ok(_) | Err(Absent::Missing) => {}
            Err(Absent::NotYet) => outcome = Verdict::NotYet,
            Err(Absent::Table) => return Verdict::Table,
        }
    }
    outcome
}
