//! Reads numbers as vLLM's command line writes them: `2g`, `32K`.

/// vLLM takes `2g` for 2,000,000,000 and `2G` for 2,147,483,648; only the first kind may have decimals.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let Some(at) = text.find(|c: char| !c.is_ascii_digit() && c != '.') else { return text.parse().ok() };
    let (digits, unit) = text.split_at(at);
    let power = |base: u64, letter: &str| {
        let exponent = ["k", "m", "g", "t"].iter().position(|known| *known == letter)?;
        base.checked_pow(u32::try_from(exponent).ok()? + 1)
    };
    match power(1000, unit) {
        Some(unit) => decimal(digits, unit),
        None => digits
            .parse::<u64>()
            .ok()?
            .checked_mul(power(1024, &unit.to_lowercase()).filter(|_| unit.len() == 1)?),
    }
}

/// A decimal number of units, rounded down.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and checked to fit")]
pub(super) fn decimal(digits: &str, unit: u64) -> Option<u64> {
    let number = digits.parse::<f64>().ok()? * unit as f64;
    (number >= 0.0 && number < u64::MAX as f64).then_some(number as u64)
}
