//! How true the client's clock is, and what it costs: many streams at once from an engine in a process of
//! its own that keeps to a schedule. `cargo bench --bench client`.
//!
//! The error of the time to the first token is the reported time less the scheduled one, and so has the
//! server's own lateness in it: an upper bound of the client's.

#![allow(clippy::disallowed_methods, reason = "the engine is a process of its own")]
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark reports on the standard output")]

use awqdeploy::{domain::openai::Request, host::serving::Api};
use futures_util::future::join_all;
use std::{
    net::TcpListener,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

const TTFT_MS: f64 = 200.0;
const TOKENS_PER_SECOND: f64 = 50.0;
const TOKENS: u32 = 200;
const STREAMS: [usize; 4] = [1, 8, 64, 256];
const PATIENCE: Duration = Duration::from_mins(1);

struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn main() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let engine = Command::new(env!("CARGO_BIN_EXE_awqdeploy"))
        .args(["engine", "serve", "tiny", "--port", &port.to_string()])
        .env("AWQDEPLOY_REHEARSAL_TTFT_MS", TTFT_MS.to_string())
        .env("AWQDEPLOY_REHEARSAL_TOKENS_PER_SECOND", TOKENS_PER_SECOND.to_string())
        .stderr(std::process::Stdio::null())
        .spawn();
    let _engine = Engine(engine.expect("the engine starts"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let address = ([127, 0, 0, 1], port).into();
        let api = Api::at(address, "tiny", PATIENCE).expect("a client");
        let began = Instant::now();
        while api.health().await.is_err() {
            assert!(began.elapsed() < PATIENCE, "the engine never listens");
            sleep(Duration::from_millis(20));
        }
        println!("streams   TTFT error ms (median, 99 %)   ITL error ms (mean, 99 %)   CPU ms/1000 tokens");
        for streams in STREAMS {
            one(&api, streams).await;
        }
    });
}

async fn one(api: &Api, streams: usize) {
    // Connections are there before the clock starts.
    join_all((0..streams).map(|_| api.health())).await;
    let request = Request::complete("Once upon a time", TOKENS).to_the_limit();
    let before = cpu_ms();
    let answers = join_all((0..streams).map(|_| api.stream(&request))).await;
    let spent = cpu_ms() - before;
    let samples: Vec<_> =
        answers.into_iter().map(|answer| answer.expect("a whole answer").sample()).collect();
    let mut first: Vec<f64> = samples.iter().map(|sample| sample.ttft_ms - TTFT_MS).collect();
    let mut gaps: Vec<f64> = samples
        .iter()
        .flat_map(|sample| &sample.itl_ms)
        .map(|gap| gap - 1000.0 / TOKENS_PER_SECOND)
        .collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let tokens = f64::from(TOKENS) * streams as f64;
    println!(
        "{streams:>7}   {:>13.2} {:>12.2}   {:>14.2} {:>10.2}   {:>18.1}",
        at(&mut first, 50),
        at(&mut first, 99),
        mean,
        at(&mut gaps, 99),
        spent * 1000.0 / tokens
    );
}

/// The value that so many percent are below.
fn at(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

/// What this process has computed so far, milliseconds.
fn cpu_ms() -> f64 {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).expect("own statistics");
    (stat.utime + stat.stime) as f64 * 1000.0 / procfs::ticks_per_second() as f64
}
