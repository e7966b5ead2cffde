//! Types that are still to be found, and whether one type can stand where another is wanted.

use std::sync::Arc;

use crate::checker::same_object;
use crate::types::Type;

/// What is known of parameters.
#[derive(Default)]
pub(crate) struct Unifier {
    found: Vec<Option<Type>>,
    /// What was known of parameters before they were changed, since the last assignment began.
    undo: Vec<(u32, Option<Type>)>,
}

impl Unifier {
    /// A parameter of which nothing is known.
    pub fn fresh(&mut self) -> Type {
        self.found.push(None);
        Type::Param(u32::try_from(self.found.len() - 1).unwrap_or(u32::MAX))
    }

    fn known(&self, index: u32) -> Option<&Type> {
        self.found.get(index as usize)?.as_ref()
    }

    fn set(&mut self, index: u32, ty: Type) {
        if let Some(place) = self.found.get_mut(index as usize) {
            self.undo.push((index, place.replace(ty)));
        }
    }

    /// How many parameters there are.
    pub fn mark(&self) -> usize {
        self.found.len()
    }

    /// Forgets the parameters since then, which no type mentions.
    pub fn forget(&mut self, mark: usize) {
        self.found.truncate(mark);
    }

    /// A type with what has been found in the place of parameters; with `finally`, the others are dynamic.
    pub fn resolve(&self, ty: &Type, finally: bool) -> Type {
        match ty {
            Type::Param(index) => match self.known(*index) {
                Some(known) => self.resolve(known, finally),
                None if finally => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(list) => Type::list_with(self.resolve(&list.element, finally), list.semantics.clone()),
            Type::Map(map) => Type::map(self.resolve(&map.0, finally), self.resolve(&map.1, finally)),
            Type::Optional(of) => Type::optional(self.resolve(of, finally)),
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.resolve(of, finally)))),
            other => other.clone(),
        }
    }

    /// Whether a value of one type can stand where the other is wanted. Remembers what that says of parameters, if so.
    pub fn assign(&mut self, from: &Type, to: &Type) -> bool {
        self.undo.clear();
        let fits = self.fits(from, to);
        self.keep_if(fits)
    }

    fn keep_if(&mut self, fits: bool) -> bool {
        while let Some((index, before)) = self.undo.pop().filter(|_| !fits) {
            if let Some(place) = self.found.get_mut(index as usize) {
                *place = before;
            }
        }
        fits
    }

    /// The same of several at once.
    pub fn assign_all(&mut self, from: &[Type], to: &[Type]) -> bool {
        self.undo.clear();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.fits(from, to));
        self.keep_if(fits)
    }

    fn fits(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Param(index) = to {
            match self.substitute(*index, from) {
                Some(fits) => return fits,
                None => return true,
            }
        }
        if let Type::Param(index) = from {
            return self.substitute(*index, to).unwrap_or(true);
        }
        if from.is_dyn() || to.is_dyn() {
            return true;
        }
        match (from, to) {
            // Null stands where anything that can be absent is wanted.
            (Type::Null, Type::Null | Type::Object(_) | Type::Timestamp | Type::Duration | Type::Date) => true,
            (Type::Bool, Type::Bool)
            | (Type::Int, Type::Int)
            | (Type::Uint, Type::Uint)
            | (Type::Double, Type::Double)
            | (Type::String, Type::String)
            | (Type::Bytes, Type::Bytes)
            | (Type::Timestamp | Type::Date, Type::Timestamp | Type::Date)
            | (Type::Duration, Type::Duration)
            | (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(&a.element, &b.element),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Object(a), Type::Object(b)) => same_object(a, b),
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            _ => false,
        }
    }

    /// Takes a type for a parameter. Nothing when it was free.
    fn substitute(&mut self, index: u32, ty: &Type) -> Option<bool> {
        if matches!(ty, Type::Param(other) if *other == index) {
            return Some(true);
        }
        let Some(known) = self.known(index).cloned() else {
            if !self.mentions(ty, index) {
                self.set(index, ty.clone());
                return None;
            }
            return Some(false);
        };
        if !self.fits(ty, &known) {
            return Some(false);
        }
        if self.is_more_general(ty, &known) && !self.mentions(ty, index) {
            self.set(index, ty.clone());
        }
        Some(true)
    }

    fn mentions(&self, ty: &Type, index: u32) -> bool {
        match ty {
            Type::Param(other) => {
                *other == index || self.known(*other).is_some_and(|known| self.mentions(known, index))
            }
            Type::List(list) => self.mentions(&list.element, index),
            Type::Map(map) => self.mentions(&map.0, index) || self.mentions(&map.1, index),
            Type::Optional(of) | Type::Type(Some(of)) => self.mentions(of, index),
            _ => false,
        }
    }

    /// Whether a type says less than the other.
    pub fn is_more_general(&self, a: &Type, b: &Type) -> bool {
        match (self.resolve(a, false), self.resolve(b, false)) {
            (Type::Dyn | Type::Error, _) => true,
            (_, Type::Dyn | Type::Error | Type::Param(_)) => false,
            (Type::List(a), Type::List(b)) => self.is_more_general(&a.element, &b.element),
            (Type::Map(a), Type::Map(b)) => self.is_more_general(&a.0, &b.0) || self.is_more_general(&a.1, &b.1),
            (Type::Optional(a), Type::Optional(b)) => self.is_more_general(&a, &b),
            _ => false,
        }
    }
}
