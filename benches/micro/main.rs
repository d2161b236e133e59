//! Micro benches of what runs per configuration, per change of a server, per connection or per log line.
//!
//! Three ways to run it: `cargo bench --bench micro [FILTER]` times everything with criterion; `-- --guard FILE` counts instructions under
//! valgrind and compares them with the file, which no noise can touch (`make guard`); `-- --once NAME COUNT` runs one of them
//! COUNT times, for profilers. Data is built before anything is measured; nothing here opens a socket.

mod guard;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use criterion::Criterion;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--once", name, count] => once(name, count),
        ["--guard", file] => guard::compare(file.as_ref()),
        ["--guard", "--update", file] => guard::update(file.as_ref()),
        _ => {
            time_all();
            ExitCode::SUCCESS
        }
    }
}

fn once(name: &str, count: &str) -> ExitCode {
    let (Some(mut work), Ok(count)) = (work::all().into_iter().find(|work| work.name == name), count.parse::<u64>()) else {
        eprintln!("micro: --once needs the name of a bench and a number");
        return ExitCode::FAILURE;
    };
    for _ in 0..count {
        (work.run)();
    }
    ExitCode::SUCCESS
}

fn time_all() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(30)
        .configure_from_args();
    for mut work in work::all() {
        criterion.bench_function(work.name, |bencher| bencher.iter(&mut work.run));
    }
    criterion.final_summary();
}
