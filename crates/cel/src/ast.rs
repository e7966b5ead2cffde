//! An expression as a tree.

use std::sync::Arc;

use crate::library::Function;
use crate::types::Type;

/// An expression. The checker resolves names in it.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    /// Where it stands: letters from the start of the source.
    pub at: u32,
    /// Levels of expressions below, itself included.
    pub depth: u16,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Literal),
    /// A name, as it is written; a leading dot is dropped.
    Ident(String),
    /// A variable of the environment.
    Variable(usize),
    /// A variable of a comprehension, counted from the outermost.
    Local(usize),
    /// `operand.field`
    Select(Box<Select>),
    /// A function or an operator.
    Call(Box<Call>),
    /// All hold.
    And(Vec<Expr>),
    /// One holds.
    Or(Vec<Expr>),
    /// `condition ? then : otherwise`
    If(Box<[Expr; 3]>),
    /// `[...]`; the flag says that an element is left out when it is not there.
    List(Vec<(Expr, bool)>),
    /// `{...}`
    Map(Vec<(Expr, Expr, bool)>),
    /// `Name{...}`
    Struct(Box<Struct>),
    /// A macro over the elements of a list or map.
    Comprehension(Box<Comprehension>),
    /// `operand.optMap(name, then)`
    OptionalMap(Box<OptionalMap>),
}

#[derive(Debug, Clone)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Type(Arc<Type>),
}

#[derive(Debug, Clone)]
pub(crate) struct Select {
    pub operand: Expr,
    pub field: Arc<str>,
    pub mode: SelectMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SelectMode {
    /// `a.b`
    Field,
    /// `a.?b`
    Optional,
    /// `has(a.b)`
    Test,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub function: Arc<str>,
    /// Whether the first argument stands before the dot.
    pub member: bool,
    pub args: Vec<Expr>,
    pub resolved: Option<&'static Function>,
    /// The regular expression that stands there as a literal, compiled.
    pub regex: Option<Arc<regex::Regex>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Struct {
    pub name: String,
    pub fields: Vec<(Arc<str>, Expr, bool)>,
    pub ty: Option<Type>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformList,
    TransformMap,
    TransformMapEntry,
}

#[derive(Debug, Clone)]
pub(crate) struct Comprehension {
    pub mode: Macro,
    pub range: Expr,
    pub names: [String; 2],
    /// Whether both names were given.
    pub two: bool,
    /// What an element must meet to be taken.
    pub condition: Option<Expr>,
    /// What is made of an element.
    pub step: Option<Expr>,
}

#[derive(Debug, Clone)]
pub(crate) struct OptionalMap {
    pub operand: Expr,
    pub name: String,
    pub then: Expr,
    /// Whether `then` is an optional value itself.
    pub flat: bool,
}

impl Expr {
    pub fn new(at: u32, kind: Kind) -> Self {
        let mut depth = 0;
        kind.children(&mut |child| depth = depth.max(child.depth));
        Self { at, depth: depth.saturating_add(1), kind }
    }

    /// Whether it is that literal string.
    pub fn as_string(&self) -> Option<&Arc<str>> {
        if let Kind::Literal(Literal::String(text)) = &self.kind { Some(text) } else { None }
    }
}

impl Kind {
    /// Visits each expression right below.
    pub fn children(&self, visit: &mut impl FnMut(&Expr)) {
        match self {
            Self::Literal(_) | Self::Ident(_) | Self::Variable(_) | Self::Local(_) => {}
            Self::Select(select) => visit(&select.operand),
            Self::Call(call) => call.args.iter().for_each(visit),
            Self::And(list) | Self::Or(list) => list.iter().for_each(visit),
            Self::If(parts) => parts.iter().for_each(visit),
            Self::List(list) => list.iter().for_each(|(item, _)| visit(item)),
            Self::Map(entries) => entries.iter().for_each(|(key, value, _)| {
                visit(key);
                visit(value);
            }),
            Self::Struct(made) => made.fields.iter().for_each(|(_, value, _)| visit(value)),
            Self::Comprehension(of) => {
                visit(&of.range);
                of.condition.iter().chain(&of.step).for_each(visit);
            }
            Self::OptionalMap(of) => {
                visit(&of.operand);
                visit(&of.then);
            }
        }
    }
}
