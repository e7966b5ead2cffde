//! Amounts of the API's types, read and written by `machinery`'s quantities.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use machinery::quantity::{Format, Quantity};

/// Nothing when the text is no quantity: validation refused it long before.
fn read(text: &Text) -> Quantity {
    Quantity::parse(&text.0).unwrap_or(Quantity::ZERO)
}

/// Whole units, rounded up.
pub fn value(text: &Text) -> i64 {
    read(text).value()
}

/// Thousandths, rounded up.
pub fn milli(text: &Text) -> i64 {
    read(text).milli_value()
}

/// How often `divisor` fits, rounded up, as the downward API shows resources: CPUs count in thousandths, all others in
/// whole units. A missing or zero divisor counts as 1.
pub fn divided(text: &Text, divisor: Option<&Text>, cpu: bool) -> i64 {
    let amount = |text: &Text| if cpu { milli(text) } else { value(text) };
    let one = if cpu { 1000 } else { 1 };
    let divisor = divisor.map(amount).filter(|d| *d > 0).unwrap_or(one);
    let amount = amount(text);
    amount.div_euclid(divisor) + i64::from(amount.rem_euclid(divisor) != 0)
}

/// Bytes or counts as a quantity.
pub fn of_value(value: i64) -> Text {
    Text(Quantity::new(value, Format::DecimalSi).to_string())
}

/// Thousandths as a quantity.
pub fn of_milli(milli: i64) -> Text {
    Text(Quantity::from_milli(milli, Format::DecimalSi).to_string())
}

/// Bytes as upstream prints memory: with a binary suffix when it divides.
pub fn of_bytes(bytes: i64) -> Text {
    Text(Quantity::new(bytes, Format::BinarySi).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_downward_api_rounds_up() {
        let of = |text: &str| Text(text.to_owned());
        assert_eq!(divided(&of("1500m"), None, true), 2);
        assert_eq!(divided(&of("1500m"), Some(&of("1m")), true), 1500);
        assert_eq!(divided(&of("64Mi"), Some(&of("1Mi")), false), 64);
        assert_eq!(divided(&of("64Mi"), Some(&of("0")), false), 67_108_864);
        assert_eq!(of_bytes(24_684_096 << 10).0, "24684096Ki");
        assert_eq!(of_milli(2000).0, "2");
    }
}
