//! Many samples to one line of a table: medians, ranges, ratios. Pure.

use super::plan::VersusWorkload;
use super::sample::Sample;
use serde::Serialize;

/// Median and range of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Median and range; none of nothing.
pub(super) fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    let median = if sorted.len() % 2 == 1 { upper } else { (upper + sorted.get(middle.checked_sub(1)?)?) / 2.0 };
    Some(Spread { median, min, max })
}

/// One proxy under one workload, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) proxy: &'static str,
    pub(super) title: &'static str,
    pub(super) cpu_per_unit: Spread,
    /// Median over the baseline's median.
    pub(super) ratio: Option<f64>,
    /// Ratios within each round: their median and range.
    pub(super) ratio_by_round: Option<Spread>,
    /// Median over the bare floor's median.
    pub(super) floor_multiple: Option<f64>,
    pub(super) rate_per_s: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) p999_us: Option<Spread>,
    pub(super) errors: u64,
    /// Samples behind the medians.
    pub(super) rounds: usize,
}

/// The lines of one workload, in the order of `proxies` (key and title); who was not measured has none.
pub(super) fn lines(workload: VersusWorkload, proxies: &[(&'static str, &'static str)], samples: &[Sample]) -> Vec<Line> {
    let name = workload.to_string();
    let of = |proxy: &str| samples.iter().filter(|sample| sample.proxy == proxy && sample.workload == name).collect::<Vec<_>>();
    let cpu = |samples: &[&Sample]| spread(samples.iter().map(|sample| sample.cpu_per_unit));
    let baseline = of(workload.baseline());
    let baseline_median = cpu(&baseline).map(|cpu| cpu.median);
    let floor_median = workload.floor().and_then(|floor| cpu(&of(floor))).map(|cpu| cpu.median);
    let line = |(proxy, title): (&'static str, &'static str)| {
        let samples = of(proxy);
        let cpu_per_unit = cpu(&samples)?;
        let paired = samples.iter().filter_map(|sample| {
            let partner = baseline.iter().find(|other| other.round == sample.round)?;
            Some(sample.cpu_per_unit / partner.cpu_per_unit)
        });
        let over = |pick: fn(&Sample) -> Option<f64>| spread(samples.iter().filter_map(|sample| pick(sample)));
        Some(Line {
            proxy,
            title,
            cpu_per_unit,
            ratio: baseline_median.map(|base| cpu_per_unit.median / base),
            ratio_by_round: spread(paired),
            floor_multiple: floor_median.map(|floor| cpu_per_unit.median / floor),
            rate_per_s: over(|sample| Some(sample.rate_per_s)).map_or(0.0, |all| all.median),
            p50_us: over(|sample| sample.p50_us).map(|all| all.median),
            p99_us: over(|sample| sample.p99_us).map(|all| all.median),
            p999_us: over(|sample| sample.p999_us),
            errors: samples.iter().map(|sample| sample.errors).sum(),
            rounds: samples.len(),
        })
    };
    proxies.iter().filter_map(|proxy| line(*proxy)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::versus) fn sample(proxy: &'static str, round: usize, cpu_per_unit: f64) -> Sample {
        Sample {
            proxy,
            workload: "pp:1".to_owned(),
            round,
            cpu_s: 1.0,
            units: 1.0,
            cpu_per_unit,
            rate_per_s: 1000.0 * round as f64,
            p50_us: Some(50.0),
            p99_us: Some(90.0),
            p999_us: Some(100.0),
            errors: 1,
            starved: 0.0,
            generator_saturated: false,
        }
    }

    #[test]
    fn medians_and_ranges() {
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter()), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0].into_iter()).map(|all| all.median), Some(2.5));
        assert_eq!(spread(std::iter::empty()), None);
    }

    #[test]
    fn ratios_pair_the_rounds() {
        let samples = [
            sample("haproxy", 1, 10.0),
            sample("haproxy", 2, 20.0),
            sample("nginx", 1, 9.0),
            sample("nginx", 2, 12.0),
            sample("floor", 1, 7.0),
        ];
        let proxies = [("nginx", "nginx stream"), ("haproxy", "HAProxy"), ("absent", "Absent")];
        let lines = lines(VersusWorkload::Messages(1), &proxies, &samples);
        assert_eq!(lines.len(), 2);
        let nginx = lines.first().expect("measured");
        assert_eq!((nginx.ratio, nginx.floor_multiple), (Some(0.7), Some(1.5)));
        assert_eq!(nginx.ratio_by_round.map(|all| (all.min, all.max)), Some((0.6, 0.9)));
        assert_eq!((nginx.rate_per_s, nginx.errors, nginx.rounds), (1500.0, 2, 2));
    }

    #[test]
    fn without_a_baseline_there_is_no_ratio() {
        let lines = lines(VersusWorkload::Messages(1), &[("nginx", "nginx")], &[sample("nginx", 1, 9.0)]);
        assert_eq!(lines.first().map(|line| (line.ratio, line.ratio_by_round, line.floor_multiple)), Some((None, None, None)));
    }
}
