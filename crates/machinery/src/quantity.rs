//! `resource.Quantity`: exact decimal amounts with SI suffixes, parsed and written as upstream does.
//!
//! A quantity counts billionths (upstream rounds finer amounts up to them), so sums and comparisons are exact. Amounts past
//! 10^29 do not parse. DIVERGES: upstream keeps such decimals, at arbitrary length.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Why a text is no quantity. The texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is out of range.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// No such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `12M`
    #[default]
    DecimalSi,
    /// `12Mi`
    BinarySi,
    /// `12e6`
    DecimalExponent,
}

const NANOS: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] =
    [("", 0), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18), ("u", -6), ("n", -9)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// An amount. Compared by value; the format only says how it is written.
#[derive(Debug, Clone, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// The text as it was given, where upstream keeps it because it is canonical already.
    text: Option<Box<str>>,
}

/// A text taken apart: sign, digits before and after the point, suffix.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    /// There is no digit at all.
    is_bare: bool,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi, text: None };

    /// A whole amount.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANOS, format, text: None }
    }

    /// An amount in thousandths: `from_milli(1500)` is `1500m`.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * (NANOS / 1000), format, text: None }
    }

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let parts = split(text)?;
        let (base, exponent, format) = interpret(parts.suffix).ok_or(QuantityError::Suffix)?;
        if parts.is_bare && !is_quick(&parts, format, exponent) {
            return Err(QuantityError::Number);
        }
        let nanos = match (scale(&parts, base, exponent), format) {
            // Upstream caps what it writes with binary suffixes.
            (nanos, Format::BinarySi) => nanos.unwrap_or(i128::MAX).min(i128::from(i64::MAX) * NANOS),
            (nanos, _) => nanos.ok_or(QuantityError::Number)?,
        };
        let kept = is_kept(&parts, format, exponent);
        let format = if format == Format::BinarySi && nanos < NANOS && nanos > 0 { Format::DecimalSi } else { format };
        let nanos = if parts.negative { -nanos } else { nanos };
        Ok(Self { nanos, format, text: kept.then(|| text.into()) })
    }

    /// Whether this text is known to be what it is written as.
    pub(crate) fn is_written(&self, text: &str) -> bool {
        self.text.as_deref() == Some(text)
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// The whole amount, fractions rounded up (away from zero), as upstream's `Value`. Saturates.
    pub fn value(&self) -> i64 {
        self.scaled(NANOS)
    }

    /// The amount in thousandths, rounded up, as upstream's `MilliValue`. Saturates.
    pub fn milli_value(&self) -> i64 {
        self.scaled(NANOS / 1000)
    }

    fn scaled(&self, unit: i128) -> i64 {
        let amount = div_away(self.nanos, unit);
        i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount when it is whole and fits.
    pub fn as_i64(&self) -> Option<i64> {
        if self.nanos % NANOS == 0 { i64::try_from(self.nanos / NANOS).ok() } else { None }
    }

    /// Whether it is whole.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The amount, rounded to what a float holds.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Adds. Nothing takes the other's format, as upstream does. Saturates.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, self.nanos.saturating_add(other.nanos));
    }

    /// Subtracts. Nothing takes the other's format, as upstream does. Saturates.
    pub fn sub(&mut self, other: &Self) {
        self.combine(other, self.nanos.saturating_sub(other.nanos));
    }

    fn combine(&mut self, other: &Self, nanos: i128) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nanos = nanos;
        self.text = None;
    }
}

/// Upstream's scanner is more lenient than the expression it names: leading zeros and missing digits read as zero.
fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let negative = text.starts_with('-');
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let is_zero = unsigned.starts_with('0');
    let unsigned = unsigned.trim_start_matches('0');
    let (whole, mut rest) = unsigned.split_at(digits(unsigned));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    let letters = rest.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let tail = &rest[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(QuantityError::Format);
    }
    let is_bare = !is_zero && whole.is_empty() && fraction.is_empty();
    Ok(Parts { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, suffix: rest, is_bare })
}

