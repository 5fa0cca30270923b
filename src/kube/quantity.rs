//! Amounts of resources as Kubernetes writes them (`resource.Quantity`): `100m`, `1.5Gi`, `1e3`.

/// The amount in the base unit; `None`: not a quantity.
pub fn quantity(text: &str) -> Option<f64> {
    let end = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-'))
        .count();
    let (number, suffix) = text.split_at_checked(end)?;
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            (-30..=30)
                .contains(&exponent)
                .then(|| 10_f64.powi(exponent))?
        }
    };
    Some(number * factor).filter(|amount| amount.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read() {
        for (text, amount) in [
            ("0", 0.0),
            ("2", 2.0),
            ("100m", 0.1),
            ("1.5Gi", 1.5 * 1024.0 * 1024.0 * 1024.0),
            ("128974848", 128_974_848.0),
            ("129e6", 129e6),
            ("1E3", 1e3),
            ("1E", 1e18),
            ("123Mi", 123.0 * 1024.0 * 1024.0),
            ("-1k", -1e3),
        ] {
            let read = quantity(text).unwrap();
            assert!(
                (read - amount).abs() <= amount.abs() * 1e-12,
                "{text}: {read}"
            );
        }
        for text in [
            "", "m", "1 Gi", "1kb", "1e", "1e400", "--1", "Ki1", "inf", "NaN",
        ] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    proptest! {
        /// Whatever the text, there is a finite amount or none.
        #[test]
        fn any_text_is_survived(text in "\\PC{0,20}") {
            prop_assert!(quantity(&text).is_none_or(f64::is_finite));
        }
    }
}
