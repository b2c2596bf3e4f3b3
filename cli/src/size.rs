//! Sizes, ages and counts: as people write them, and as they read them.

use std::time::{Duration, SystemTime};

use parse_size::parse_size;

/// `4GiB`, `64MB`, `1.5GiB` or plain bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = "write it as 4GiB, 64MB or a number of bytes";
    match parse_size(text.trim()) {
        Ok(0) => Err(format!("a size of 0 bytes is of no use; {wrong}")),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(format!("not a size; {wrong}")),
    }
}

/// `90s`, `10m`, `1h`, `2d`, `1h 30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| "not a time; write it as 90s, 10m, 1h or 2d".to_owned())
}

/// `0600`, `660`: permission bits in octal, as chmod takes them.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode & 0o600 == 0o600 && mode & !0o666 == 0 => Ok(mode),
        Ok(_) => Err("an arena's owner reads and writes it and nobody executes it: \
                      0600, 0640, 0660, 0644 or 0666"
            .to_owned()),
        Err(_) => Err("not a file mode; write it in octal, as 0600".to_owned()),
    }
}

/// `512 B`, `1.5 KiB`, `152.6 MiB`, `64.0 GiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    // 1023.95 would print as 1024.0 of the smaller unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// `3,000,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `850 ns`, `3.1 µs`, `12.4 ms`, `1.25 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1e-6 {
        format!("{} ns", time.as_nanos())
    } else if seconds < 1e-3 {
        format!("{:.1} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

/// How long ago: `12s`, `5m`, `3h`, `2d`. A time in the future (clocks differ) is `0s`.
pub fn age(then: SystemTime) -> String {
    let seconds = then.elapsed().unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `2026-11-22T17:17:31Z`, for JSON.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// `1 row`, `3,000 rows`, `2 processes`, `2 batches`.
pub fn plural(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ if noun.ends_with(['s', 'h']) => format!("{} {noun}es", count(number)),
        _ => format!("{} {noun}s", count(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, duration, parse, parse_duration, parse_mode};
    use std::time::Duration;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse("4GiB"), Ok(4 << 30));
        assert_eq!(parse("64MB"), Ok(64_000_000));
        assert_eq!(parse("64 MiB"), Ok(64 << 20));
        assert_eq!(parse("1.5KiB"), Ok(1536));
        assert_eq!(parse("4096"), Ok(4096));
        for wrong in ["", "0", "-1", "many", "4GiBB", "99999999999999999999999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn modes_and_durations_are_checked() {
        assert_eq!(parse_mode("0600"), Ok(0o600));
        assert_eq!(parse_mode("660"), Ok(0o660));
        for wrong in ["0400", "0700", "9", "", "07777"] {
            assert!(parse_mode(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(160_000_000), "152.6 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(count(1), "1");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(3_000_000), "3,000,000");
        assert_eq!(duration(Duration::from_nanos(3_100)), "3.1 µs");
    }
}
