//! Reading quantities (`100m`, `1.5Gi`, `2e3`) as whole numbers and thousandths.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// One unit in the fixed point that quantities are read in: 10⁻⁹, the finest that upstream keeps.
const NANO: i128 = 1_000_000_000;

/// The quantity in units of 10⁻⁹; `None` when the text is no quantity or too large.
fn nano(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut fraction = fraction.to_owned();
    fraction.truncate(9);
    let fraction_nano: i128 = format!("{fraction:0<9}").parse().ok()?;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mantissa = whole.checked_mul(NANO)?.checked_add(fraction_nano)?;
    let (factor, divisor) = scale(suffix)?;
    let product = mantissa.checked_mul(factor)?;
    // Upstream rounds what is finer than it keeps up, away from zero.
    let value = product / divisor + i128::from(product % divisor != 0);
    Some(if negative { -value } else { value })
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1i128 << (10 * power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => Some((1_000, 1)),
        "M" => Some((1_000_000, 1)),
        "G" => Some((NANO, 1)),
        "T" => Some((1_000 * NANO, 1)),
        "P" => Some((1_000_000 * NANO, 1)),
        "E" => Some((NANO * NANO, 1)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

fn divide_up(value: i128, divisor: i128) -> i128 {
    value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0)
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Whole units, rounded up; 0 when the text is no quantity (validation refused it long before).
pub fn value(quantity: &Quantity) -> i64 {
    nano(&quantity.0).map_or(0, |n| clamp(divide_up(n, NANO)))
}

/// Thousandths, rounded up.
pub fn milli(quantity: &Quantity) -> i64 {
    nano(&quantity.0).map_or(0, |n| clamp(divide_up(n, NANO / 1000)))
}

/// How often `divisor` fits, rounded up, as the downward API shows resources. A missing or zero divisor counts as 1.
pub fn divided(quantity: &Quantity, divisor: Option<&Quantity>) -> i64 {
    let divisor = divisor.and_then(|d| nano(&d.0)).filter(|d| *d > 0).unwrap_or(NANO);
    nano(&quantity.0).map_or(0, |n| clamp(divide_up(n, divisor)))
}

/// Bytes or counts as a quantity.
pub fn of_value(value: i64) -> Quantity {
    Quantity(value.to_string())
}

/// Thousandths as a quantity.
pub fn of_milli(milli: i64) -> Quantity {
    if milli % 1000 == 0 { Quantity((milli / 1000).to_string()) } else { Quantity(format!("{milli}m")) }
}

/// Bytes as upstream prints memory: in Ki when it divides.
pub fn of_bytes(bytes: i64) -> Quantity {
    if bytes != 0 && bytes % 1024 == 0 { Quantity(format!("{}Ki", bytes / 1024)) } else { of_value(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_upstream_reads_them() {
        for (text, whole, thousandths) in [
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1.5", 2, 1500),
            ("1Ki", 1024, 1_024_000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("2e3", 2000, 2_000_000),
            ("5n", 1, 1),
            ("-3", -3, -3000),
            ("0", 0, 0),
            ("nonsense", 0, 0),
        ] {
            let quantity = Quantity(text.to_owned());
            assert_eq!((value(&quantity), milli(&quantity)), (whole, thousandths), "{text}");
        }
    }

    #[test]
    fn the_downward_api_rounds_up() {
        let of = |text: &str| Quantity(text.to_owned());
        assert_eq!(divided(&of("1500m"), None), 2);
        assert_eq!(divided(&of("1500m"), Some(&of("1m"))), 1500);
        assert_eq!(divided(&of("64Mi"), Some(&of("1Mi"))), 64);
        assert_eq!(divided(&of("64Mi"), Some(&of("0"))), 67_108_864);
    }
}
