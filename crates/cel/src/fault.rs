//! How evaluating ends badly.

use std::borrow::Cow;
use std::fmt;

/// What stops an evaluation. Only plain errors can be outweighed (`error || true` is true).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error, in upstream's words.
    Error(Cow<'static, str>),
    /// No form of a function takes these arguments.
    NoOverload,
    /// This expression has cost all that one may.
    CostLimit,
    /// All expressions together have.
    Budget,
}

impl Fault {
    pub const NO_OVERLOAD: Self = Self::Error(Cow::Borrowed("no such overload"));

    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Error(message.into())
    }

    /// Whether `&&`, `||` and their like may go on.
    pub fn can_be_outweighed(&self) -> bool {
        matches!(self, Self::Error(_) | Self::NoOverload)
    }
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The expression failed, or cost more than one expression may: the text is upstream's.
    Error(String),
    /// The budget of all expressions together is spent; none should be evaluated after this one.
    Budget,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Error(message) => Self::Error(message.into_owned()),
            Fault::NoOverload => Self::Error("no such overload".to_owned()),
            Fault::CostLimit => Self::Error("operation cancelled: actual cost limit exceeded".to_owned()),
            Fault::Budget => Self::Budget,
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(message) => f.write_str(message),
            Self::Budget => f.write_str(
                "validation failed due to running out of cost budget, no further validation rules will be run",
            ),
        }
    }
}