fn interpret(suffix: &str) -> Option<(u8, i32, Format)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Some((10, *exponent, Format::DecimalSi));
    }
    if let Some(power) = BINARY.iter().position(|s| *s == suffix) {
        return Some((2, i32::try_from(power).ok()? * 10, Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    Some((10, exponent.parse::<i32>().ok()?, Format::DecimalExponent))
}

/// The amount in billionths, what is finer rounded up.
fn scale(parts: &Parts<'_>, base: u8, exponent: i32) -> Option<i128> {
    let (whole, fraction) = (parts.whole, parts.fraction.trim_end_matches('0'));
    let mut amount: i128 = 0;
    let mut dropped = false;
    // Digits past the 27th after the point cannot change a billionth except by rounding it up.
    const FRACTION_DIGITS_MAX: usize = 27;
    for (i, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        if i >= whole.len() + FRACTION_DIGITS_MAX {
            dropped = true;
            break;
        }
        amount = amount.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let fraction_digits = i32::try_from(fraction.len().min(FRACTION_DIGITS_MAX)).ok()?;
    if base == 2 {
        amount = amount.checked_mul(1_i128.checked_shl(u32::try_from(exponent).ok()?)?)?;
    }
    let power = 9 - fraction_digits + if base == 10 { exponent } else { 0 };
    if amount == 0 {
        return Some(0);
    }
    let nanos = if power >= 0 {
        amount.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)?
    } else {
        match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => div_away(amount, divisor),
            None => 1,
        }
    };
    Some(if dropped && power < 0 { nanos.max(1) } else { nanos })
}

/// Whether upstream reads a number without digits as zero: it does where it counts with machine words.
fn is_quick(parts: &Parts<'_>, format: Format, exponent: i32) -> bool {
    if format == Format::BinarySi { binary_precision(parts, exponent) >= 0 } else { exponent >= -9 }
}

/// Upstream's estimate of how many more digits a number with a binary suffix may have.
fn binary_precision(parts: &Parts<'_>, exponent: i32) -> i32 {
    15 - parts.whole.len() as i32 - (exponent as f32 * 3.0 / 10.0) as i32 - 1
}

/// Whether upstream keeps the text as it stands, since it takes it for canonical.
fn is_kept(parts: &Parts<'_>, format: Format, exponent: i32) -> bool {
    let (whole, fraction) = (parts.whole.len() as i32, parts.fraction.len() as i32);
    if format == Format::BinarySi {
        let precision = binary_precision(parts, exponent);
        let value: i64 = parts.whole.parse().unwrap_or(0);
        return fraction == 0 && precision >= 0 && value & 7 != 0 && value.checked_mul(1 << exponent).is_some();
    }
    let scale = exponent - fraction;
    let digits = || parts.whole.bytes().chain(parts.fraction.bytes());
    let ends_in_thousand = whole + fraction >= 3 && digits().rev().take(3).all(|d| d == b'0');
    18 - whole - fraction >= 0 && scale >= -9 && scale % 3 == 0 && !ends_in_thousand && digits().next() != Some(b'0')
}

fn div_away(amount: i128, unit: i128) -> i128 {
    amount / unit + (amount % unit).signum()
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANOS;
        if self.format == Format::BinarySi && !small && self.is_whole() {
            let mut amount = self.nanos / NANOS;
            let mut power = 0;
            while amount % 1024 == 0 && amount.abs() >= 1024 && power < BINARY.len() - 1 {
                amount /= 1024;
                power += 1;
            }
            return write!(f, "{amount}{}", BINARY[power]);
        }
        let (mut amount, mut exponent) = (self.nanos, -9);
        // The largest suffix is E; what is larger keeps its zeros.
        let exponent_max = if self.format == Format::DecimalExponent { i32::MAX } else { 18 };
        while amount % 1000 == 0 && exponent < exponent_max {
            amount /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{amount}") } else { write!(f, "{amount}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
        write!(f, "{amount}{suffix}")
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_become_canonical_as_upstream_writes_them() {
        let cases = [
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("100Mi", "100Mi"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("0.1Mi", "104857600m"),
            ("1Ki", "1Ki"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("1000", "1k"),
            ("1000000", "1M"),
            ("1500", "1500"),
            ("1e3", "1e3"),
            ("10e2", "1e3"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1000m", "-1"),
            ("1.23456789012", "1234567890120p"),
            ("0.0000000001", "1n"),
            ("100u", "100u"),
            ("12345.5M", "12345500k"),
            ("16Ei", "9223372036854775807"),
            ("99999999999999999999Ei", "9223372036854775807"),
            ("k", "0"),
            ("Ti", "0"),
            ("0Ei", "0"),
        ];
        for (text, wanted) in cases {
            if wanted.ends_with('p') {
                assert_eq!(Quantity::parse(text).unwrap().to_string(), "1234567891n", "{text}");
            } else {
                assert_eq!(Quantity::parse(text).unwrap().to_string(), wanted, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_quantity_is_told_so() {
        for text in ["", "x", "1 Mi", "1.2.3", "1Mi2x", "ä"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Format), "{text}");
        }
        for text in ["1mm", "1KiB"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert_eq!(Quantity::parse("1mm"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("1e99"), Err(QuantityError::Number));
        for text in ["Ei", "+Pi", ".Ei", "-e-10"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Number), "{text}");
        }
    }

    #[test]
    fn sums_are_exact_and_keep_the_format() {
        let mut sum = Quantity::ZERO;
        sum.add(&Quantity::parse("512Mi").unwrap());
        sum.add(&Quantity::parse("512Mi").unwrap());
        assert_eq!(sum.to_string(), "1Gi");
        sum.sub(&Quantity::parse("1G").unwrap());
        assert_eq!(sum.value(), 73_741_824);
        let cpu = Quantity::parse("250m").unwrap();
        assert_eq!((cpu.value(), cpu.milli_value()), (1, 250));
        assert!(cpu < Quantity::parse("0.251").unwrap());
    }

    proptest! {
        #[test]
        fn canonical_text_reads_back(value in any::<i64>(), milli in any::<bool>(), format in 0..3) {
            let format = [Format::DecimalSi, Format::BinarySi, Format::DecimalExponent][format as usize];
            let quantity = if milli { Quantity::from_milli(value, format) } else { Quantity::new(value, format) };
            let back = Quantity::parse(&quantity.to_string()).unwrap();
            prop_assert_eq!(&back, &quantity);
            // A number without a suffix reads as a decimal one, whatever it was before, as upstream has it.
            if back.format() == quantity.format() {
                prop_assert_eq!(back.to_string(), quantity.to_string());
            }
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,40}[a-zA-Z0-9+-]{0,5}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                prop_assert_eq!(Quantity::parse(&quantity.to_string()).unwrap(), quantity);
            }
        }
    }
}
