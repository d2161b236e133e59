//! How late a server's answers are: not at all, always the same, or drawn from a distribution. Pure but for its own random numbers.

use std::str::FromStr;
use std::time::Duration;

/// Longest delay, in milliseconds: one day.
const DELAY_MS_MAX: f64 = 86_400_000.0;

/// The delay of answers, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Delay {
    /// Answers go at once.
    #[default]
    None,
    /// Always the same.
    Fixed(f64),
    /// Evenly distributed between two values.
    Uniform(f64, f64),
    /// Normally distributed: mean and standard deviation; never below 0.
    Normal(f64, f64),
    /// Exponentially distributed with this mean, as waiting times in queues are.
    Exponential(f64),
}

impl From<Duration> for Delay {
    fn from(duration: Duration) -> Self {
        if duration.is_zero() { Self::None } else { Self::Fixed(duration.as_secs_f64() * 1000.0) }
    }
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("'{text}' is not a delay: use a number of milliseconds, uniform:LOW,HIGH, normal:MEAN,DEVIATION or exponential:MEAN")
        };
        let (kind, numbers) = text.split_once(':').unwrap_or(("fixed", text));
        let numbers: Vec<f64> = numbers.split(',').map(|number| number.trim().parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
        if numbers.iter().any(|number| !(0.0..=DELAY_MS_MAX).contains(number)) {
            return Err(format!("'{text}': a delay is 0 to one day"));
        }
        match (kind, numbers.as_slice()) {
            ("fixed", [delay]) if *delay == 0.0 => Ok(Self::None),
            ("fixed", [delay]) => Ok(Self::Fixed(*delay)),
            ("uniform", [low, high]) if low <= high => Ok(Self::Uniform(*low, *high)),
            ("normal", [mean, deviation]) => Ok(Self::Normal(*mean, *deviation)),
            ("exponential", [mean]) => Ok(Self::Exponential(*mean)),
            _ => Err(bad()),
        }
    }
}

/// Draws delays; the same sequence for every server, so that runs can be repeated.
#[derive(Clone, Debug)]
pub(super) struct DelayDraw {
    delay: Delay,
    state: u64,
}

impl DelayDraw {
    pub(super) fn new(delay: Delay) -> Self {
        Self { delay, state: 0x9E37_79B9_7F4A_7C15 }
    }

    /// The next delay; zero is none.
    pub(super) fn next(&mut self) -> Duration {
        let milliseconds = match self.delay {
            Delay::None => return Duration::ZERO,
            Delay::Fixed(delay) => delay,
            Delay::Uniform(low, high) => low + (high - low) * self.unit(),
            Delay::Normal(mean, deviation) => {
                // Box-Muller; the first number must not be 0.
                let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
                mean + deviation * radius * (std::f64::consts::TAU * self.unit()).cos()
            }
            Delay::Exponential(mean) => -mean * (1.0 - self.unit()).ln(),
        };
        Duration::from_secs_f64(milliseconds.clamp(0.0, DELAY_MS_MAX) / 1000.0)
    }

    /// Evenly distributed from 0 to below 1 (xorshift64*).
    fn unit(&mut self) -> f64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorted draws in milliseconds.
    fn draws(text: &str) -> Vec<f64> {
        let mut draw = DelayDraw::new(text.parse().expect("a delay"));
        let mut values: Vec<f64> = (0..20_000).map(|_| draw.next().as_secs_f64() * 1000.0).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    #[test]
    fn draws_follow_their_distribution() {
        let expected = [
            ("5", [5.0, 5.0, 5.0]),
            ("uniform:10,30", [12.0, 20.0, 28.0]),
            // Deciles of the normal distribution lie 1.2816 deviations from the mean.
            ("normal:20,4", [14.87, 20.0, 25.13]),
            ("exponential:10", [1.0536, 6.931, 23.026]),
        ];
        for (text, quantiles) in expected {
            let values = draws(text);
            for (at, quantile) in [2000, 10_000, 18_000].into_iter().zip(quantiles) {
                assert!((values[at] - quantile).abs() <= 0.05 * quantile.max(5.0), "{text}: {} for {quantile}", values[at]);
            }
        }
        assert_eq!(DelayDraw::new(Delay::None).next(), Duration::ZERO);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "fast", "-1", "uniform:5", "uniform:5,1", "normal:5", "poisson:3", "1e99", "nan"] {
            assert!(bad.parse::<Delay>().is_err(), "{bad}");
        }
        assert_eq!("0".parse(), Ok(Delay::None));
    }
}
