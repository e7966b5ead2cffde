//! `intstr.IntOrString` as a number or a percentage of a total (`maxSurge: 25%`).

use crate::json::Value;

/// A number, or a text which should be a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOrPercent<'a> {
    /// A number.
    Int(i64),
    /// `25%`
    Text(&'a str),
}

impl<'a> IntOrPercent<'a> {
    /// Reads it out of a tree; nothing when it is neither number nor text.
    pub fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Integer(i) => Some(Self::Int(*i)),
            Value::String(s) => Some(Self::Text(s)),
            _ => None,
        }
    }

    /// The percentage, when it is one.
    pub fn percent(self) -> Option<i64> {
        match self {
            Self::Int(_) => None,
            Self::Text(text) => text.strip_suffix('%')?.parse().ok(),
        }
    }

    /// The number, or the share of `total`. Errors are worded as upstream's `GetScaledValueFromIntOrPercent`.
    pub fn scaled(self, total: i64, rounding: Rounding) -> Result<i64, String> {
        let text = match self {
            Self::Int(i) => return Ok(i),
            Self::Text(text) => text,
        };
        let Some(number) = text.strip_suffix('%') else {
            return Err("invalid value for IntOrString: invalid type: string is not a percentage".to_owned());
        };
        let percent: i64 = number.parse().map_err(|_| {
            format!(
                "invalid value for IntOrString: invalid value {text:?}: strconv.Atoi: parsing {number:?}: invalid syntax"
            )
        })?;
        let hundredfold = i128::from(percent) * i128::from(total);
        let share = match rounding {
            Rounding::Up => -(-hundredfold).div_euclid(100),
            Rounding::Down => hundredfold.div_euclid(100),
        };
        Ok(i64::try_from(share).unwrap_or(i64::MAX))
    }
}

/// Which whole number a share becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// The next larger.
    Up,
    /// The next smaller.
    Down,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let cases = [
            (IntOrPercent::Int(5), 10, Rounding::Up, Ok(5)),
            (IntOrPercent::Text("25%"), 10, Rounding::Up, Ok(3)),
            (IntOrPercent::Text("25%"), 10, Rounding::Down, Ok(2)),
            (IntOrPercent::Text("100%"), 7, Rounding::Down, Ok(7)),
            (IntOrPercent::Text("0%"), 7, Rounding::Up, Ok(0)),
        ];
        for (value, total, rounding, wanted) in cases {
            assert_eq!(value.scaled(total, rounding), wanted);
        }
        assert!(IntOrPercent::Text("25").scaled(1, Rounding::Up).is_err());
        assert!(IntOrPercent::Text("x%").scaled(1, Rounding::Up).unwrap_err().contains("strconv.Atoi"));
    }
}
